"""Reads for the API: orders of one employee, nobody else's."""

from __future__ import annotations

from foundation.errors import NotFound
from orders import selectors as orders
from orders.domain.records import OrderRecord


def get_own_order(*, order_no: str, employee_id: int) -> OrderRecord:
    """The employee's order; NotFound also for somebody else's."""
    order = orders.get_order(order_no=order_no)
    if order.employee_id != employee_id:
        raise NotFound({"order_no": order_no})
    return order

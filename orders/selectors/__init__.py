"""Reads of orders and attempts as frozen records, by literal SQL (orders.selectors.statements)."""

from __future__ import annotations

from orders.selectors.lists import (
    MAX_PAGE_OFFSET,
    PageTooDeep,
    list_due_attempts,
    list_expired_orders,
    list_orders,
    list_unknown_attempts,
    page_orders,
    search,
)
from orders.selectors.lookup import (
    find_attempt,
    find_order,
    get_attempt,
    get_order,
    get_order_row,
    get_states,
    iterate_orders,
    order_alias,
)

__all__ = [
    "MAX_PAGE_OFFSET",
    "PageTooDeep",
    "find_attempt",
    "find_order",
    "get_attempt",
    "get_order",
    "get_order_row",
    "get_states",
    "iterate_orders",
    "list_due_attempts",
    "list_expired_orders",
    "list_orders",
    "list_unknown_attempts",
    "order_alias",
    "page_orders",
    "search",
]

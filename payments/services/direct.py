"""Payments that go to a merchant's own account (service-provider mode), for the business that collects them.

Our books keep memo lines only (payments.services.outcomes.is_direct); state, closing, second payments and refunds are
those of every order. Source: design `money.md`, requirements 扫码收款.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from foundation.errors import NotFound
from gateway.ports import Receiver
from gateway.registry import ChannelUnavailable
from orders import selectors as orders
from orders.domain.records import OrderRecord
from orders.domain.states import OrderKind, OrderState
from payments.domain.people import Person
from payments.services import checking, closing, purchase
from payments.services.closing import OrderAlreadyPaid
from payments.services.purchase import ChannelRefused, OrderNotPayable, Particulars

__all__ = [
    "ORDER_KIND",
    "ChannelRefused",
    "ChannelUnavailable",
    "DirectPayment",
    "DirectState",
    "OrderNotPayable",
    "Receiver",
    "close_payment",
    "find_payment",
    "open_payment",
]

ORDER_KIND = OrderKind.COLLECT.value


class DirectState(StrEnum):
    """Of the order: what was paid stays PAID, refunds or not."""

    OPEN = "OPEN"
    PAID = "PAID"
    CLOSED = "CLOSED"


@dataclass(frozen=True, kw_only=True)
class DirectPayment:
    """An order and its one attempt. `payment`: what the payer pays with while it is OPEN, {"kind": "none"} else.

    `scene`: of the open attempt, "" without one.
    """

    order_no: str
    state: DirectState
    payment: Mapping[str, Any]
    attempt_no: str = ""
    provider_no: str = ""
    paid_at: dt.datetime | None = None
    scene: str = ""


def open_payment(
    *,
    order_no: str,
    business_no: str,
    collector: Person,
    amount_fen: int,
    subject: str,
    channel: str,
    scene: str,
    receiver: Receiver,
    payer_id: str,
    payer_ip: str,
    expires_at: dt.datetime,
    now: dt.datetime,
) -> DirectPayment:
    """Opens the collector's order and asks the provider to prepare a payment into the receiver's account.

    Errors as purchase.open_by_channel; repeating with the same order number goes on where it stood.
    """
    opened = purchase.open_by_channel(
        kind=OrderKind.COLLECT,
        order_no=order_no,
        business_no=business_no,
        payer=collector,
        amount_fen=amount_fen,
        subject=subject,
        channel=channel,
        scene=scene,
        particulars=Particulars(payer_id=payer_id, payer_ip=payer_ip, receiver=receiver),
        expires_at=expires_at,
        now=now,
    )
    return _read(opened.order)


def find_payment(*, order_no: str, ask_provider: bool = False, now: dt.datetime) -> DirectPayment | None:
    """None before it is opened. `ask_provider`: one question while it is open, at most one in some seconds."""
    try:
        order = orders.get_order(order_no=order_no)
    except NotFound:
        return None
    return _read(checking.refresh_on_read(order_no=order_no, now=now) if ask_provider else order)


def close_payment(*, order_no: str, now: dt.datetime) -> DirectPayment:
    """Ends it at the provider first; one that is paid meanwhile comes back PAID. Raises Busy without an answer."""
    try:
        return _read(closing.close_order(order_no=order_no, now=now))
    except OrderAlreadyPaid:
        return _read(orders.get_order(order_no=order_no))


def _read(order: OrderRecord) -> DirectPayment:
    paid_by = order.effective_attempt()
    if order.state is OrderState.SUCCESS and paid_by is not None:
        return DirectPayment(
            order_no=order.order_no,
            state=DirectState.PAID,
            payment=purchase.NOTHING_TO_PAY,
            attempt_no=paid_by.attempt_no,
            provider_no=paid_by.provider_no,
            paid_at=order.paid_at,
        )
    if order.state is not OrderState.PENDING:
        return DirectPayment(order_no=order.order_no, state=DirectState.CLOSED, payment=purchase.NOTHING_TO_PAY)
    attempt = next((one for one in order.attempts if one.is_open), None)
    return DirectPayment(
        order_no=order.order_no,
        state=DirectState.OPEN,
        payment=(attempt.payment if attempt is not None else None) or purchase.NOTHING_TO_PAY,
        scene=attempt.scene if attempt is not None else "",
    )

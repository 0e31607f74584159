"""Ends unpaid orders: at the provider first, then here; never the other way round."""

from __future__ import annotations

import datetime as dt

from foundation import outbox
from foundation.errors import Busy, Rejected
from funds import selectors as funds
from gateway.ports import CODE_NO_CLOSE, CODE_NOT_FOUND, Outcome
from gateway.services import calls
from orders import selectors as orders
from orders.domain.records import AttemptRecord, OrderRecord
from orders.domain.states import OPEN_ATTEMPT_STATES, OPEN_ORDER_STATES, AttemptState, OrderKind, OrderState
from orders.services import advancing, opening
from payments.domain import events, schedule
from payments.domain.channels import WALLET
from payments.services import checking

PROOF_AGE = dt.timedelta(minutes=1)
"""A number the provider does not know proves "never paid" only when our prepay cannot be on its way any more."""


class OrderAlreadyPaid(Rejected):
    """The order is paid: it can be refunded, not closed."""

    code = "order_already_paid"
    http_status = 409
    message_en = "The order has been paid already."
    message_zh = "订单已支付，不能关闭。"


CLOSABLE = frozenset(
    {OrderKind.RECHARGE, OrderKind.PAYMENT, OrderKind.COLLECT, OrderKind.REDPACKET_SEND, OrderKind.TRANSFER}
)
"""Orders that somebody pays. Attempts of the others are refunds and payouts, which no provider closes."""


class OrderNotClosable(Rejected):
    """409: money is on its way out under this order."""

    code = "order_not_closable"
    http_status = 409
    message_en = "This kind of order cannot be closed."
    message_zh = "该类订单不能关闭。"


def close_order(*, order_no: str, now: dt.datetime) -> OrderRecord:
    """Closes every open attempt at its provider, then the order; returns the order as it stands then.

    Raises OrderNotClosable, OrderAlreadyPaid when it is, or turns out to be, paid (the payment is booked), and Busy
    when a provider gave no certain answer: the order then stays open and the check job goes on.
    """
    order = orders.get_order(order_no=order_no)
    if order.kind not in CLOSABLE:
        raise OrderNotClosable({"order_no": order_no, "kind": order.kind.value})
    for attempt in order.attempts:
        if attempt.is_open and attempt.channel != WALLET:
            _close_attempt(attempt, now=now)
    end_unpaid(order_no=order_no, reason="closed", now=now)
    closed = orders.get_order(order_no=order_no)
    if closed.state is OrderState.SUCCESS:
        raise OrderAlreadyPaid({"order_no": order_no})
    return closed


def _close_attempt(attempt: AttemptRecord, *, now: dt.datetime) -> None:
    """Closes one attempt at the provider; a paid one is booked instead. Raises Busy without a certain answer."""
    result = calls.close(channel=attempt.channel, attempt_no=attempt.attempt_no)
    if result.outcome is Outcome.SUCCESS:
        _mark_closed(attempt, "closed", now)
        return
    state = checking.check_attempt(attempt=attempt, now=now)
    if result.code == CODE_NOT_FOUND and attempt.created_at < now - PROOF_AGE and state in OPEN_ATTEMPT_STATES:
        query = calls.query(channel=attempt.channel, attempt_no=attempt.attempt_no)
        if query.code == CODE_NOT_FOUND:  # "no such order" after the close at the provider: design money.md
            _mark_closed(attempt, CODE_NOT_FOUND, now)
            return
    if result.code == CODE_NO_CLOSE and state in OPEN_ATTEMPT_STATES and _is_over(attempt, now):
        _mark_closed(attempt, "expired", now)
        return
    if state in OPEN_ATTEMPT_STATES:
        raise Busy({"order_no": attempt.order_no, "reason": "provider_unavailable"}, retry_after_seconds=5)


def _is_over(attempt: AttemptRecord, now: dt.datetime) -> bool:
    """The provider's own expiry lies PROOF_AGE or more behind: what it has just called unpaid stays so."""
    order = orders.get_order(order_no=attempt.order_no)
    expiry = schedule.provider_expiry(now=attempt.created_at, order_expires_at=order.expires_at or attempt.created_at)
    return now >= expiry + PROOF_AGE


def _mark_closed(attempt: AttemptRecord, code: str, now: dt.datetime) -> None:
    advancing.advance_attempt(
        attempt_no=attempt.attempt_no,
        target=AttemptState.CLOSED,
        fields={"finished_at": now, "next_check_at": None, "result_code": code},
    )


def end_unpaid(*, order_no: str, reason: str, now: dt.datetime) -> bool:
    """Moves an order without any open channel attempt to CLOSED and announces it; True when it moved.

    A wallet attempt that died before its freeze is closed with it; when its freeze was committed the order is left to
    the event that completes it. Does nothing while a channel attempt is open or once the order has ended.
    """

    def work() -> bool:
        order = advancing.lock_order(order_no=order_no)
        if order.state not in OPEN_ORDER_STATES:
            return False
        if any(attempt.is_open and attempt.channel != WALLET for attempt in order.attempts):
            return False
        if _is_booked(order):
            return False
        for attempt in order.attempts:
            if attempt.is_open:
                advancing.advance_attempt(
                    attempt_no=attempt.attempt_no,
                    target=AttemptState.CLOSED,
                    fields={"finished_at": now, "next_check_at": None, "result_code": reason[:64]},
                )
        advancing.advance_order(order_no=order_no, target=OrderState.CLOSED, fields={"closed_at": now})
        outbox.publish(
            using=orders.order_alias(order_no),
            topic=events.ORDER_CLOSED,
            key=order_no,
            payload={"order_no": order_no, "kind": order.kind.value, "business_no": order.business_no},
            now=now,
        )
        return True

    return opening.in_transaction(order_no, work)


def _is_booked(order: OrderRecord) -> bool:
    """True when the ledger has the order's money: the commit point was passed, the order is only behind."""
    return any(
        funds.get_journal(kind=kind, reference=order.order_no) is not None
        for kind in ("recharge", "collected", "freeze", "transfer")
    )

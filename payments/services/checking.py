"""Asks providers about undecided attempts: on the job's schedule, and when somebody looks at a pending order."""

from __future__ import annotations

import datetime as dt

import structlog

from foundation.errors import Busy, NotFound, PaysysError, Rejected
from foundation.redis import client
from gateway.ports import CODE_NOT_FOUND, Outcome, Result
from gateway.services import calls
from orders import selectors as orders
from orders.domain.records import AttemptRecord, OrderRecord
from orders.domain.states import OPEN_ATTEMPT_STATES, OPEN_ORDER_STATES, AttemptState, OrderKind, OrderState
from orders.services import advancing
from payments.domain import schedule
from payments.domain.channels import WALLET
from payments.services import outcomes, refund_queue, refund_results, refunds

logger = structlog.get_logger("payments")

ON_READ_SECONDS = 5
"""At most one question to the provider per order in this time, however often clients look."""
REFUND_KINDS = (OrderKind.REDPACKET_REFUND, OrderKind.RETURN, refund_results.PAYMENT_REFUND_KIND)


def check_attempt(*, attempt: AttemptRecord, now: dt.datetime) -> AttemptState:
    """Asks the provider about one open attempt and acts on the answer; returns the attempt's state afterwards.

    Only a positive answer decides; all else (time-out, unknown code, unknown number) schedules the next question.
    """
    order = orders.get_order(order_no=attempt.order_no)
    if order.kind in REFUND_KINDS and (attempt.channel == WALLET or attempt.state is AttemptState.CREATED):
        refunds.request_refund(refund_no=order.order_no, now=now)  # perhaps not booked yet, so nothing to ask about
    elif order.kind in REFUND_KINDS:
        result = calls.query_refund(
            channel=attempt.channel, refund_no=attempt.attempt_no, attempt_no=refunds.paid_attempt_no(order)
        )
        if result.code == CODE_NOT_FOUND:
            refunds.request_refund(refund_no=order.order_no, now=now)
        else:
            refund_results.apply(refund_no=order.order_no, result=result, now=now)
    else:
        result = calls.query(channel=attempt.channel, attempt_no=attempt.attempt_no)
        _apply_payment(attempt, result, now)
    return orders.get_attempt(attempt_no=attempt.attempt_no).state


def ask_refund_again(*, refund_no: str, now: dt.datetime) -> OrderState:
    """Asks the provider about one refund at once, for staff; returns its order's state afterwards. Safe to repeat."""
    refund = orders.get_order(order_no=refund_no)
    if refund.state in OPEN_ORDER_STATES:
        check_attempt(attempt=refund.attempts[-1], now=now)
    return _state_for_staff(refund_no, now)


def retry_refund(*, refund_no: str, now: dt.datetime) -> OrderState:
    """Requests an open refund from the provider once more under the same number, for staff; never a second refund.

    Returns its order's state afterwards; does nothing to one that has ended.
    """
    refunds.request_refund(refund_no=refund_no, now=now)
    return _state_for_staff(refund_no, now)


def _state_for_staff(refund_no: str, now: dt.datetime) -> OrderState:
    state = orders.get_order(order_no=refund_no).state
    if state not in OPEN_ORDER_STATES:
        refund_queue.close(refund_no=refund_no, now=now)
    return state


def _apply_payment(attempt: AttemptRecord, result: Result, now: dt.datetime) -> None:
    if result.outcome is Outcome.SUCCESS:
        success = outcomes.Success(
            attempt_no=attempt.attempt_no,
            amount_fen=result.amount_fen or 0,
            provider_no=result.provider_no,
            paid_at=result.happened_at or now,
        )
        outcomes.record_success(success=success, now=now)
    elif result.outcome is Outcome.FAILED:
        advancing.advance_attempt(
            attempt_no=attempt.attempt_no,
            target=AttemptState.CLOSED,
            fields={"finished_at": now, "next_check_at": None, "result_code": result.code[:64]},
        )
    else:
        advancing.schedule_check(
            attempt_no=attempt.attempt_no,
            at=schedule.next_check(now=now, tries=attempt.tries + 1),
            result_code=result.code,
        )


def check_due(*, now: dt.datetime, limit: int = 200) -> dict[str, int]:
    """Asks about every attempt whose check has come; one failing attempt does not stop the others."""
    report = {"asked": 0, "decided": 0, "failed": 0}
    for attempt in orders.list_due_attempts(now=now, limit=limit):
        report["asked"] += 1
        try:
            state = check_attempt(attempt=attempt, now=now)
        except PaysysError as error:  # a channel that is set up wrongly does not stop the others
            report["failed"] += 1
            logger.warning("check of attempt failed", attempt_no=attempt.attempt_no, error=repr(error))
            advancing.schedule_check(
                attempt_no=attempt.attempt_no,
                at=schedule.next_check(now=now, tries=attempt.tries + 1),
                result_code=error.code,
            )
            continue
        report["decided"] += state not in OPEN_ATTEMPT_STATES
    return report


def refresh_on_read(*, order_no: str, now: dt.datetime) -> OrderRecord:
    """The order, after asking the provider when it is pending (rate-limited per order, never failing the read)."""
    order = orders.get_order(order_no=order_no)
    undecided = [row for row in order.attempts if row.is_open and row.channel != WALLET]
    if order.state not in OPEN_ORDER_STATES or not undecided or order.kind is OrderKind.WITHDRAWAL:
        return order  # of a payout `withdrawals` asks
    if not _may_ask(order_no):
        return order
    for attempt in undecided:
        try:
            check_attempt(attempt=attempt, now=now)
        except (Rejected, Busy, NotFound) as error:
            logger.warning("refresh of order failed", order_no=order_no, error=repr(error))
    return orders.get_order(order_no=order_no)


def _may_ask(order_no: str) -> bool:
    return bool(client().set(f"payments:asked:{order_no}", 1, nx=True, ex=ON_READ_SECONDS))

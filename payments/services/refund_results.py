"""Acts on what a provider says of a refund: notice, query or the answer of the call itself."""

from __future__ import annotations

import datetime as dt

from foundation import alerts, outbox
from foundation.db import roles
from funds import selectors as funds
from funds.domain import movements
from funds.domain.entries import Entry
from funds.services import ledger
from gateway.ports import CODE_ABNORMAL, Outcome, Result
from orders import selectors as orders
from orders.domain.numbers import Prefix
from orders.domain.records import AttemptRecord, OrderRecord
from orders.domain.states import OPEN_ORDER_STATES, AttemptState, OrderKind, OrderState
from orders.services import advancing, opening
from payments.domain import events, schedule
from payments.services import outcomes, refund_queue

PAYMENT_REFUND_KIND = OrderKind.REDPACKET_REFUND
"""Kind of a payment's refund, shared with a packet's rest: both are reserved on their original. The number tells."""

UNCOVERED = "balance_insufficient"
"""Result code of a refund that its payee's balance did not cover; no provider's code."""


def is_payment_refund(order: OrderRecord) -> bool:
    """True for a refund of a payment (number RF…), which the caller may have to book yet."""
    return order.order_no.startswith(Prefix.REFUND)


def is_uncovered(order: OrderRecord) -> bool:
    """True for a refund that ended because the balance it should come from was too small."""
    return order.state is OrderState.FAILED and order.attempts[-1].result_code == UNCOVERED


def apply(*, refund_no: str, result: Result, now: dt.datetime) -> None:
    """Books the end of a refund once, or schedules the next question. `refund_no` is the refund order's number.

    SUCCESS: 2320 → 1110, order SUCCESS. FAILED (the provider closed it, the money stays with us): 2320 → the available
    balance it came from, the reservation is given back; a return that fails goes to staff and stays open. Another
    amount than asked for decides nothing and goes to staff. Anything else waits, an abnormal one with an alert.
    What staff must settle while it stays open stands in their queue (payments.services.refund_queue).
    """
    order = orders.get_order(order_no=refund_no)
    attempt = order.attempts[-1]
    if result.amount_fen is not None and result.amount_fen != order.amount_fen:
        _call_staff(order, attempt, result, now)
        result = Result(outcome=Outcome.UNKNOWN, code="refund_amount_mismatch", message=str(result.amount_fen))
        refund_queue.note(refund=order, attempt=attempt, result=result, now=now)
    if result.code == CODE_ABNORMAL:
        _call_staff(order, attempt, result, now)
        refund_queue.note(refund=order, attempt=attempt, result=result, now=now)
    if result.outcome is Outcome.SUCCESS:
        _finish(order, attempt, result, is_refunded=True, now=now)
    elif result.outcome is Outcome.FAILED and order.kind is not OrderKind.RETURN:
        _call_staff(order, attempt, result, now)
        _finish(order, attempt, result, is_refunded=False, now=now)
    else:
        if result.outcome is Outcome.FAILED:
            _call_staff(order, attempt, result, now)
            refund_queue.note(refund=order, attempt=attempt, result=result, now=now)
        advancing.schedule_check(
            attempt_no=attempt.attempt_no,
            at=schedule.next_check(now=now, tries=attempt.tries + 1),
            result_code=result.code,
        )


def finish_booked(*, refund_no: str, entry: Entry, now: dt.datetime) -> None:
    """Ends a refund that no provider has part in: `entry` is all of it. Safe to repeat; raises InsufficientFunds."""
    order = orders.get_order(order_no=refund_no)
    _finish(order, order.attempts[-1], Result(outcome=Outcome.SUCCESS), is_refunded=True, now=now, entry=entry)


def cancel_uncovered(*, refund_no: str, now: dt.datetime) -> None:
    """Ends a refund that its payee's balance did not cover: FAILED, the reservation is given back. Safe to repeat.

    Does nothing to one that another worker has booked meanwhile: bookings are made under the same locks.
    """
    refund = orders.get_order(order_no=refund_no)

    def work() -> None:
        advancing.lock_order(order_no=refund.original_order_no)
        present = advancing.lock_order(order_no=refund_no)
        is_booked = funds.get_journal(kind="refund_start", reference=refund_no) is not None
        if present.state not in OPEN_ORDER_STATES or is_booked:
            return
        for attempt in present.attempts:
            advancing.advance_attempt(
                attempt_no=attempt.attempt_no,
                target=AttemptState.FAILED,
                fields={"finished_at": now, "next_check_at": None, "result_code": UNCOVERED},
            )
        advancing.advance_order(order_no=refund_no, target=OrderState.FAILED, fields={"closed_at": now})
        advancing.finish_refund(order_no=refund.original_order_no, amount_fen=refund.amount_fen, is_refunded=False)

    opening.in_transaction(refund.original_order_no, work)


def _finish(
    order: OrderRecord,
    attempt: AttemptRecord,
    result: Result,
    *,
    is_refunded: bool,
    now: dt.datetime,
    entry: Entry | None = None,
) -> None:
    def work() -> None:
        # The original stands in the same table and is locked first: reservations change only under its lock.
        original = advancing.lock_order(order_no=order.original_order_no)
        present = advancing.lock_order(order_no=order.order_no)
        if present.state not in OPEN_ORDER_STATES:
            return
        state = OrderState.SUCCESS if is_refunded else OrderState.FAILED
        ledger.in_transaction(lambda: _book(present, state, entry or _entry(present, original, attempt, state), now))
        advancing.advance_attempt(
            attempt_no=attempt.attempt_no,
            target=AttemptState.SUCCESS if is_refunded else AttemptState.FAILED,
            fields={
                "provider_no": result.provider_no,
                "finished_at": now,
                "next_check_at": None,
                "effective": 1 if is_refunded else None,
                "result_code": result.code[:64],
            },
        )
        advancing.advance_order(
            order_no=order.order_no,
            target=state,
            fields={
                "paid_at": (result.happened_at or now) if is_refunded else None,
                "closed_at": now,
                "effective_attempt_no": attempt.attempt_no if is_refunded else "",
            },
        )
        if order.kind is not OrderKind.RETURN:
            advancing.finish_refund(order_no=original.order_no, amount_fen=order.amount_fen, is_refunded=is_refunded)

    opening.in_transaction(order.order_no, work)


def _entry(order: OrderRecord, original: OrderRecord, attempt: AttemptRecord, state: OrderState) -> Entry | None:
    """The journal of the refund's end; None where a merchant's own account keeps its money."""
    if outcomes.is_direct(original):
        if state is not OrderState.SUCCESS:
            return None
        return movements.collection_refunded(
            refund_no=order.order_no,
            order_no=original.order_no,
            enterprise_id=original.enterprise_id,
            amount_fen=order.amount_fen,
        )
    if state is OrderState.SUCCESS:
        return movements.refund_done(
            refund_no=order.order_no,
            order_no=original.order_no,
            channel=attempt.channel,
            amount_fen=order.amount_fen,
        )
    return movements.refund_failed(
        refund_no=order.order_no,
        order_no=original.order_no,
        channel=attempt.channel,
        owner=outcomes.payee_account(original),
        amount_fen=order.amount_fen,
    )


def _book(order: OrderRecord, state: OrderState, entry: Entry | None, now: dt.datetime) -> None:
    if entry is not None:
        ledger.post(entry=entry, now=now)
    publish_finished(order=order, state=state, now=now)


def publish_finished(*, order: OrderRecord, state: OrderState, now: dt.datetime) -> None:
    """Announces the end of a refund inside the ledger's transaction; one event per refund."""
    outbox.publish(
        using=roles.alias_for("funds"),
        topic=events.REFUND_FINISHED,
        key=order.order_no,
        payload={
            "refund_no": order.order_no,
            "business_no": order.business_no,
            "state": state.value,
            "amount_fen": order.amount_fen,
        },
        now=now,
    )


def _call_staff(order: OrderRecord, attempt: AttemptRecord, result: Result, now: dt.datetime) -> None:
    alerts.raise_alert(
        code="refund_needs_staff",
        subject=order.order_no,
        message=f"The provider did not carry out the refund ({result.code or result.outcome.value}).",
        context={
            "channel": attempt.channel,
            "attempt_no": attempt.attempt_no,
            "amount_fen": order.amount_fen,
        },
        now=now,
    )

"""Turns what a provider says of an attempt into states and money: the one place for notices, queries and prepay.

A verified success is booked by `record_success`: ledger and outbox in one commit on the funds database, nested inside
the order's transaction, so that a crash between the two leaves "money moved, order behind", which the outbox event
(payments.callbacks) and the query job repair. Source: design `architecture.md` (commit points), `money.md`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

import structlog

from foundation import alerts, outbox
from foundation.db import roles
from foundation.errors import Rejected
from funds.domain import movements
from funds.domain.entries import AccountRef, Entry, employee_account, enterprise_account
from funds.services import ledger
from orders import selectors as orders
from orders.domain.numbers import Prefix
from orders.domain.records import AttemptRecord, OrderRecord
from orders.domain.states import OPEN_ORDER_STATES, AttemptState, OrderKind, OrderState
from orders.services import advancing, numbers, opening
from payments.domain import events
from payments.domain.channels import WALLET

logger = structlog.get_logger("payments")


class AmountMismatch(Rejected):
    """The provider speaks of another amount than the attempt's. Nothing is credited; a person must look."""

    code = "amount_mismatch"
    http_status = 422
    message_en = "The amount is not the amount of the payment."
    message_zh = "金额与订单不符。"


class Booking(StrEnum):
    """What `record_success` did with the money."""

    EFFECTIVE = "EFFECTIVE"  # it paid the order
    TO_RETURN = "TO_RETURN"  # the order was paid or ended already: booked to 2410 and returned by itself
    REPEATED = "REPEATED"  # all of it was booked before


@dataclass(frozen=True, kw_only=True)
class Success:
    """A verified success of one attempt; `amount_fen` is what the provider received."""

    attempt_no: str
    amount_fen: int
    provider_no: str
    paid_at: dt.datetime


def record_success(*, success: Success, now: dt.datetime) -> Booking:
    """Books a verified success once and advances attempt and order.

    Safe to repeat, concurrent and reordered: the order row is locked, and the journal's (kind, order number) decides
    which attempt was first even when an earlier call died between the two commits. Raises NotFound for an unknown
    attempt and AmountMismatch (alerted) when the amount differs; both move nothing.
    """
    attempt = orders.get_attempt(attempt_no=success.attempt_no)
    if attempt.amount_fen != success.amount_fen:
        alerts.raise_alert(
            code="amount_mismatch",
            subject=success.attempt_no,
            message=f"The provider says {success.amount_fen} fen were paid, the attempt is over {attempt.amount_fen}.",
            context={"order_no": attempt.order_no, "channel": attempt.channel},
            now=now,
        )
        raise AmountMismatch({"attempt_no": success.attempt_no})
    account_id = orders.get_order(order_no=attempt.order_no).employee_id
    refund_no = numbers.issue(prefix=Prefix.RETURN, account_id=account_id, beside=attempt.order_no)

    def work() -> Booking:
        order = advancing.lock_order(order_no=attempt.order_no)
        present = next(row for row in order.attempts if row.attempt_no == success.attempt_no)
        if present.state is AttemptState.SUCCESS:
            return Booking.REPEATED
        is_first = ledger.in_transaction(lambda: _book(order, present, success, refund_no, now))
        if is_first:
            complete_order(
                order=order,
                attempt_no=success.attempt_no,
                provider_no=success.provider_no,
                paid_at=success.paid_at,
                now=now,
            )
            return Booking.EFFECTIVE
        _finish_attempt(success.attempt_no, provider_no=success.provider_no, is_effective=False, now=now)
        return Booking.TO_RETURN

    booking = opening.in_transaction(attempt.order_no, work)
    if booking is Booking.TO_RETURN:
        alerts.raise_alert(
            code="receipt_to_return",
            subject=success.attempt_no,
            severity="WARNING",
            message="Paid a second time or after the order ended; the money goes back by itself.",
            context={"order_no": attempt.order_no, "amount_fen": success.amount_fen},
            now=now,
        )
    return booking


def payer_account(order: OrderRecord) -> AccountRef:
    """The customer account an order belongs to."""
    return employee_account(order.employee_id, order.enterprise_id)


def payee_account(order: OrderRecord) -> AccountRef:
    """Whose balance a paid order becomes: the enterprise's for a business backend's, else the payer's own."""
    if order.kind is OrderKind.PAYMENT:
        return enterprise_account(order.enterprise_id)
    return payer_account(order)


def _book(order: OrderRecord, attempt: AttemptRecord, success: Success, refund_no: str, now: dt.datetime) -> bool:
    """Posts the journal and the event; True when this attempt pays the order."""
    if order.state in OPEN_ORDER_STATES:
        posted = ledger.post(entry=_payment_entry(order, attempt), now=now)
        if posted.source_no == attempt.attempt_no:
            publish_paid(
                order=order,
                attempt_no=success.attempt_no,
                provider_no=success.provider_no,
                paid_at=success.paid_at,
                now=now,
            )
            return True
    ledger.post(entry=_return_entry(order, attempt), now=now)
    outbox.publish(
        using=roles.alias_for("funds"),
        topic=events.RECEIPT_TO_RETURN,
        key=attempt.attempt_no,
        payload={
            "order_no": order.order_no,
            "attempt_no": attempt.attempt_no,
            "refund_no": refund_no,
            "amount_fen": attempt.amount_fen,
        },
        now=now,
    )
    return False


def is_direct(order: OrderRecord) -> bool:
    """True when the payer's money goes straight to a merchant's own account: our books keep memo lines only."""
    return order.kind is OrderKind.COLLECT


def _return_entry(order: OrderRecord, attempt: AttemptRecord) -> Entry:
    if is_direct(order):
        return movements.collected_to_return(
            order_no=order.order_no,
            attempt_no=attempt.attempt_no,
            enterprise_id=order.enterprise_id,
            amount_fen=attempt.amount_fen,
        )
    return movements.receipt_to_return(
        order_no=order.order_no,
        attempt_no=attempt.attempt_no,
        channel=attempt.channel,
        amount_fen=attempt.amount_fen,
    )


def _payment_entry(order: OrderRecord, attempt: AttemptRecord) -> Entry:
    if is_direct(order):
        return movements.collected(
            order_no=order.order_no,
            attempt_no=attempt.attempt_no,
            enterprise_id=order.enterprise_id,
            amount_fen=attempt.amount_fen,
        )
    if order.kind is OrderKind.REDPACKET_SEND:
        return movements.recharge_into_hold(
            order_no=order.order_no,
            attempt_no=attempt.attempt_no,
            channel=attempt.channel,
            owner=payer_account(order),
            amount_fen=attempt.amount_fen,
            hold_key=events.packet_hold_key(order.business_no),
        )
    return movements.recharge(
        order_no=order.order_no,
        attempt_no=attempt.attempt_no,
        channel=attempt.channel,
        owner=payee_account(order),
        amount_fen=attempt.amount_fen,
    )


def publish_paid(
    *, order: OrderRecord, attempt_no: str, provider_no: str, paid_at: dt.datetime, now: dt.datetime
) -> None:
    """Announces a paid order inside the ledger's transaction; one event per order."""
    outbox.publish(
        using=roles.alias_for("funds"),
        topic=events.ORDER_PAID,
        key=order.order_no,
        payload={
            "order_no": order.order_no,
            "kind": order.kind.value,
            "business_no": order.business_no,
            "amount_fen": order.amount_fen,
            "employee_id": order.employee_id,
            "attempt_no": attempt_no,
            "provider_no": provider_no,
            "paid_at": paid_at.isoformat(),
        },
        now=now,
    )


def complete_order(
    *, order: OrderRecord, attempt_no: str, provider_no: str, paid_at: dt.datetime, now: dt.datetime
) -> None:
    """Moves the winning attempt and its order to SUCCESS; the ledger has booked it. Safe to repeat.

    Must run inside a transaction on the order's database.
    """
    _finish_attempt(attempt_no, provider_no=provider_no, is_effective=True, now=now)
    close_wallet_attempts(order=order, but=attempt_no, now=now)
    advancing.advance_order(
        order_no=order.order_no,
        target=OrderState.SUCCESS,
        fields={"paid_at": paid_at, "closed_at": now, "effective_attempt_no": attempt_no},
    )


def close_wallet_attempts(*, order: OrderRecord, but: str = "", now: dt.datetime) -> None:
    """Closes what impatient clicks left behind on a locked order: no provider would ever end a wallet attempt."""
    for attempt in order.attempts:
        if attempt.is_open and attempt.channel == WALLET and attempt.attempt_no != but:
            advancing.advance_attempt(
                attempt_no=attempt.attempt_no, target=AttemptState.CLOSED, fields={"finished_at": now}
            )


def repair_order(*, order_no: str, attempt_no: str, provider_no: str, paid_at: dt.datetime, now: dt.datetime) -> bool:
    """Brings an order forward whose money is booked: delivery of its event after a crash between the two commits.

    The event was committed with the journal, so it is the proof. True when the order was behind.
    """

    def work() -> bool:
        order = advancing.lock_order(order_no=order_no)
        if order.state is OrderState.SUCCESS:
            return False
        complete_order(order=order, attempt_no=attempt_no, provider_no=provider_no, paid_at=paid_at, now=now)
        return True

    was_behind = opening.in_transaction(order_no, work)
    if was_behind:
        logger.warning("order was behind its journal and was repaired", order_no=order_no)
    return was_behind


def _finish_attempt(attempt_no: str, *, provider_no: str, is_effective: bool, now: dt.datetime) -> None:
    advancing.advance_attempt(
        attempt_no=attempt_no,
        target=AttemptState.SUCCESS,
        fields={
            "provider_no": provider_no,
            "finished_at": now,
            "effective": 1 if is_effective else None,
            "next_check_at": None,
        },
    )

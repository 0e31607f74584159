"""Starts refunds: parts of a payment, the rest of a red packet to its source, and payments that must go back.

The refund order stands in the table of its original, so that reserving the amount is one commit. The provider is asked
from the outbox event, after the books say "in transit"; its number is fixed before.

A refund of a payment is reserved first and booked second, each in its own commit: between the two no other refund can
take the same money, and the check job books what a crash left unbooked.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from foundation import outbox
from foundation.db import roles
from foundation.errors import Broken, Rejected
from funds import selectors as funds
from funds.domain import movements
from funds.domain.entries import AccountRef, Bucket, Category, Entry, Line, OwnerKind, platform_account
from funds.services import ledger
from funds.services.ledger import InsufficientFunds
from gateway.ports import RefundRequest
from gateway.services import calls
from orders import selectors as orders
from orders.domain import numbers as number_rules
from orders.domain.records import AttemptRecord, NewOrder, OrderRecord
from orders.domain.states import OPEN_ORDER_STATES, AttemptState, OrderKind, OrderState
from orders.services import advancing, numbers, opening
from payments.domain import events, schedule
from payments.domain.channels import WALLET
from payments.services import outcomes, refund_queue, refund_results
from payments.services.addresses import notify_url

REFUNDABLE_KINDS = (OrderKind.RECHARGE, OrderKind.PAYMENT, OrderKind.COLLECT)


class OrderNotRefundable(Rejected):
    """The order is not paid, or its kind is settled in another way (a red packet, a transfer)."""

    code = "order_not_refundable"
    http_status = 409
    message_en = "The order cannot be refunded."
    message_zh = "该订单不可退款。"


@dataclass(frozen=True, kw_only=True)
class RefundView:
    """A refund's number and the state of its order."""

    refund_no: str
    state: OrderState


def issue_number(*, funding_order_no: str) -> str:
    """A number for the refund of a red packet's rest; it shares the table of the order that paid the packet."""
    account = number_rules.parse(funding_order_no).account
    return numbers.issue(prefix=numbers.Prefix.REDPACKET_REFUND, account_id=account, beside=funding_order_no)


def issue_refund_number(*, order_no: str) -> str:
    """A number for a refund of a payment, in the table of the order it refunds. Raises NotFound."""
    original = orders.get_order(order_no=order_no)
    return numbers.issue(prefix=numbers.Prefix.REFUND, account_id=original.employee_id, beside=order_no)


def refund_order(
    *, refund_no: str, order_no: str, amount_fen: int, reason: str, requested_by: str, now: dt.datetime
) -> OrderRecord:
    """Refunds `amount_fen` of a paid order to where it was paid from; returns the refund's own order.

    `refund_no` comes from `issue_refund_number`; repeating with it returns the same refund and moves nothing more.
    `reason` is the provider's and the statement's text, `requested_by` (64 ASCII characters at most) stands on the
    refund as business number and as the journal's actor. From a channel: PENDING until the provider's answer is proved.
    From the wallet: SUCCESS at once. Raises NotFound, OrderNotRefundable, RefundTooLarge and InsufficientFunds (nothing
    moved; the refund is FAILED and its reservation given back). Locks the original; the provider is not called here.
    """
    original = orders.get_order(order_no=order_no)
    source = original.effective_attempt()
    if original.kind not in REFUNDABLE_KINDS or original.state is not OrderState.SUCCESS or source is None:
        raise OrderNotRefundable({"order_no": order_no, "state": original.state.value})
    new = NewOrder(
        order_no=refund_no,
        kind=refund_results.PAYMENT_REFUND_KIND,
        amount_fen=amount_fen,
        employee_id=original.employee_id,
        enterprise_id=original.enterprise_id,
        subject=reason,
        business_no=requested_by,
        original_order_no=order_no,
        channel=source.channel,
    )
    _reserve(new, source, now)
    book_refund(refund_no=refund_no, now=now)
    present = orders.get_order(order_no=refund_no)
    if refund_results.is_uncovered(present):
        raise InsufficientFunds({"order_no": order_no})
    return present


def _reserve(new: NewOrder, source: AttemptRecord, now: dt.datetime) -> None:
    """One commit: the refund's order, its attempt, and the reservation on the original."""
    attempt_no = numbers.issue_attempt(order_no=new.order_no)

    def work() -> None:
        advancing.lock_order(order_no=new.original_order_no)
        if opening.open_order(new=new, now=now).attempts:
            return
        advancing.reserve_refund(order_no=new.original_order_no, amount_fen=new.amount_fen)
        opening.open_attempt(
            order_no=new.order_no,
            attempt_no=attempt_no,
            channel=source.channel,
            scene="refund",
            amount_fen=new.amount_fen,
            now=now,
            next_check_at=schedule.next_check(now=now, tries=1),
            order_channel=new.channel,
        )

    opening.in_transaction(new.original_order_no, work)


def book_refund(*, refund_no: str, now: dt.datetime) -> bool:
    """Books a reserved refund of a payment: in transit for a channel, the whole of it for the wallet. Safe to repeat.

    True when a provider is to carry it out. Where the payee's balance does not cover it the refund ends as FAILED
    (refund_results.is_uncovered) and nothing stays reserved. Locks the original, then the refund, then the ledger's
    rows: a refund that another worker has ended meanwhile is not booked.
    """
    refund = orders.get_order(order_no=refund_no)
    original = orders.get_order(order_no=refund.original_order_no)

    def work() -> bool:
        advancing.lock_order(order_no=original.order_no)
        if advancing.lock_order(order_no=refund_no).state not in OPEN_ORDER_STATES:
            return False
        ledger.in_transaction(lambda: _book_start(_channel_entry(refund, original), refund_no, now))
        return True

    try:
        if refund.attempts[-1].channel != WALLET:
            return opening.in_transaction(original.order_no, work)
        refund_results.finish_booked(refund_no=refund_no, entry=_wallet_entry(refund, original), now=now)
    except InsufficientFunds:
        refund_results.cancel_uncovered(refund_no=refund_no, now=now)
    return False


def _channel_entry(refund: OrderRecord, original: OrderRecord) -> Entry | None:
    """2010 or 2110 of whoever received the payment → 2320 refund in transit.

    None for a merchant's own money: nothing of it is in transit with us, its memo is written when it has gone back.
    """
    if outcomes.is_direct(original):
        return None
    debited = outcomes.payee_account(original)
    credited = platform_account(movements.REFUND_IN_TRANSIT, refund.attempts[-1].channel)
    return Entry(
        kind="refund_start",
        reference=refund.order_no,
        order_no=original.order_no,
        source_no=refund.order_no,
        actor=refund.business_no,
        lines=_lines(refund.amount_fen, debited, Category.RECHARGE, credited, Category.PLATFORM),
    )


def _wallet_entry(refund: OrderRecord, original: OrderRecord) -> Entry:
    """2110 of the business → 2010 of the employee who paid. No provider: the journal is the refund's end."""
    return Entry(
        kind="refund_done",
        reference=refund.order_no,
        order_no=original.order_no,
        source_no=refund.order_no,
        actor=refund.business_no,
        lines=_lines(
            refund.amount_fen,
            outcomes.payee_account(original),
            Category.INCOME,
            _wallet_payer(original),
            Category.CONSUMPTION,
        ),
    )


def _lines(
    amount_fen: int, debited: AccountRef, why: Category, credited: AccountRef, why_credited: Category
) -> tuple[Line, Line]:
    return (
        Line(account=debited, bucket=Bucket.AVAILABLE, amount_fen=-amount_fen, category=why),
        Line(account=credited, bucket=Bucket.AVAILABLE, amount_fen=amount_fen, category=why_credited),
    )


def _wallet_payer(original: OrderRecord) -> AccountRef:
    """Who paid: the journal knows, the order may be anyone's of the enterprise."""
    journal = funds.get_journal(kind="recharge", reference=original.order_no)
    found = funds.get_journal_lines(journal_id=journal.pk) if journal is not None else None
    payers = [line.account for line in found[1] if line.amount_fen < 0] if found is not None else []
    if len(payers) != 1 or payers[0].owner_kind != OwnerKind.EMPLOYEE:
        raise Broken({"order_no": original.order_no, "reason": "no employee paid this from a wallet"})
    return payers[0]


def _book_start(entry: Entry | None, refund_no: str, now: dt.datetime) -> None:
    if entry is None or ledger.post(entry=entry, now=now).created:
        _publish_requested(refund_no, now)


def _publish_requested(refund_no: str, now: dt.datetime) -> None:
    outbox.publish(
        using=roles.alias_for("funds"),
        topic=events.REFUND_REQUESTED,
        key=refund_no,
        payload={"refund_no": refund_no},
        now=now,
    )


def return_rest(
    *, funding_order_no: str, refund_no: str, business_no: str, amount_fen: int, now: dt.datetime
) -> RefundView:
    """Gives what is left of a red packet back to its source: at once to the wallet, or by the provider's refund.

    `refund_no` comes from `issue_number` and is fixed by the caller before; repeating with it returns the same refund
    and moves nothing more. Locks the paying order, then the ledger's rows. Ends in event payments.refund_finished.
    """
    funding = orders.get_order(order_no=funding_order_no)
    source = funding.effective_attempt()
    if source is None:
        raise Broken({"order_no": funding_order_no, "reason": "not paid, nothing to return"})
    if source.channel == WALLET:
        new = _new(funding, refund_no, OrderKind.REDPACKET_REFUND, business_no, amount_fen)
        _release(funding, opening.open_order(new=new, now=now), now)
    else:
        entry = movements.refund_from_hold(
            refund_no=refund_no,
            order_no=funding_order_no,
            owner=outcomes.payer_account(funding),
            hold_key=events.packet_hold_key(business_no),
            amount_fen=amount_fen,
            channel=source.channel,
        )
        _start(
            funding,
            _new(funding, refund_no, OrderKind.REDPACKET_REFUND, business_no, amount_fen),
            channel=source.channel,
            entry=entry,
            is_reserved=True,
            now=now,
        )
    return RefundView(refund_no=refund_no, state=orders.get_order(order_no=refund_no).state)


def return_receipt(*, order_no: str, attempt_no: str, refund_no: str, amount_fen: int, now: dt.datetime) -> None:
    """Sends a second or late payment back through its own channel (2410 → in transit → provider). Safe to repeat.

    One that a merchant's own account received goes back from there; the books hear of it at its end.
    """
    original = orders.get_order(order_no=order_no)
    attempt = orders.get_attempt(attempt_no=attempt_no)
    entry = None
    if not outcomes.is_direct(original):
        entry = movements.return_start(
            refund_no=refund_no, order_no=order_no, amount_fen=amount_fen, channel=attempt.channel
        )
    new = _new(original, refund_no, OrderKind.RETURN, attempt_no, amount_fen)
    _start(original, new, channel=attempt.channel, entry=entry, is_reserved=False, now=now)


def request_refund(*, refund_no: str, now: dt.datetime) -> None:
    """Asks the provider to carry out a started refund, always with the same number; called by the event.

    Repeating is harmless: providers answer the same refund for the same number. An open refund that was asked before is
    asked again only by query (payments.services.checking). What a crash left reserved and unbooked is booked first.
    """
    order = orders.get_order(order_no=refund_no)
    if order.state not in OPEN_ORDER_STATES:
        return
    if refund_results.is_payment_refund(order) and not book_refund(refund_no=refund_no, now=now):
        return
    attempt = order.attempts[-1]
    paid_attempt = paid_attempt_no(order)
    request = RefundRequest(
        refund_no=attempt.attempt_no,
        attempt_no=paid_attempt,
        amount_fen=order.amount_fen,
        paid_fen=orders.get_attempt(attempt_no=paid_attempt).amount_fen,
        reason=order.subject,
        notify_url=notify_url(attempt.channel, "refund"),
    )
    result = calls.refund(channel=attempt.channel, request=request)
    if attempt.state is AttemptState.CREATED:
        advancing.advance_attempt(attempt_no=attempt.attempt_no, target=AttemptState.PENDING)
    refund_results.apply(refund_no=refund_no, result=result, now=now)


def paid_attempt_no(refund: OrderRecord) -> str:
    """The attempt whose money goes back: the returned one, or the one that paid the original."""
    if refund.kind is OrderKind.RETURN:
        return refund.business_no
    return orders.get_order(order_no=refund.original_order_no).effective_attempt_no


def _new(original: OrderRecord, refund_no: str, kind: OrderKind, business_no: str, amount_fen: int) -> NewOrder:
    return NewOrder(
        order_no=refund_no,
        kind=kind,
        amount_fen=amount_fen,
        employee_id=original.employee_id,
        enterprise_id=original.enterprise_id,
        subject="Refund" if kind is OrderKind.REDPACKET_REFUND else "Returned payment",
        business_no=business_no,
        original_order_no=original.order_no,
    )


def repair(*, refund_no: str, now: dt.datetime) -> None:
    """Completes a wallet refund whose journal is booked but whose order is behind (delivery of its event).

    A refund that has ended leaves the staff's queue.
    """
    refund_queue.close(refund_no=refund_no, now=now)
    order = orders.get_order(order_no=refund_no)
    if order.state not in OPEN_ORDER_STATES:
        return
    if not order.attempts:
        _release(orders.get_order(order_no=order.original_order_no), order, now)
    elif order.attempts[-1].channel == WALLET:
        book_refund(refund_no=refund_no, now=now)


def _release(funding: OrderRecord, refund: OrderRecord, now: dt.datetime) -> None:
    """Hold → available balance; the refund's order is committed before, so a crash in between finds it."""
    entry = movements.release_rest(
        reference=refund.order_no,
        order_no=funding.order_no,
        owner=outcomes.payer_account(funding),
        hold_key=events.packet_hold_key(refund.business_no),
        amount_fen=refund.amount_fen,
    )

    def book() -> None:
        ledger.post(entry=entry, now=now)
        refund_results.publish_finished(order=refund, state=OrderState.SUCCESS, now=now)

    def work() -> None:
        advancing.lock_order(order_no=funding.order_no)
        if advancing.lock_order(order_no=refund.order_no).state not in OPEN_ORDER_STATES:
            return
        advancing.reserve_refund(order_no=funding.order_no, amount_fen=refund.amount_fen)
        ledger.in_transaction(book)
        advancing.advance_order(
            order_no=refund.order_no, target=OrderState.SUCCESS, fields={"paid_at": now, "closed_at": now}
        )
        advancing.finish_refund(order_no=funding.order_no, amount_fen=refund.amount_fen, is_refunded=True)

    opening.in_transaction(funding.order_no, work)


def _start(
    original: OrderRecord, new: NewOrder, *, channel: str, entry: Entry | None, is_reserved: bool, now: dt.datetime
) -> None:
    attempt_no = numbers.issue_attempt(order_no=new.order_no)

    def book() -> None:
        if entry is not None:
            ledger.post(entry=entry, now=now)
        _publish_requested(new.order_no, now)

    def work() -> None:
        advancing.lock_order(order_no=original.order_no)
        order = opening.open_order(new=new, now=now)
        if order.attempts:
            return
        if is_reserved:
            advancing.reserve_refund(order_no=original.order_no, amount_fen=new.amount_fen)
        opening.open_attempt(
            order_no=new.order_no,
            attempt_no=attempt_no,
            channel=channel,
            scene="refund",
            amount_fen=new.amount_fen,
            now=now,
            next_check_at=schedule.next_check(now=now, tries=1),
        )
        ledger.in_transaction(book)

    opening.in_transaction(original.order_no, work)

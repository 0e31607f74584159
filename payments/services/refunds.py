"""Starts refunds: the rest of a red packet to its source, and payments that must go back.

The refund order stands in the table of its original, so that reserving the amount is one commit. The provider is asked
from the outbox event, after the books say "in transit"; its number is fixed before.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from foundation import outbox
from foundation.db import roles
from foundation.errors import Broken
from funds.domain import movements
from funds.domain.entries import Entry
from funds.services import ledger
from gateway.ports import RefundRequest
from gateway.services import calls
from orders import selectors as orders
from orders.domain import numbers as number_rules
from orders.domain.records import NewOrder, OrderRecord
from orders.domain.states import OPEN_ORDER_STATES, AttemptState, OrderKind, OrderState
from orders.services import advancing, numbers, opening
from payments.domain import events, schedule
from payments.domain.channels import WALLET
from payments.services import outcomes, refund_results
from payments.services.addresses import notify_url


@dataclass(frozen=True, kw_only=True)
class RefundView:
    """A refund's number and the state of its order."""

    refund_no: str
    state: OrderState


def issue_number(*, funding_order_no: str) -> str:
    """A number for the refund of a red packet's rest; it shares the table of the order that paid the packet."""
    account = number_rules.parse(funding_order_no).account
    return numbers.issue(prefix=numbers.Prefix.REDPACKET_REFUND, account_id=account, beside=funding_order_no)


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
    """Sends a second or late payment back through its own channel (2410 → in transit → provider). Safe to repeat."""
    original = orders.get_order(order_no=order_no)
    attempt = orders.get_attempt(attempt_no=attempt_no)
    entry = movements.return_start(
        refund_no=refund_no, order_no=order_no, amount_fen=amount_fen, channel=attempt.channel
    )
    new = _new(original, refund_no, OrderKind.RETURN, attempt_no, amount_fen)
    _start(original, new, channel=attempt.channel, entry=entry, is_reserved=False, now=now)


def request_refund(*, refund_no: str, now: dt.datetime) -> None:
    """Asks the provider to carry out a started refund, always with the same number; called by the event.

    Repeating is harmless: providers answer the same refund for the same number. An open refund that was asked before is
    asked again only by query (payments.services.checking).
    """
    order = orders.get_order(order_no=refund_no)
    if order.state not in OPEN_ORDER_STATES:
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
    """Completes a wallet refund whose journal is booked but whose order is behind (delivery of its event)."""
    order = orders.get_order(order_no=refund_no)
    if order.state in OPEN_ORDER_STATES and not order.attempts:
        _release(orders.get_order(order_no=order.original_order_no), order, now)


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
    original: OrderRecord, new: NewOrder, *, channel: str, entry: Entry, is_reserved: bool, now: dt.datetime
) -> None:
    attempt_no = numbers.issue_attempt(order_no=new.order_no)

    def book() -> None:
        ledger.post(entry=entry, now=now)
        outbox.publish(
            using=roles.alias_for("funds"),
            topic=events.REFUND_REQUESTED,
            key=new.order_no,
            payload={"refund_no": new.order_no},
            now=now,
        )

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

"""What placing, paying, closing and refunding mean, the same for every provider.

Each function is one transaction of the books. Refusals are exceptions; the caller puts them into its own words.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from simulator.books import Notice, Order, Refund
from simulator.faults import NOTICE_FAULTS, REFUND_FAULTS
from simulator.world import Channel, NoticeDraft, World

CODE_LIFE_SECONDS = 2 * 3600.0
"""How long a code can be scanned; asking again with the same parameters renews it (WeChat: 2 h)."""
MAX_REFUNDS = 50
"""Of one order (WeChat and others)."""
REFUND_WINDOW_SECONDS = 365 * 86_400.0
"""Later than a year after the payment there is no refund."""
OPERATION_PAYMENT_NOTICE = "payment_notice"
OPERATION_REFUND_NOTICE = "refund_notice"
OPERATION_PAYOUT_NOTICE = "payout_notice"
PAYER = "oSimulatedPayer0000000000001"
"""The one person who pays here, 28 characters like a real openid."""


class Refused(Exception):
    """The provider says no; nothing has changed."""


class UnknownOrder(Refused):
    """There is no order of this number or code."""


class UnknownRefund(Refused):
    """There is no refund of this number."""


class OrderPaid(Refused):
    """The order is paid already."""


class OrderClosed(Refused):
    """The order was closed, by the merchant or by its time."""


class CodeExpired(Refused):
    """The code is older than CODE_LIFE_SECONDS."""


class NumberReused(Refused):
    """The number is taken by a request with other parameters."""


class OrderNotPaid(Refused):
    """There is nothing to pay back."""


class RefundTooLarge(Refused):
    """More would go back than was paid."""


class TotalMismatch(Refused):
    """The total named in the refund is not what was paid."""


class RefundNotAllowed(Refused):
    """Too many refunds of one order, or too late."""


@dataclass(frozen=True, kw_only=True)
class OrderRequest:
    """`expires_at`: seconds since 1970 by the simulator's clock. `receiver`: as of simulator.books.Order."""

    channel: str
    attempt_no: str
    code: str
    subject: str
    amount_fen: int
    notify_url: str
    parameters: Mapping[str, Any]
    expires_at: float
    receiver: str = ""


@dataclass(frozen=True, kw_only=True)
class RefundRequest:
    """`paid_fen`: what the merchant believes was paid. `notify_url` may be empty: then no notice is sent."""

    refund_no: str
    amount_fen: int
    paid_fen: int
    notify_url: str
    parameters: Mapping[str, Any]


def place_order(*, world: World, wanted: OrderRequest) -> Order:
    """The order of this number; asked again with the same parameters, the same one with its code renewed.

    Raises NumberReused, OrderPaid, OrderClosed.
    """
    now = _sweep(world)
    with world.books.transaction():
        known = world.books.find_order(channel=wanted.channel, attempt_no=wanted.attempt_no)
        if known is None:
            order = Order(
                channel=wanted.channel,
                attempt_no=wanted.attempt_no,
                code=wanted.code,
                subject=wanted.subject,
                amount_fen=wanted.amount_fen,
                paid_fen=None,
                state="OPEN",
                notify_url=wanted.notify_url,
                parameters=wanted.parameters,
                transaction_id=None,
                payer=None,
                created_at=now,
                expires_at=wanted.expires_at,
                code_issued_at=now,
                paid_at=None,
                receiver=wanted.receiver,
            )
            world.books.add_order(order)
            return order
        if dict(known.parameters) != dict(wanted.parameters):
            raise NumberReused
        _refuse_unless_open(known)
        world.books.renew_code(order=known, issued_at=now)
        return known


def get_order(*, world: World, channel: str, attempt_no: str = "", transaction_id: str = "") -> Order:
    """By one of the two numbers, as it is now; UnknownOrder."""
    _sweep(world)
    if transaction_id:
        return _known(world.books.find_order_by_transaction(channel=channel, transaction_id=transaction_id))
    return _known(world.books.find_order(channel=channel, attempt_no=attempt_no))


def get_order_by_code(*, world: World, code: str) -> Order:
    """As it is now; UnknownOrder."""
    _sweep(world)
    return _known(world.books.find_order_by_code(code=code))


def scan_order(*, world: World, code: str) -> Order:
    """The person has scanned the code or opened the page but not paid. Raises UnknownOrder."""
    order = get_order_by_code(world=world, code=code)
    if order.state == "OPEN" and order.payer is None:
        world.books.mark_scanned(order=order, payer=PAYER)
    return get_order_by_code(world=world, code=code)


def close_order(*, world: World, channel: str, attempt_no: str) -> None:
    """Raises UnknownOrder, OrderPaid, OrderClosed."""
    _sweep(world)
    with world.books.transaction():
        order = _known(world.books.find_order(channel=channel, attempt_no=attempt_no))
        _refuse_unless_open(order)
        world.books.mark_closed(order=order)


def check_payable(*, order: Order, now: float) -> None:
    """Raises OrderPaid, OrderClosed, CodeExpired, as the provider's app would on scanning."""
    _refuse_unless_open(order)
    if now >= order.code_issued_at + CODE_LIFE_SECONDS:
        raise CodeExpired


def pay_order(*, world: World, channel: Channel, code: str, amount_fen: int | None, payer: str = PAYER) -> Order:
    """The person scans and pays; the notice is queued in the same transaction.

    `payer`: the person, or the person's bank where the provider tells that. `amount_fen` other than the order's: the
    provider claims that this was paid. Raises UnknownOrder, OrderPaid, OrderClosed, CodeExpired.
    """
    now = _sweep(world)
    with world.books.transaction():
        order = _known(world.books.find_order_by_code(code=code))
        check_payable(order=order, now=now)
        world.books.mark_paid(
            order=order,
            paid_fen=order.amount_fen if amount_fen is None else amount_fen,
            transaction_id=channel.new_transaction_id(),
            payer=payer,
            paid_at=now,
        )
        order = _known(world.books.find_order_by_code(code=code))
        if order.notify_url:
            draft = channel.draft_payment_notice(order)
            _queue_notice(world=world, order=order, refund_no="", url=order.notify_url, draft=draft)
    world.wake.set()
    return order


def accept_refund(*, world: World, channel: Channel, order: Order, wanted: RefundRequest) -> Refund:
    """PROCESSING, settled by `settle_refunds` later; the same number with the same content answers the same refund.

    Raises NumberReused, OrderNotPaid, TotalMismatch, RefundTooLarge, RefundNotAllowed.
    """
    now = world.clock.seconds()
    with world.books.transaction():
        known = world.books.find_refund(channel=order.channel, refund_no=wanted.refund_no)
        if known is not None:
            if known.attempt_no != order.attempt_no or dict(known.parameters) != dict(wanted.parameters):
                raise NumberReused
            return known
        order = _known(world.books.find_order(channel=order.channel, attempt_no=order.attempt_no))
        _check_refund(world=world, order=order, wanted=wanted, now=now)
        struck = world.faults.draw(
            among=REFUND_FAULTS, channel=order.channel, operation="refund", attempt_no=order.attempt_no
        )
        outcome = "ABNORMAL" if "refund_abnormal" in struck else "CLOSED" if "refund_closed" in struck else "SUCCESS"
        refund = Refund(
            channel=order.channel,
            refund_no=wanted.refund_no,
            refund_id=channel.new_refund_id(),
            attempt_no=order.attempt_no,
            amount_fen=wanted.amount_fen,
            state="PROCESSING",
            outcome=outcome,
            settle_real_at=time.time() + world.options.refund_delay_seconds,
            notify_url=wanted.notify_url,
            parameters=wanted.parameters,
            created_at=now,
            finished_at=None,
        )
        world.books.add_refund(refund)
    world.wake.set()
    return refund


def get_refund(*, world: World, channel: str, refund_no: str) -> Refund:
    """As it is now; UnknownRefund."""
    refund = world.books.find_refund(channel=channel, refund_no=refund_no)
    if refund is None:
        raise UnknownRefund
    return refund


def settle_refunds(*, world: World, channels: Mapping[str, Channel]) -> float:
    """Ends the refunds that are due and queues their notices; the machine's time of the next one."""
    for refund in world.books.list_processing_refunds():
        if refund.settle_real_at > time.time():
            return refund.settle_real_at
        settle_refund(world=world, channel=channels[refund.channel], refund=refund)
    return math.inf


def settle_refund(*, world: World, channel: Channel, refund: Refund) -> Refund:
    """Ends one refund, now, and queues its notice if the provider sends one; the refund as it is then."""
    with world.books.transaction():
        is_mine = world.books.finish_refund(refund=refund, finished_at=world.clock.seconds())
        done = get_refund(world=world, channel=refund.channel, refund_no=refund.refund_no)
        if is_mine and refund.notify_url:
            order = _known(world.books.find_order(channel=refund.channel, attempt_no=refund.attempt_no))
            draft = channel.draft_refund_notice(refund=done, order=order)
            if draft is not None:
                _queue_notice(world=world, order=order, refund_no=refund.refund_no, url=refund.notify_url, draft=draft)
    return done


def refunded_fen(refunds: list[Refund]) -> int:
    """What has gone back or may still: all but the closed ones."""
    return sum(refund.amount_fen for refund in refunds if refund.state != "CLOSED")


def _sweep(world: World) -> float:
    """Closes what is over, in a transaction of its own: a refusal that follows must not undo it. The time it used."""
    now = world.clock.seconds()
    world.books.close_expired(now=now)
    return now


def _known(order: Order | None) -> Order:
    if order is None:
        raise UnknownOrder
    return order


def _refuse_unless_open(order: Order) -> None:
    if order.state == "PAID":
        raise OrderPaid
    if order.state == "CLOSED":
        raise OrderClosed


def _check_refund(*, world: World, order: Order, wanted: RefundRequest, now: float) -> None:
    if order.paid_fen is None or order.paid_at is None:
        raise OrderNotPaid
    if wanted.paid_fen != order.paid_fen:
        raise TotalMismatch
    refunds = world.books.list_refunds(order=order)
    if len(refunds) >= MAX_REFUNDS or now > order.paid_at + REFUND_WINDOW_SECONDS:
        raise RefundNotAllowed
    if refunded_fen(refunds) + wanted.amount_fen > order.paid_fen:
        raise RefundTooLarge


def _queue_notice(*, world: World, order: Order, refund_no: str, url: str, draft: NoticeDraft) -> None:
    """The notice of a payment, or of a refund of it."""
    queue_notice(
        world=world,
        channel=order.channel,
        attempt_no=order.attempt_no,
        refund_no=refund_no,
        operation=OPERATION_REFUND_NOTICE if refund_no else OPERATION_PAYMENT_NOTICE,
        url=url,
        draft=draft,
    )


def queue_notice(
    *, world: World, channel: str, attempt_no: str, refund_no: str, operation: str, url: str, draft: NoticeDraft
) -> None:
    """Writes the notice, and what fault rules make of it, into the books."""
    struck = world.faults.draw(among=NOTICE_FAULTS, channel=channel, operation=operation, attempt_no=attempt_no)
    probes = []
    if "notice_signtest" in struck:
        probes.append("signtest")
    if "notice_tampered" in struck:
        probes.append(struck["notice_tampered"].tamper)
    if "notice_stale" in struck:
        probes.append("stale")
    delay_seconds = struck["notice_late"].delay if "notice_late" in struck else 0.0
    # One that overtakes is not held itself, so that with every notice struck they still change places in pairs.
    is_overtakable = "notice_out_of_order" in struck and not world.books.has_overtakable_notice()
    if is_overtakable:
        delay_seconds += struck["notice_out_of_order"].delay
    notice = Notice(
        row_id=0,
        notice_id=secrets.token_hex(16),
        channel=channel,
        attempt_no=attempt_no,
        refund_no=refund_no,
        event=draft.event,
        url=url,
        content=draft.content,
        created_at=world.clock.seconds(),
        state="WITHHELD" if "notice_never" in struck else "DUE",
        probes=tuple(probes),
        is_overtakable=is_overtakable,
        due_real_at=time.time() + delay_seconds,
        tries=0,
    )
    world.books.add_notice(notice)
    if "notice_duplicate" in struck:
        for _ in range(struck["notice_duplicate"].copies):
            world.books.add_notice(replace(notice, probes=()))

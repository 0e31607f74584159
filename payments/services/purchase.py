"""Opens orders that are paid through a channel or from the wallet.

Idempotent by order number: a request that died anywhere is repeated with the same number and goes on where it stood;
the attempt's number, too, is fixed before the provider is called.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from foundation.errors import Busy, Rejected
from funds.domain import movements
from funds.services import ledger
from funds.services.ledger import InsufficientFunds
from gateway.domain.routing import Kind
from gateway.ports import Outcome, PrepayRequest, Receiver, Result
from gateway.services import calls, channels, receivers, routing
from orders import selectors as orders
from orders.domain.records import AttemptRecord, NewAttempt, NewOrder, OrderRecord
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.services import advancing, numbers, opening
from payments.domain import events, schedule
from payments.domain.channels import AUTO, WALLET
from payments.domain.people import Person
from payments.services import closing, outcomes
from payments.services.addresses import notify_url

PREPAY_TRIES = 2
"""A prepay without a certain answer is repeated once with the same number (providers answer the same again)."""


class ChannelRefused(Rejected):
    """The provider said no to this attempt; another channel may be tried."""

    code = "channel_refused"
    http_status = 422
    message_en = "The payment channel refused the payment."
    message_zh = "支付渠道拒绝了该笔支付。"


class OrderNotPayable(Rejected):
    """The order is paid or has ended."""

    code = "order_not_payable"
    http_status = 409
    message_en = "The order can no longer be paid."
    message_zh = "订单已无法支付。"


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """An open or paid order and what the client needs to let the person pay ({"kind": "none"} when nothing is)."""

    order: OrderRecord
    payment: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Particulars:
    """What a channel needs to know beside the order: see gateway.ports.PrepayRequest.

    `receiver`: the merchant's own account that the money goes to; None for ours.
    """

    payer_id: str = ""
    payer_ip: str = ""
    return_url: str = ""
    receiver: Receiver | None = None


NO_PARTICULARS = Particulars()
NOTHING_TO_PAY: Mapping[str, Any] = {"kind": "none"}


def open_by_channel(
    *,
    kind: str,
    order_no: str,
    business_no: str = "",
    payer: Person,
    amount_fen: int,
    subject: str,
    channel: str,
    scene: str,
    particulars: Particulars = NO_PARTICULARS,
    expires_at: dt.datetime | None = None,
    now: dt.datetime,
) -> Purchase:
    """Opens an order of `amount_fen` and a first attempt through `channel`, and asks the provider for the payment.

    `channel` AUTO: the platform chooses; a retry with the same order number keeps what was chosen. Raises
    ChannelUnavailable for one that may not take this payment, before anything is opened; ChannelRefused (the order
    stays open for another attempt); and Busy when the provider gave no certain answer, or the channel is not answering
    these days: repeat with the same order number. Nothing of money moves here. `expires_at`: of the order, when it is
    not settings.ORDER_LIFETIME_SECONDS from now.
    """
    channel = _route(
        channel=channel,
        order_no=order_no,
        kind=OrderKind(kind),
        enterprise_id=payer.enterprise_id,
        amount_fen=amount_fen,
        scene=scene,
        now=now,
    )
    new = NewOrder(
        order_no=order_no,
        kind=OrderKind(kind),
        amount_fen=amount_fen,
        employee_id=payer.employee_id,
        enterprise_id=payer.enterprise_id,
        subject=subject,
        business_no=business_no,
        expires_at=expires_at or _expires_at(now),
    )
    first = NewAttempt(
        attempt_no=numbers.issue_attempt(order_no=order_no),
        channel=channel,
        scene=scene,
        amount_fen=amount_fen,
        next_check_at=schedule.next_check(now=now, tries=0),
    )
    order = opening.open_with_attempt(new=new, attempt=first, now=now)
    return _try(order, channel=channel, scene=scene, particulars=particulars, now=now)


def _expires_at(now: dt.datetime) -> dt.datetime:
    return now + dt.timedelta(seconds=settings.ORDER_LIFETIME_SECONDS)


def try_channel(*, order_no: str, channel: str, scene: str, now: dt.datetime) -> Purchase:
    """One more attempt on an unpaid order, or the open one of the same channel and scene again.

    An open attempt on another channel stays: the first success wins, a second one is returned by itself. Raises
    OrderNotPayable for a collection: it pays into the account that it was begun with, by its one attempt.
    """
    order = orders.get_order(order_no=order_no)
    if order.kind is OrderKind.COLLECT:
        raise OrderNotPayable({"order_no": order_no, "kind": order.kind.value})
    if order.state is OrderState.PENDING:
        channel = _route(
            channel=channel,
            order_no=order_no,
            kind=order.kind,
            enterprise_id=order.enterprise_id,
            amount_fen=order.amount_fen,
            scene=scene,
            now=now,
        )
    return _try(order, channel=channel, scene=scene, particulars=NO_PARTICULARS, now=now)


CHANNEL_KINDS: Mapping[OrderKind, Kind] = {
    OrderKind.RECHARGE: Kind.RECHARGE,
    OrderKind.PAYMENT: Kind.PAYMENT,
    OrderKind.REDPACKET_SEND: Kind.REDPACKET,
    OrderKind.COLLECT: Kind.COLLECT,
}
"""What orders that are paid through a channel are called there."""


def _route(
    *, channel: str, order_no: str, kind: OrderKind, enterprise_id: int, amount_fen: int, scene: str, now: dt.datetime
) -> str:
    """The channel that takes this payment: the named one if it may, or the choice that stands for this order."""
    if kind not in CHANNEL_KINDS:
        raise OrderNotPayable({"order_no": order_no, "kind": kind.value})
    request = routing.Request(
        order_no=order_no,
        attempt_key=f"{order_no}:{channel}:{scene}",
        amount_fen=amount_fen,
        kind=CHANNEL_KINDS[kind],
        scene=scene,
        client_class=channels.get_client_class(enterprise_id=enterprise_id),
    )
    if channel == AUTO:
        return routing.choose(request=request, now=now)
    return routing.confirm(channel=channel, request=request, now=now)


def _try(order: OrderRecord, *, channel: str, scene: str, particulars: Particulars, now: dt.datetime) -> Purchase:
    order_no = order.order_no
    if order.state is OrderState.SUCCESS:
        return Purchase(order=order, payment=NOTHING_TO_PAY)
    if order.state is not OrderState.PENDING or (order.expires_at is not None and order.expires_at <= now):
        raise OrderNotPayable({"order_no": order_no, "state": order.state.value})
    attempt = next(
        (row for row in order.attempts if row.is_open and (row.channel, row.scene) == (channel, scene)), None
    )
    if attempt is None:
        attempt = opening.open_attempt(
            order_no=order_no,
            attempt_no=numbers.issue_attempt(order_no=order_no),
            channel=channel,
            scene=scene,
            amount_fen=order.amount_fen,
            now=now,
            next_check_at=schedule.next_check(now=now, tries=0),
            order_channel=order.channel,
        )
    payment = attempt.payment or prepay(order=order, attempt=attempt, particulars=particulars, now=now)
    return Purchase(order=orders.get_order(order_no=order_no), payment=payment)


def prepay(
    *, order: OrderRecord, attempt: AttemptRecord, particulars: Particulars = NO_PARTICULARS, now: dt.datetime
) -> Mapping[str, Any]:
    """Asks the attempt's provider for what the person pays with, and notes the answer on the attempt.

    Raises ChannelRefused for the provider's no, and Busy without a certain answer: call again with the same attempt.
    """
    if particulars.receiver is not None:
        receivers.assign(attempt_no=attempt.attempt_no, channel=attempt.channel, receiver=particulars.receiver, now=now)
    request = PrepayRequest(
        attempt_no=attempt.attempt_no,
        amount_fen=attempt.amount_fen,
        subject=order.subject,
        scene=attempt.scene,
        expires_at=schedule.provider_expiry(now=attempt.created_at, order_expires_at=order.expires_at or now),
        notify_url=notify_url(attempt.channel),
        payer_id=particulars.payer_id,
        payer_ip=particulars.payer_ip,
        return_url=particulars.return_url,
    )
    result = Result(outcome=Outcome.UNKNOWN)
    for _ in range(PREPAY_TRIES):
        result = calls.prepay(channel=attempt.channel, request=request)
        if result.outcome is not Outcome.UNKNOWN:
            break
    if result.outcome is Outcome.FAILED:
        advancing.advance_attempt(
            attempt_no=attempt.attempt_no,
            target=AttemptState.FAILED,
            fields={"result_code": result.code[:64], "finished_at": now, "next_check_at": None},
        )
        raise ChannelRefused({"order_no": order.order_no, "channel": attempt.channel, "reason": result.code})
    if result.outcome is Outcome.UNKNOWN or result.payment is None:
        advancing.advance_attempt(
            attempt_no=attempt.attempt_no,
            target=AttemptState.UNKNOWN,
            fields={"result_code": result.code[:64]},
        )
        raise Busy({"order_no": order.order_no, "reason": "provider_unavailable"}, retry_after_seconds=3)
    advancing.advance_attempt(
        attempt_no=attempt.attempt_no,
        target=AttemptState.PENDING,
        fields={"payment": dict(result.payment), "result_code": ""},
    )
    return result.payment


def pay_from_wallet(
    *,
    kind: str,
    order_no: str,
    business_no: str,
    payer: Person,
    amount_fen: int,
    subject: str,
    now: dt.datetime,
) -> Purchase:
    """Freezes `amount_fen` of the payer's balance for the business and completes the order in the same call.

    The order is committed first, so that a crash after the freeze finds it (the event completes it). Raises
    InsufficientFunds: nothing is frozen and the order is CLOSED. The hold's key is
    payments.domain.events.packet_hold_key(business_no). Repeating answers the same order.
    """
    new = NewOrder(
        order_no=order_no,
        kind=OrderKind(kind),
        amount_fen=amount_fen,
        employee_id=payer.employee_id,
        enterprise_id=payer.enterprise_id,
        subject=subject,
        business_no=business_no,
        expires_at=_expires_at(now),
        channel=WALLET,
    )
    order = opening.open_order(new=new, now=now)
    if order.state is OrderState.PENDING:
        attempt = next(iter(order.attempts), None) or opening.open_attempt(
            order_no=order_no,
            attempt_no=numbers.issue_attempt(order_no=order_no),
            channel=WALLET,
            scene="",
            amount_fen=amount_fen,
            now=now,
            order_channel=order.channel,
        )
        _pay_from_wallet(order_no=order_no, attempt_no=attempt.attempt_no, now=now)
    paid = orders.get_order(order_no=order_no)
    if paid.state is not OrderState.SUCCESS:
        raise OrderNotPayable({"order_no": order_no, "state": paid.state.value})
    return Purchase(order=paid, payment=NOTHING_TO_PAY)


def _pay_from_wallet(*, order_no: str, attempt_no: str, now: dt.datetime) -> None:
    def work() -> None:
        order = advancing.lock_order(order_no=order_no)
        if order.state is not OrderState.PENDING:
            outcomes.close_wallet_attempts(order=order, now=now)
            return
        ledger.in_transaction(lambda: _freeze(order, attempt_no, now))
        outcomes.complete_order(order=order, attempt_no=attempt_no, provider_no="", paid_at=now, now=now)

    try:
        opening.in_transaction(order_no, work)
    except InsufficientFunds:
        closing.end_unpaid(order_no=order_no, reason=InsufficientFunds.code, now=now)
        raise


def _freeze(order: OrderRecord, attempt_no: str, now: dt.datetime) -> None:
    entry = movements.freeze(
        order_no=order.order_no,
        owner=outcomes.payer_account(order),
        amount_fen=order.amount_fen,
        hold_key=events.packet_hold_key(order.business_no),
    )
    ledger.post(entry=entry, now=now)
    outcomes.publish_paid(order=order, attempt_no=attempt_no, provider_no="", paid_at=now, now=now)

"""Payments by code: begun by a payer without log-in, paid into the merchant's own account, given back by him.

A collection is committed first, with its order's number; then order and attempt are opened and the provider is asked
(payments.services.purchase). What becomes of the order comes back by its events (collect.callbacks) and, for who looks
at the page, at once. Our books keep memo lines only. Every function may be repeated. Source: requirements 扫码收款.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction

from collect.domain import rules
from collect.domain.rules import CodeKind
from collect.domain.states import BindingState, CodeState, CollectionState, RefundState
from collect.models import Binding, Code, Collection, CollectionRefund
from collect.services import codes, crm
from collect.services.codes import CodeExpired
from foundation import limiter_windows, push
from foundation.db import roles, transactions
from foundation.errors import Broken, Busy, InvalidRequest, NotFound, RateLimited, Rejected
from foundation.limiter_settings import Window
from payments.domain.people import Person
from payments.services import direct, numbers, refunds
from payments.services.direct import DirectPayment, DirectState, Receiver

logger = structlog.get_logger("collect")

TAKE_OVER_AGE = dt.timedelta(minutes=1)
"""An unpaid payment of a code that serves once gives way to another payer after this time."""
OPENING_AGE = dt.timedelta(minutes=2)
"""A collection without an order after this time belongs to a request that died between the two."""
CODE_WINDOW = "collect_code"
REASON_MAX_CHARACTERS = 80
PAID_EVENT, REFUNDED_EVENT = "collect.paid", "collect.refunded"
NOTHING_TO_PAY: Mapping[str, Any] = {"kind": "none"}


class ReceiverMissing(Rejected):
    """409: the merchant has no account in use at this channel."""

    code = "receiver_missing"
    http_status = 409
    message_en = "The merchant does not take this way of paying."
    message_zh = "商户暂不支持该支付方式。"


class CollectionIdUsed(Rejected):
    """409: the id stands for a payment of another code, amount or channel."""

    code = "collection_id_used"
    http_status = 409
    message_en = "This payment was begun with other particulars."
    message_zh = "该笔支付已用其他信息发起。"


class CodeInUse(Rejected):
    """409: somebody else is paying a code that serves once."""

    code = "code_in_use"
    http_status = 409
    message_en = "Somebody is paying this code at this moment. Try again in a minute."
    message_zh = "该收款码正在支付中，请一分钟后再试。"


class RefundNotPossible(Rejected):
    """409: the collection is not paid, or all of it went back already."""

    code = "refund_not_possible"
    http_status = 409
    message_en = "This payment cannot be refunded."
    message_zh = "该笔收款不可退款。"


@dataclass(frozen=True, kw_only=True)
class PayerFacts:
    """What is known of whoever pays. `agent_digest`: hex SHA-256 of his user agent; `openid`: for jsapi only."""

    address: str
    agent_digest: str
    openid: str = ""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A payment and what the page needs to let the payer pay; {"kind": "none"} when there is nothing to pay."""

    collection_id: str
    order_no: str
    state: CollectionState
    amount_fen: int
    payment: Mapping[str, Any]
    expires_at: dt.datetime


@dataclass(frozen=True, kw_only=True)
class CollectionView:
    """A payment as its payer and its merchant see it; `provider_no` is "" until it is paid."""

    collection_id: str
    order_no: str
    state: CollectionState
    merchant_name: str
    subject: str
    channel: str
    amount_fen: int
    refunded_fen: int
    created_at: dt.datetime
    expires_at: dt.datetime
    paid_at: dt.datetime | None
    provider_no: str
    payment: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RefundView:
    """`state`: of the refund's order. `refunded_fen`: of the collection, what has gone back for certain."""

    refund_no: str
    order_no: str
    amount_fen: int
    state: str
    refunded_fen: int


# --- Begin ------------------------------------------------------------------------------------------------------------


def start(
    *,
    collection_id: str,
    code_id: str,
    amount_fen: int | None,
    channel: str,
    scene: str,
    payer: PayerFacts,
    now: dt.datetime,
) -> Started:
    """Begins a payment under an id of `codes.issue_id`; the same id goes on with what it began.

    `amount_fen`: None, or the same again, for a code of fixed amount. Raises NotFound, CodeExpired, CodeInUse,
    InvalidRequest {"amount_fen": [zero|over_limit|fixed]}, ReceiverMissing, CollectionIdUsed, RateLimited (too many by
    this code), ChannelRefused and ChannelUnavailable (the collection is closed: begin with a new id), Busy (repeat with
    the same id). No money moves.
    """
    row = _find(collection_id)
    if row is None:
        row = _insert(collection_id, code_id=code_id, amount_fen=amount_fen, channel=channel, now=now)
    if (row.code_id, row.channel) != (code_id, channel) or amount_fen not in (None, row.amount_fen):
        raise CollectionIdUsed({"payment_no": collection_id})
    if row.state != CollectionState.OPEN:
        return _started(row, NOTHING_TO_PAY)
    begun = direct.find_payment(order_no=row.order_no, now=now)
    if begun is not None and begun.scene not in ("", scene):
        raise CollectionIdUsed({"payment_no": collection_id})
    try:
        payment = direct.open_payment(
            order_no=row.order_no,
            business_no=row.pk,
            collector=Person(employee_id=row.employee_id, enterprise_id=row.enterprise_id),
            amount_fen=row.amount_fen,
            subject=row.code.subject or row.binding.display_name,
            channel=channel,
            scene=scene,
            receiver=Receiver(account_no=row.binding.sub_merchant_no, appid=row.binding.sub_appid),
            payer_id=payer.openid,
            payer_ip=payer.address,
            expires_at=row.expires_at,
            now=now,
        )
    except (direct.ChannelUnavailable, direct.ChannelRefused):
        _give_up(row, now)
        raise
    except direct.OrderNotPayable:
        return _started(_get(row.pk), NOTHING_TO_PAY)
    row.refresh_from_db()
    if row.state == CollectionState.CLOSED:  # given up by the sweep while this request hung before its order
        direct.close_payment(order_no=row.order_no, now=now)
        return _started(row, NOTHING_TO_PAY)
    return _started(_follow(row, payment, now), payment.payment)


def _give_up(row: Collection, now: dt.datetime) -> None:
    """Refused: ends it, at the provider first where an order was opened, so that the payer may begin anew at once."""
    if direct.find_payment(order_no=row.order_no, now=now) is None:
        record_closed(collection_id=row.pk, now=now)
        return
    try:
        close(collection_id=row.pk, now=now)
    except (Busy, Rejected) as error:  # the sweep goes on; the refusal is what the payer hears
        logger.warning("refused collection not closed", collection=row.pk, error=repr(error))


def _started(row: Collection, payment: Mapping[str, Any]) -> Started:
    return Started(
        collection_id=row.pk,
        order_no=row.order_no,
        state=CollectionState(row.state),
        amount_fen=row.amount_fen,
        payment=payment,
        expires_at=row.expires_at,
    )


def _find(collection_id: str) -> Collection | None:
    if not rules.is_id(collection_id):
        raise NotFound({"payment_no": collection_id[:32]})
    return Collection.objects.select_related("code", "binding").filter(pk=collection_id).first()


def _get(collection_id: str) -> Collection:
    row = _find(collection_id)
    if row is None:
        raise NotFound({"payment_no": collection_id})
    return row


def _insert(collection_id: str, *, code_id: str, amount_fen: int | None, channel: str, now: dt.datetime) -> Collection:
    code = codes.get_payable(code_id=code_id, now=now)
    amount = _amount(code, amount_fen)
    account = Binding.objects.filter(
        enterprise_id=code.enterprise_id, channel=channel, state=BindingState.ACTIVE.value
    ).first()
    if account is None:
        raise ReceiverMissing({"channel": channel[:16]})
    _count(code)
    if code.is_once:
        _make_way(code, now)
    expires_at = now + dt.timedelta(seconds=settings.ORDER_LIFETIME_SECONDS)
    wanted = Collection(
        id=collection_id,
        order_no=numbers.issue(prefix=numbers.Prefix.COLLECT, account_id=code.employee_id),
        code=code,
        binding=account,
        enterprise_id=code.enterprise_id,
        employee_id=code.employee_id,
        channel=channel,
        amount_fen=amount,
        once_code=code.pk if code.is_once else None,
        created_at=now,
        expires_at=expires_at if code.expires_at is None else min(expires_at, code.expires_at),
    )
    try:
        with transaction.atomic(using=roles.alias_for("default")):
            wanted.save(force_insert=True)
    except IntegrityError as refusal:
        found = _find(collection_id)
        if found is None:  # somebody was faster with a code that serves once
            raise CodeInUse({"code": code_id}) from refusal
        return found
    return wanted


def _amount(code: Code, amount_fen: int | None) -> int:
    if code.amount_fen is not None:
        if amount_fen not in (None, code.amount_fen):
            raise InvalidRequest({"amount_fen": ["fixed"]})
        return code.amount_fen
    try:
        return rules.check_amount(amount_fen or 0)
    except rules.NotAnAmount as error:
        raise InvalidRequest({"amount_fen": [error.reason]}) from error


def _count(code: Code) -> None:
    requests: int = settings.COLLECT_CODE_STARTS_PER_MINUTE
    if not requests:
        return
    seconds = limiter_windows.hit(name=CODE_WINDOW, who=code.pk, window=Window(requests=requests, seconds=60))
    if seconds:
        raise RateLimited({"limit": CODE_WINDOW, "retry_after_seconds": seconds})


def _make_way(code: Code, now: dt.datetime) -> None:
    """Ends the unpaid payment that holds a code which serves once. Raises CodeInUse, CodeExpired when it is paid."""
    holder = Collection.objects.filter(once_code=code.pk).first()
    if holder is None:
        return
    if holder.state == CollectionState.OPEN and holder.created_at > now - TAKE_OVER_AGE:
        raise CodeInUse({"code": code.pk})
    if close(collection_id=holder.pk, now=now).state is not CollectionState.CLOSED:
        raise CodeExpired({"code": code.pk})


# --- What became of it ------------------------------------------------------------------------------------------------


def get(*, collection_id: str, now: dt.datetime, ask_provider: bool = False) -> CollectionView:
    """The payment as it stands. `ask_provider`: one question while it is open, at most one in some seconds.

    Raises NotFound; a provider that does not answer leaves it OPEN.
    """
    row = _get(collection_id)
    payment = None
    if row.state == CollectionState.OPEN:
        payment = direct.find_payment(order_no=row.order_no, ask_provider=ask_provider, now=now)
        if payment is not None:
            row = _follow(row, payment, now)
    return _view(row, payment)


def _view(row: Collection, payment: DirectPayment | None = None) -> CollectionView:
    is_open = row.state == CollectionState.OPEN and payment is not None
    return CollectionView(
        collection_id=row.pk,
        order_no=row.order_no,
        state=CollectionState(row.state),
        merchant_name=row.binding.display_name,
        subject=row.code.subject,
        channel=row.channel,
        amount_fen=row.amount_fen,
        refunded_fen=row.refunded_fen,
        created_at=row.created_at,
        expires_at=row.expires_at,
        paid_at=row.paid_at,
        provider_no=row.provider_no,
        payment=payment.payment if is_open and payment is not None else NOTHING_TO_PAY,
    )


def _follow(row: Collection, payment: DirectPayment, now: dt.datetime) -> Collection:
    """Brings an open collection to where its order is; the event would do the same a moment later."""
    if row.state != CollectionState.OPEN or payment.state is DirectState.OPEN:
        return row
    if payment.state is DirectState.PAID:
        record_paid(
            collection_id=row.pk,
            order_no=row.order_no,
            attempt_no=payment.attempt_no,
            provider_no=payment.provider_no,
            paid_at=payment.paid_at or now,
            now=now,
        )
    else:
        record_closed(collection_id=row.pk, now=now)
    return _get(row.pk)


def record_paid(
    *, collection_id: str, order_no: str, attempt_no: str, provider_no: str, paid_at: dt.datetime, now: dt.datetime
) -> bool:
    """OPEN → PAID in one commit with all that follows: the code is used, the CRM is told, the collector hears of it.

    True when it moved; repeating changes nothing. Raises Broken when the order is another's, or the collection was
    closed without it. Locks the collection's row, then its code's.
    """

    def work() -> bool:
        row = Collection.objects.select_for_update().filter(pk=collection_id).first()
        if row is None or row.order_no != order_no:
            raise Broken({"collection": collection_id, "order_no": order_no, "reason": "paid order of no collection"})
        if row.state in (CollectionState.PAID, CollectionState.REFUNDED):
            return False
        if row.state != CollectionState.OPEN:
            raise Broken({"collection": collection_id, "state": row.state, "reason": "paid after its end"})
        row.state, row.paid_at, row.ended_at = CollectionState.PAID.value, paid_at, now
        row.attempt_no, row.provider_no = attempt_no, provider_no
        row.save(update_fields=["state", "paid_at", "ended_at", "attempt_no", "provider_no"])
        code = Code.objects.select_for_update().get(pk=row.code_id)
        if code.is_once and code.state == CodeState.ACTIVE:
            code.state, code.ended_at = CodeState.USED.value, now
            code.save(update_fields=["state", "ended_at"])
        if code.kind == CodeKind.ORDER:
            crm.queue(collection=row, crm_order_no=code.crm_order_no, now=now)
        _tell(
            row,
            PAID_EVENT,
            {
                "channel": row.channel,
                "code": row.code_id,
                "paid_at": paid_at.isoformat(),
                "subject": code.subject,
                "sound": True,
            },
            key=f"paid:{row.pk}",
            now=now,
        )
        return True

    return transactions.run(work, using=roles.alias_for("default"))


def _tell(row: Collection, event: str, data: Mapping[str, Any], *, key: str, now: dt.datetime) -> None:
    """An event to the collector, by the outbox of the open transaction: once, however often it is tried."""
    push.publish_later(
        using=roles.alias_for("default"),
        owners=[f"employee:{row.employee_id}"],
        event=event,
        data={"collection": row.pk, "amount_fen": row.amount_fen, **data},
        key=key,
        now=now,
    )


def record_closed(*, collection_id: str, now: dt.datetime) -> bool:
    """OPEN → CLOSED, its order ended unpaid; a code that serves once is free again. True when it moved."""
    return bool(
        Collection.objects.filter(pk=collection_id, state=CollectionState.OPEN).update(
            state=CollectionState.CLOSED.value, ended_at=now, once_code=None
        )
    )


def close(*, collection_id: str, now: dt.datetime) -> CollectionView:
    """Ends an unpaid payment, at the provider first; one that is paid meanwhile comes back as PAID.

    Raises NotFound, and Busy without a certain answer: it stays OPEN and the sweep goes on.
    """
    row = _get(collection_id)
    if row.state != CollectionState.OPEN:
        return _view(row)
    if direct.find_payment(order_no=row.order_no, now=now) is None:
        if row.created_at > now - OPENING_AGE:
            raise Busy({"payment_no": collection_id, "reason": "being opened"}, retry_after_seconds=3)
        record_closed(collection_id=row.pk, now=now)
        return _view(_get(collection_id))
    payment = direct.close_payment(order_no=row.order_no, now=now)
    return _view(_follow(row, payment, now), payment)


def close_due(*, now: dt.datetime, limit: int = 200) -> dict[str, int]:
    """The sweep: ends open payments past their time, also those whose request died before their order."""
    report = {"closed": 0, "paid": 0, "undecided": 0}
    due = Collection.objects.filter(state=CollectionState.OPEN.value, expires_at__lte=now).order_by("expires_at")
    for collection_id in due.values_list("pk", flat=True)[:limit]:
        try:
            state = close(collection_id=collection_id, now=now).state
        except (Busy, Rejected) as error:
            logger.warning("collection not closed", collection=collection_id, error=repr(error))
            report["undecided"] += 1
            continue
        report["paid" if state is CollectionState.PAID else "closed"] += 1
    return report


# --- Given back by the merchant ---------------------------------------------------------------------------------------


def refund(
    *,
    collection_id: str,
    enterprise_id: int,
    amount_fen: int,
    reason: str,
    refund_key: str,
    actor: str,
    now: dt.datetime,
) -> RefundView:
    """Gives a part or all of a paid collection back, from the merchant's own account at the provider.

    `refund_key` (1 to 64 ASCII characters) names the refund: repeating with it is the same one. Raises NotFound (also
    for another enterprise's), InvalidRequest, RefundNotPossible, RefundTooLarge. The provider is asked by the event.
    """
    row = _get(collection_id)
    if row.enterprise_id != enterprise_id:
        raise NotFound({"payment_no": collection_id})
    if not reason.strip() or len(reason) > REASON_MAX_CHARACTERS or not reason.isprintable():
        raise InvalidRequest({"reason": [f"1 to {REASON_MAX_CHARACTERS} printable characters"]})
    asked = CollectionRefund.objects.filter(collection=row, refund_key=refund_key).first()
    if asked is None:
        if row.state != CollectionState.PAID:
            raise RefundNotPossible({"payment_no": collection_id, "state": row.state})
        asked = _ask_refund(row, amount_fen=amount_fen, reason=reason, refund_key=refund_key, actor=actor, now=now)
    if asked.state == RefundState.FAILED:
        raise RefundNotPossible({"refund_no": asked.refund_no, "state": asked.state})
    if asked.amount_fen != amount_fen:
        raise CollectionIdUsed({"refund_no": asked.refund_no})
    state = _send_refund(asked, row, now)
    row.refresh_from_db()
    return RefundView(
        refund_no=asked.refund_no,
        order_no=row.order_no,
        amount_fen=amount_fen,
        state=state,
        refunded_fen=row.refunded_fen,
    )


def _send_refund(asked: CollectionRefund, row: Collection, now: dt.datetime) -> str:
    """Opens the refund's order, or finds it; its state. One that is refused before it has an order is FAILED."""
    try:
        order = refunds.refund_order(
            refund_no=asked.refund_no,
            order_no=row.order_no,
            amount_fen=asked.amount_fen,
            reason=asked.reason,
            requested_by=asked.actor,
            now=now,
        )
    except Rejected:
        if direct.find_payment(order_no=asked.refund_no, now=now) is None:
            CollectionRefund.objects.filter(pk=asked.pk, state=RefundState.PENDING.value).update(
                state=RefundState.FAILED.value, done_at=now
            )
        raise
    return order.state.value


def resume_refunds(*, now: dt.datetime, limit: int = 200) -> dict[str, int]:
    """The sweep: refunds whose request died before their order are opened now; who has an order is left to its jobs."""
    report = {"resumed": 0, "refused": 0}
    old = CollectionRefund.objects.filter(state=RefundState.PENDING.value, created_at__lte=now - OPENING_AGE)
    for asked in old.select_related("collection").order_by("created_at")[:limit]:
        if direct.find_payment(order_no=asked.refund_no, now=now) is not None:
            continue
        try:
            _send_refund(asked, asked.collection, now)
        except (Busy, Rejected) as error:
            logger.warning("refund of a collection not resumed", refund_no=asked.refund_no, error=repr(error))
            report["refused"] += 1
            continue
        report["resumed"] += 1
    return report


def _ask_refund(
    row: Collection, *, amount_fen: int, reason: str, refund_key: str, actor: str, now: dt.datetime
) -> CollectionRefund:
    try:
        with transaction.atomic(using=roles.alias_for("default")):
            return CollectionRefund.objects.create(
                refund_no=refunds.issue_refund_number(order_no=row.order_no),
                collection=row,
                refund_key=refund_key,
                amount_fen=amount_fen,
                reason=reason.strip(),
                actor=actor,
                created_at=now,
            )
    except IntegrityError:
        return CollectionRefund.objects.get(collection=row, refund_key=refund_key)


def record_refund(*, refund_no: str, is_done: bool, now: dt.datetime) -> bool:
    """What became of a refund of ours; True when it was news. Refunds of other orders are nobody's here.

    In one commit the refund ends, the collection has that much less (REFUNDED when nothing is left), and the collector
    hears of it. Locks the refund's row, then the collection's.
    """

    def work() -> bool:
        asked = CollectionRefund.objects.select_for_update().filter(pk=refund_no).first()
        if asked is None or asked.state != RefundState.PENDING:
            return False
        asked.state, asked.done_at = (RefundState.SUCCESS if is_done else RefundState.FAILED).value, now
        asked.save(update_fields=["state", "done_at"])
        if not is_done:
            return True
        row = Collection.objects.select_for_update().get(pk=asked.collection_id)
        row.refunded_fen += asked.amount_fen
        if row.refunded_fen == row.amount_fen:
            row.state = CollectionState.REFUNDED.value
        row.save(update_fields=["refunded_fen", "state"])
        _tell(
            row,
            REFUNDED_EVENT,
            {"refund_no": refund_no, "refunded_fen": row.refunded_fen},
            key=f"refunded:{refund_no}",
            now=now,
        )
        return True

    return transactions.run(work, using=roles.alias_for("default"))

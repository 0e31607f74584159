"""Tells business backends what became of their orders: at least once, signed, until accepted or 24 hours are over.

An event becomes a CallbackDelivery by the outbox (payments.callbacks); workers of queue `callbacks` send what is due,
rung by the relay. One worker at a time serves a receiver, so that a slow one takes no more than that, and the breaker
leaves a failing one alone for a while. Source: design api.md, `faults.md` 4.8.
"""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable

import structlog
from django.db.models import QuerySet

from foundation import alerts, clock, housekeeping
from foundation.db import roles, transactions
from foundation.errors import Broken, InvalidRequest, Rejected
from orders import selectors as orders
from orders.domain.records import OrderRecord
from orders.domain.states import OrderKind, OrderState
from payments.domain import callback_retries
from payments.models import BusinessApp, BusinessOrder, CallbackDelivery, CallbackTry
from payments.services import businesses, callback_sending
from payments.services.callback_sending import Answer

BATCH_SECONDS = 12
"""How long one worker stays with one receiver; with a last request below Celery's limit of 25 s."""
LEASE = dt.timedelta(seconds=40)
"""Longer than any batch: after that its worker is dead."""
RECEIVERS = 20
REASON_MAX_CHARACTERS = 200
REPLAYED = "replayed by "
"""How the note of a replay begins."""
TRIES_KEPT = dt.timedelta(days=90)

logger = structlog.get_logger("callbacks")

Clock = Callable[[], dt.datetime]


class NotReplayable(Rejected):
    """Only a dead letter or a delivered callback is sent again."""

    code = "callback_waiting"
    http_status = 409
    message_en = "The callback is still being sent."
    message_zh = "该回调仍在发送中。"


def note_paid(*, order_no: str, now: dt.datetime) -> CallbackDelivery | None:
    """Queues the callback of a paid order; None for an order that no business asked for. Safe to repeat."""
    return _queue(order_no=order_no, event_id=f"paid:{order_no}", state=OrderState.SUCCESS.value, now=now)


def note_closed(*, order_no: str, now: dt.datetime) -> CallbackDelivery | None:
    """Queues the callback of an order that ended unpaid; as note_paid."""
    return _queue(order_no=order_no, event_id=f"closed:{order_no}", state=OrderState.CLOSED.value, now=now)


def note_refund(*, refund_no: str, state: str, now: dt.datetime) -> CallbackDelivery | None:
    """Queues the callback of a refund that ended, as REFUNDED or REFUND_FAILED with the refund's amount; as note_paid.

    Refunds of other orders and returned second payments concern no business.
    """
    refund = orders.get_order(order_no=refund_no)
    if refund.kind is OrderKind.RETURN:
        return None
    named = "REFUNDED" if state == OrderState.SUCCESS else "REFUND_FAILED"
    return _queue(
        order_no=refund.original_order_no, event_id=f"refund:{refund_no}", state=named, refund=refund, now=now
    )


def _queue(
    *, order_no: str, event_id: str, state: str, refund: OrderRecord | None = None, now: dt.datetime
) -> CallbackDelivery | None:
    """Locks the business order, so that its callbacks are counted without a gap."""

    def work() -> CallbackDelivery | None:
        row = BusinessOrder.objects.select_for_update().filter(order_no=order_no).first()
        if row is None:
            return None
        found = CallbackDelivery.objects.filter(event_id=event_id).first()
        if found is not None:
            return found
        row.last_sequence += 1
        row.save(update_fields=["last_sequence"])
        return CallbackDelivery.objects.create(
            app_id=row.app_id,
            event_id=event_id,
            order_no=order_no,
            sequence=row.last_sequence,
            body=_body(row, event_id=event_id, state=state, refund=refund, now=now),
            created_at=now,
            next_at=now,
            retry_until=now + callback_retries.RETRY_WINDOW,
        )

    if not BusinessOrder.objects.filter(order_no=order_no).exists():  # most orders: no lock for them
        return None
    return transactions.run(work, using=roles.alias_for("default"))


def _body(row: BusinessOrder, *, event_id: str, state: str, refund: OrderRecord | None, now: dt.datetime) -> str:
    content = {
        "event_id": event_id,
        "sequence": row.last_sequence,
        "product_id": row.app_id,
        "business_order_no": row.business_order_no,
        "order_no": row.order_no,
        "refund_no": refund.order_no if refund is not None else None,
        "amount_fen": refund.amount_fen if refund is not None else row.amount_fen,
        "state": state,
        "request_time": now.astimezone(clock.BUSINESS_ZONE).isoformat(timespec="seconds"),
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def is_due(*, now: dt.datetime) -> bool:
    """True when something waits for a receiver that can be served; plain indexed read, for the relay."""
    return _due(now).exists()


def _due(now: dt.datetime) -> QuerySet[CallbackDelivery]:
    return CallbackDelivery.objects.filter(
        state=CallbackDelivery.State.WAITING,
        next_at__lte=now,
        app__is_active=True,
        app__leased_until__lte=now,
        app__paused_until__lte=now,
    )


def send_due(*, now: Clock = clock.now) -> int:
    """Sends what is due, one receiver after the other; returns how many were accepted."""
    accepted = 0
    started = now()
    receivers = list(_due(started).values_list("app_id", flat=True).distinct()[:RECEIVERS])
    random.shuffle(receivers)  # so that two workers begin at different ones
    for product_id in receivers:
        if (now() - started).total_seconds() >= BATCH_SECONDS:
            break
        accepted += _serve(product_id, until=started + dt.timedelta(seconds=BATCH_SECONDS), now=now)
    return accepted


def _serve(product_id: str, *, until: dt.datetime, now: Clock) -> int:
    """Sends one receiver's due callbacks while it accepts them; 0 when another worker has it."""
    rows = BusinessApp.objects.filter(product_id=product_id)
    taken, lease = now(), now() + LEASE
    if not rows.filter(is_active=True, leased_until__lte=taken, paused_until__lte=taken).update(leased_until=lease):
        return 0
    accepted = 0
    try:
        while now() < until:
            app = rows.get()
            waiting = CallbackDelivery.objects.filter(app=app, state=CallbackDelivery.State.WAITING, next_at__lte=now())
            delivery = waiting.order_by("next_at", "id").first()
            if delivery is None or app.paused_until > now():
                break
            accepted += _send(app, delivery, now=now)
    finally:
        rows.filter(leased_until=lease).update(leased_until=now())
    return accepted


def _send(app: BusinessApp, delivery: CallbackDelivery, *, now: Clock) -> bool:
    try:
        answer = callback_sending.send(
            url=app.callback_url,
            product_id=app.product_id,
            secret=businesses.current_secret(app),
            body=delivery.body.encode(),
        )
    except Broken as error:  # its secret cannot be opened: no reason to keep the other receivers waiting
        logger.exception("callback not signed", product_id=app.product_id)
        answer = Answer(status=0, note=error.code, duration_ms=0)
    moment = now()
    is_dead = transactions.run(lambda: _record(app, delivery, answer, moment), using=roles.alias_for("default"))
    if is_dead:
        alerts.raise_alert(
            code="callback_dead",
            subject=delivery.event_id,
            message=f"{app.product_id} did not accept the callback for a day: {answer.status} {answer.note}",
            context={"order_no": delivery.order_no, "tries": delivery.tries},
            now=moment,
        )
    return answer.is_accepted


def _record(app: BusinessApp, delivery: CallbackDelivery, answer: Answer, now: dt.datetime) -> bool:
    """Writes the try, the delivery's next moment and the breaker; True when this made it a dead letter."""
    CallbackTry.objects.create(
        delivery=delivery,
        happened_at=now,
        http_status=answer.status or None,
        duration_ms=answer.duration_ms,
        note="" if answer.is_accepted else answer.note,
    )
    tries = delivery.tries + 1
    state, done_at, next_at = CallbackDelivery.State.WAITING, None, delivery.next_at
    if answer.is_accepted:
        state, done_at = CallbackDelivery.State.DELIVERED, now
    elif now >= delivery.retry_until:
        state, done_at = CallbackDelivery.State.DEAD, now
    else:
        next_at = callback_retries.next_try(now=now, tries=tries, chance=random.random())  # noqa: S311 - jitter
    CallbackDelivery.objects.filter(pk=delivery.pk, state=CallbackDelivery.State.WAITING).update(
        state=state,
        done_at=done_at,
        next_at=next_at,
        tries=tries,
        last_error="" if answer.is_accepted else f"{answer.status or ''} {answer.note}".strip()[:255],
    )
    failures = 0 if answer.is_accepted else app.failures_in_row + 1
    BusinessApp.objects.filter(pk=app.pk).update(
        failures_in_row=failures,
        paused_until=app.paused_until if failures == 0 else now + callback_retries.pause(failures_in_row=failures),
    )
    delivery.tries = tries
    return state == CallbackDelivery.State.DEAD


def replay(*, delivery_id: int, reason: str, staff: str, now: dt.datetime) -> None:
    """Puts a dead or delivered callback back for another day, with the same event id and body; writes who and why.

    Raises InvalidRequest without a reason (1 to 200 characters), NotReplayable while it is being sent anyway.
    """
    if not reason.strip() or len(reason) > REASON_MAX_CHARACTERS:
        raise InvalidRequest({"reason": [f"1 to {REASON_MAX_CHARACTERS} characters"]})

    def work() -> None:
        ended = CallbackDelivery.objects.filter(pk=delivery_id).exclude(state=CallbackDelivery.State.WAITING)
        moved = ended.update(
            state=CallbackDelivery.State.WAITING,
            done_at=None,
            tries=0,
            next_at=now,
            retry_until=now + callback_retries.RETRY_WINDOW,
        )
        if not moved:
            raise NotReplayable({"callback": delivery_id})
        CallbackTry.objects.create(
            delivery_id=delivery_id, happened_at=now, note=f"{REPLAYED}{staff[:40]}: {reason.strip()}"
        )

    transactions.run(work, using=roles.alias_for("default"))


def purge_tries(*, now: dt.datetime) -> int:
    """Deletes tries older than 90 days of callbacks that ended; returns how many. Who replayed what and why stays."""
    old = CallbackTry.objects.filter(happened_at__lt=now - TRIES_KEPT)
    ended = old.exclude(delivery__state=CallbackDelivery.State.WAITING)
    return housekeeping.delete_in_batches(ended.exclude(http_status=None, note__startswith=REPLAYED))

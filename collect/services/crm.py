"""Tells the CRM of paid order collections: at least once, signed, until accepted or 24 hours are over.

A record is written in the commit that makes its collection PAID; the CRM knows a repeat by the collection's number.
The request is that of callbacks to business backends (payments.services.callback_sending: signature, judged address,
limits); there is one receiver, settings.COLLECT_CRM_URL. Source: requirements 扫码收款, design `faults.md` 4.8.
"""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable

import structlog
from django.conf import settings

from collect.domain import states
from collect.domain.states import CrmState
from collect.models import Collection, CrmRecord
from foundation import alerts, audit, clock
from foundation.db import roles, transactions
from foundation.errors import InvalidRequest, NotFound, Rejected
from payments.domain import callback_retries
from payments.services import callback_sending

LEASE = dt.timedelta(seconds=40)
"""Longer than one request: who has taken a record and died has lost it after that."""
BATCH_SECONDS = 20
REASON_MAX_CHARACTERS = 200

logger = structlog.get_logger("collect")

Clock = Callable[[], dt.datetime]


class CrmRecordWaiting(Rejected):
    """409: it is being sent anyway."""

    code = "crm_record_waiting"
    http_status = 409
    message_en = "The record is still being sent."
    message_zh = "该销售订单仍在发送中。"


def queue(*, collection: Collection, crm_order_no: str, now: dt.datetime) -> None:
    """Writes the record, inside the transaction that makes the collection PAID."""
    transactions.assert_in_transaction(using=roles.alias_for("default"))
    CrmRecord.objects.create(
        collection=collection,
        crm_order_no=crm_order_no,
        created_at=now,
        next_at=now,
        retry_until=now + callback_retries.RETRY_WINDOW,
    )


def send_due(*, now: Clock = clock.now) -> dict[str, int]:
    """Sends what is due, oldest first, for at most BATCH_SECONDS; several workers never send the same one at once.

    Without an address nothing is sent and nothing is given up.
    """
    report = {"accepted": 0, "refused": 0}
    if not settings.COLLECT_CRM_URL:
        return report
    until = now() + dt.timedelta(seconds=BATCH_SECONDS)
    while now() < until:
        record = _take(now())
        if record is None:
            break
        report["accepted" if _send(record, now=now) else "refused"] += 1
    return report


def _take(now: dt.datetime) -> CrmRecord | None:
    """The next one, leased to this worker by its time."""
    waiting = CrmRecord.objects.filter(state=CrmState.WAITING.value, next_at__lte=now).order_by("next_at")
    for record in waiting.select_related("collection__code")[:5]:
        leased = now + LEASE
        if CrmRecord.objects.filter(pk=record.pk, state=CrmState.WAITING.value, next_at=record.next_at).update(
            next_at=leased
        ):
            record.next_at = leased
            return record
    return None


def _send(record: CrmRecord, *, now: Clock) -> bool:
    answer = callback_sending.send(
        url=settings.COLLECT_CRM_URL,
        product_id=settings.COLLECT_CRM_PRODUCT_ID,
        secret=settings.COLLECT_CRM_SECRET,
        body=body_of(record),
    )
    moment = now()
    tries = record.tries + 1
    values: dict[str, object] = {"tries": tries, "last_error": ""}
    is_dead = not answer.is_accepted and moment >= record.retry_until
    if answer.is_accepted or is_dead:
        state = CrmState.DEAD if is_dead else CrmState.DELIVERED
        values |= {"state": state.value, "done_at": moment}
    else:
        chance = random.random()  # noqa: S311 - jitter
        values["next_at"] = callback_retries.next_try(now=moment, tries=tries, chance=chance)
    if not answer.is_accepted:
        values["last_error"] = f"{answer.status or ''} {answer.note}".strip()[:255]
    CrmRecord.objects.filter(pk=record.pk, state=CrmState.WAITING.value).update(**values)
    if is_dead:
        alerts.raise_alert(
            code="crm_record_dead",
            subject=record.pk,
            message=f"The CRM did not accept the sales order for a day: {answer.status} {answer.note}",
            context={"crm_order_no": record.crm_order_no, "tries": tries},
            now=moment,
        )
    return answer.is_accepted


def body_of(record: CrmRecord) -> bytes:
    """What the CRM is told: the same bytes each time, so that a repeat is seen to be one."""
    row = record.collection
    content = {
        "event_id": f"collected:{row.pk}",
        "collection_no": row.pk,
        "crm_order_no": record.crm_order_no,
        "order_no": row.order_no,
        "subject": row.code.subject,
        "amount_fen": row.amount_fen,
        "channel": row.channel,
        "provider_no": row.provider_no,
        "paid_at": row.paid_at.astimezone(clock.BUSINESS_ZONE).isoformat(timespec="seconds") if row.paid_at else None,
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def replay(*, collection_id: str, reason: str, staff: str, now: dt.datetime) -> CrmRecord:
    """Puts a dead or delivered record back for another day, with the same body; the audit trail says who and why.

    Raises NotFound, InvalidRequest without a reason (1 to 200 characters), CrmRecordWaiting while it is being sent.
    """
    if not reason.strip() or len(reason) > REASON_MAX_CHARACTERS:
        raise InvalidRequest({"reason": [f"1 to {REASON_MAX_CHARACTERS} characters"]})

    def work() -> CrmRecord:
        record = CrmRecord.objects.select_for_update().filter(pk=collection_id).first()
        if record is None:
            raise NotFound({"collection": collection_id[:32]})
        before = record.state
        if before not in states.sources(states.CRM_MOVES, CrmState.WAITING):
            raise CrmRecordWaiting({"collection": collection_id})
        record.state, record.done_at, record.tries = CrmState.WAITING.value, None, 0
        record.next_at, record.retry_until = now, now + callback_retries.RETRY_WINDOW
        record.save(update_fields=["state", "done_at", "tries", "next_at", "retry_until"])
        audit.record(
            action="collect.crm_replay",
            object_type="collect.crmrecord",
            object_key=record.pk,
            object_name=record.crm_order_no,
            reason=reason.strip(),
            before={"state": before},
            after={"state": record.state},
            details={"staff": staff},
            now=now,
        )
        return record

    return transactions.run(work, using=roles.alias_for("default"))

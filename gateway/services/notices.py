"""Receipt of provider notices: the raw bytes are committed first, then verified, then handed out as a fact.

Source: design `faults.md` 4.1 and 4.8 (inbox, first verified wins, unknown content is quarantined) and `api.md`
("Provider notifications").
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from django.db import IntegrityError, models, transaction

from foundation import alerts
from foundation.db import roles, transactions
from foundation.errors import Broken, Rejected
from gateway import registry
from gateway.models import Notice
from gateway.ports import Answer, NoticeFact, NoticeInvalid

logger = structlog.get_logger("gateway")

MAX_BODY_BYTES = 64 * 1024
"""A provider's notice is a few KiB; what is larger is not stored, or anybody could fill the disk faster."""
MAX_HEADER_CHARACTERS = 1024
"""Longer header values are cut in the store (verification sees the whole): WeChat's signature has 344."""
KEPT_HEADERS = (
    "wechatpay-",
    "content-type",
    "content-length",
    "user-agent",
    "x-forwarded-for",
    "x-request-id",
    "request-id",
)
"""Beginnings of the header names that are stored; cookies and the like are nobody's business."""
MAX_NOTE_CHARACTERS = 255


class NoticeRefused(Rejected):
    """The notice is forged, stale, malformed or not meant for us. It changed nothing; the reason is in its row."""

    code = "notice_refused"
    http_status = 401
    message_en = "The notice is refused."
    message_zh = "通知验证失败。"


class NoticeTooLarge(Rejected):
    """The body is larger than any notice; it was not stored."""

    code = "notice_too_large"
    http_status = 413
    message_en = "The notice is too large."
    message_zh = "通知内容过大。"


class NoticeStateWrong(Broken):
    """A notice was to be finished that was never verified."""

    code = "notice_state_wrong"


@dataclass(frozen=True, kw_only=True)
class ReceivedNotice:
    """A verified notice. `notice_id` is the first verified row of its event, also for a repeated delivery.

    `already_processed`: finish_notice(PROCESSED) was committed for the event; only the answer is left to give. False
    also when another thread is at it this moment or died in the middle: what follows must be safe to repeat.
    """

    notice_id: int
    fact: NoticeFact
    already_processed: bool


def receive_notice(
    *, channel: str, method: str, path: str, headers: Mapping[str, str], body: bytes, now: dt.datetime
) -> ReceivedNotice:
    """Stores the raw notice and commits, then verifies it and claims its event.

    Raises NoticeTooLarge (over MAX_BODY_BYTES, nothing stored), NoticeRefused (stored with its reason; alerted when the
    signature was right), ChannelUnavailable for an unknown channel. Repeating is safe: the same bytes are one row, the
    same event freshly signed is a DUPLICATE of the first verified row, whose id is returned; one that says something
    else is refused, unless the first had FAILED. Locks the notice's row. Must not be called inside a
    transaction: the raw row would roll back with it.
    """
    registry.answers(channel)
    if len(body) > MAX_BODY_BYTES:
        raise NoticeTooLarge({"limit_bytes": MAX_BODY_BYTES})
    notice_id = _store(channel=channel, method=method, path=path, headers=headers, body=body, now=now)
    try:
        fact = registry.adapter(channel).read_notice(headers=headers, body=body, now=now)
    except NoticeInvalid as invalid:
        _refuse(notice_id=notice_id, channel=channel, invalid=invalid, now=now)
        raise NoticeRefused from invalid
    except registry.ChannelUnavailable:
        _mark_refused(notice_id, "channel is not set up")
        raise
    received = _claim(notice_id=notice_id, channel=channel, fact=fact)
    if received is None:
        contradiction = NoticeInvalid("event_repeated_with_other_content", is_signed=True)
        _refuse(notice_id=notice_id, channel=channel, invalid=contradiction, now=now)
        raise NoticeRefused from contradiction
    return received


def finish_notice(*, notice_id: int, state: str, note: str, now: dt.datetime) -> None:
    """Records the end of processing: PROCESSED (for ever) or FAILED (the provider's next delivery tries again).

    Repeating is safe; a PROCESSED notice stays so. Raises NoticeStateWrong for one that was never verified.
    """
    if state not in (Notice.State.PROCESSED, Notice.State.FAILED):
        raise ValueError(f"not an end of processing: {state}")
    open_states = (Notice.State.VERIFIED, Notice.State.FAILED)
    changed = (
        _rows()
        .filter(pk=notice_id, state__in=open_states)
        .update(state=state, note=note[:MAX_NOTE_CHARACTERS], processed_at=now)
    )
    if not changed and not _rows().filter(pk=notice_id, state=Notice.State.PROCESSED).exists():
        raise NoticeStateWrong({"notice_id": notice_id, "state": state})


def success_answer(channel: str, *, fact: NoticeFact | None = None) -> Answer:
    """What the provider wants to hear when everything is committed: the fact's own answer where it has one."""
    if fact is not None and fact.answer is not None:
        return fact.answer
    return registry.answers(channel).success_answer()


def failure_answer(channel: str, message: str) -> Answer:
    """What makes the provider send the notice again."""
    return registry.answers(channel).failure_answer(message)


def _alias() -> str:
    return roles.alias_for("default")


def _rows() -> models.QuerySet[Notice]:
    return Notice.objects.using(_alias())


def _store(*, channel: str, method: str, path: str, headers: Mapping[str, str], body: bytes, now: dt.datetime) -> int:
    kept = {
        name.lower(): value[:MAX_HEADER_CHARACTERS]
        for name, value in sorted(headers.items())
        if name.lower().startswith(KEPT_HEADERS)
    }
    digest = _digest_of_bytes(channel, headers, body)

    def work() -> int:
        try:
            with transaction.atomic(using=_alias()):
                notice = _rows().create(
                    channel=channel,
                    method=method.encode("ascii", "replace").decode()[:8],
                    path=path[:255],
                    headers=kept,
                    body=body,
                    digest=digest,
                    received_at=now,
                    last_received_at=now,
                )
                return notice.pk
        except IntegrityError:
            _rows().filter(digest=digest).update(times_received=models.F("times_received") + 1, last_received_at=now)
            return _rows().values_list("pk", flat=True).get(digest=digest)

    return transactions.run(work, using=_alias())


def _digest_of_bytes(channel: str, headers: Mapping[str, str], body: bytes) -> str:
    """sha256 over the channel, every header that signs, and the body; parts are framed by their length."""
    signing = sorted((name.lower(), value) for name, value in headers.items() if name.lower().startswith("wechatpay-"))
    parts = [channel.encode(), *(f"{name}:{value}".encode("utf-8", "surrogatepass") for name, value in signing), body]
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hashlib.sha256(framed).hexdigest()


def _digest_of_fact(fact: NoticeFact) -> str:
    result = fact.result
    said = (fact.kind.value, fact.number, result.outcome.value, result.code, result.provider_no, result.amount_fen)
    return hashlib.sha256(repr(said).encode()).hexdigest()


def _claim(*, notice_id: int, channel: str, fact: NoticeFact) -> ReceivedNotice | None:
    """Makes the row the event's first verified one, or a DUPLICATE of it; None when the two say different things."""
    event_key = f"{channel}:{fact.event_id}"
    content = _digest_of_fact(fact)

    def work() -> ReceivedNotice | None:
        mine = _rows().select_for_update().get(pk=notice_id)
        if mine.event_key != event_key:
            _release_failed(event_key, content)
        holder = mine if mine.event_key == event_key else _take_event(mine, event_key, content, fact)
        if holder.content_digest != content:
            return None
        if holder.pk != mine.pk and mine.state != Notice.State.DUPLICATE:
            _rows().filter(pk=mine.pk).update(
                state=Notice.State.DUPLICATE,
                kind=fact.kind.value,
                number=fact.number,
                note=f"same event as notice {holder.pk}",
            )
        return ReceivedNotice(notice_id=holder.pk, fact=fact, already_processed=holder.state == Notice.State.PROCESSED)

    return transactions.run(work, using=_alias())


def _release_failed(event_key: str, content: str) -> None:
    """A verified notice that could not be acted on (wrong amount, unknown number) does not bar one that says otherwise.

    Its row stays FAILED with its reason. A first one that is VERIFIED (being processed) or PROCESSED keeps the event.
    """
    _rows().filter(event_key=event_key, state=Notice.State.FAILED).exclude(content_digest=content).update(
        event_key=None
    )


def _take_event(mine: Notice, event_key: str, content: str, fact: NoticeFact) -> Notice:
    """Gives `mine` the event unless another row has it; returns the row that has it afterwards."""
    holder = _rows().filter(event_key=event_key).first()
    if holder is not None:
        return holder
    try:
        with transaction.atomic(using=_alias()):
            _rows().filter(pk=mine.pk).update(
                event_key=event_key,
                content_digest=content,
                kind=fact.kind.value,
                number=fact.number,
                state=Notice.State.VERIFIED,
                note="",
            )
    except IntegrityError:
        return _rows().get(event_key=event_key)
    return _rows().get(pk=mine.pk)


def _refuse(*, notice_id: int, channel: str, invalid: NoticeInvalid, now: dt.datetime) -> None:
    _mark_refused(notice_id, invalid.reason)
    logger.warning("notice refused", channel=channel, notice_id=notice_id, reason=invalid.reason)
    if invalid.is_signed:
        alerts.raise_alert(
            code="notice_signed_but_refused",
            subject=f"{channel}:{invalid.reason}",
            message="A notice with the provider's right signature says what must not be acted on.",
            context={"channel": channel, "notice_id": notice_id, "reason": invalid.reason},
            now=now,
        )


def _mark_refused(notice_id: int, reason: str) -> None:
    """Only a row that never verified: the old bytes of a processed notice, replayed, must not undo it."""
    refusable = (Notice.State.RECEIVED, Notice.State.REFUSED)
    _rows().filter(pk=notice_id, state__in=refusable).update(
        state=Notice.State.REFUSED, note=reason[:MAX_NOTE_CHARACTERS]
    )

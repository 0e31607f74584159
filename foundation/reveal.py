"""Closed personal data in the clear, for a member of staff who may see it and says why.

The audit row is committed before anything is opened: what was seen without a row does not exist. Who reveals too much
within an hour is refused, by his own audit rows, which no restart forgets. The page is `foundation.admin_reveal`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models, transaction

from foundation import audit, crypto, encryption
from foundation.db import roles
from foundation.errors import Broken, RateLimited, Rejected
from foundation.models import AuditEntry

PERMISSION = "foundation.reveal_closed"
ACTION = "closed.reveal"
MIN_REASON, MAX_REASON = 10, 400
"""Characters: a ticket's number and a word of it; what the audit row has room for."""
WINDOW = dt.timedelta(hours=1)


class ReasonMissing(Rejected):
    """400: shorter than MIN_REASON, or one character again and again."""

    code: ClassVar[str] = "reason_missing"
    message_en: ClassVar[str] = f"Say why, in at least {MIN_REASON} characters: it is kept with your name."
    message_zh: ClassVar[str] = f"请填写原因（至少 {MIN_REASON} 个字符），原因将与您的姓名一同留存。"


class TooManyReveals(RateLimited):
    """429: settings.REVEALS_PER_HOUR of this member of staff within the last hour."""

    code: ClassVar[str] = "too_many_reveals"
    message_en: ClassVar[str] = "You have looked at too much closed data within an hour. Go on later."
    message_zh: ClassVar[str] = "一小时内查看的加密信息过多，请稍后再试。"


class NobodyReveals(Broken):
    """500: called outside of a request of staff, so that no row could say who."""

    code: ClassVar[str] = "nobody_reveals"


@dataclass(frozen=True, kw_only=True)
class Revealed:
    """One value in the clear; "" where nothing is stored. Never stored, never logged."""

    name: str
    text: str = field(repr=False)


def check_reason(text: str) -> str:
    """The reason as it is kept. Raises ReasonMissing."""
    kept = " ".join(text.split())[:MAX_REASON]
    if len(kept) < MIN_REASON or len(set(kept)) < 3:
        raise ReasonMissing()
    return kept


def reveal(*, row: models.Model, fields: Sequence[str], reason: str, now: dt.datetime) -> list[Revealed]:
    """Opens closed columns of one row, after the audit row of it is committed.

    Whether the member of staff of the present request may is the caller's question (PERMISSION). Locks his own row, so
    that requests at once do not pass the limit together. Raises ReasonMissing, TooManyReveals (then no row and nothing
    opened), ValueError for a field that is not registered as closed, NobodyReveals, CannotDecrypt.
    """
    columns = [encryption.column_of(model=type(row), field=name) for name in fields]
    kept = check_reason(reason)
    scene = audit.scene()
    if scene is None or scene.origin.actor_id is None:
        raise NobodyReveals()
    alias = roles.alias_for("default")
    with transaction.atomic(using=alias, durable=True):
        get_user_model()._default_manager.using(alias).select_for_update().get(pk=scene.origin.actor_id)
        mine = AuditEntry.objects.using(alias).filter(actor_id=scene.origin.actor_id, action=ACTION)
        if mine.filter(happened_at__gt=now - WINDOW).count() >= settings.REVEALS_PER_HOUR:
            raise TooManyReveals({"retry_after_seconds": int(WINDOW.total_seconds())})
        audit.record(
            action=ACTION,
            object_type=row._meta.label_lower,
            object_key=str(row.pk),
            object_name=str(row),
            reason=kept,
            details={"fields": list(fields)},
            now=now,
        )
    found = []
    for column in columns:
        stored = getattr(row, column.field)
        text = crypto.decrypt(stored, column=column.closed_as) if stored else ""
        found.append(Revealed(name=column.field, text=text))
    return found

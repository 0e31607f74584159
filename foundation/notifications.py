"""Notices for staff inside the product: who must hear of something finds it under "notices for me".

Written by outbox subscribers, so that nothing that was committed stays untold; the key makes a repeated delivery
harmless. A notice is a pointer: what it leads to is read, and permitted, where it leads.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import structlog
from django.contrib.auth import get_user_model

from foundation import alerts
from foundation.db import roles
from foundation.models import StaffNotice

logger = structlog.get_logger("notifications")

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
"""Permissions are those of Django's own users and groups, whatever other backends guard the log-in."""


def notify(
    *,
    recipient_ids: Sequence[int],
    key: str,
    title_en: str,
    title_zh: str,
    link: str,
    now: dt.datetime,
    reason: str = "",
) -> None:
    """One unread notice for each recipient; the same key again tells nobody twice. `link` is an address of ours."""
    rows = [
        StaffNotice(
            recipient_id=recipient_id,
            key=key,
            reason=reason,
            title_en=title_en,
            title_zh=title_zh,
            link=link,
            created_at=now,
        )
        for recipient_id in dict.fromkeys(recipient_ids)
    ]
    StaffNotice.objects.using(_alias()).bulk_create(rows, ignore_conflicts=True)
    logger.info("staff told", key=key, recipients=[row.recipient_id for row in rows], reason=reason)


def notify_holders(
    *, permission: str, except_id: int, key: str, title_en: str, title_zh: str, link: str, now: dt.datetime
) -> None:
    """Tells every active member of staff who holds `permission` ("app.codename") now, except one.

    When nobody does, an alert says so: what waits would otherwise wait unseen.
    """
    holders = get_user_model().objects.with_perm(permission, backend=MODEL_BACKEND)
    wanted = holders.filter(is_staff=True).exclude(pk=except_id).order_by("pk")
    recipient_ids = list(wanted.values_list("pk", flat=True))
    if not recipient_ids:
        alerts.raise_alert(
            code="nobody_to_notify",
            subject=key,
            severity="WARNING",
            message=f"Nobody else holds {permission}: {title_en}",
            now=now,
        )
        return
    notify(
        recipient_ids=recipient_ids,
        key=key,
        title_en=title_en,
        title_zh=title_zh,
        link=link,
        now=now,
        reason=permission,
    )


def count_unread(*, recipient_id: int) -> int:
    """How many notices wait for one member of staff."""
    return StaffNotice.objects.using(_alias()).filter(recipient_id=recipient_id, read_at=None).count()


def mark_read(*, recipient_id: int, now: dt.datetime, notice_id: int | None = None) -> int:
    """Marks one notice, or all, of a member of staff as read; returns how many were not. Nobody marks another's."""
    waiting = StaffNotice.objects.using(_alias()).filter(recipient_id=recipient_id, read_at=None)
    if notice_id is not None:
        waiting = waiting.filter(pk=notice_id)
    return waiting.update(read_at=now)


def _alias() -> str:
    return roles.alias_for("default")

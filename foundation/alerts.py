"""Alerts: what a person must look at. Written to the log at once and to the table for the admin.

The table write uses its own short transaction on the default database; call it outside of money's transactions or
accept that it rolls back with them (the log line stays).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import structlog
from django.db import IntegrityError, models, transaction

from foundation import clock
from foundation.db import roles
from foundation.models import Alert

logger = structlog.get_logger("alerts")


def raise_alert(
    *,
    code: str,
    subject: str,
    message: str,
    context: Mapping[str, Any] | None = None,
    severity: str = Alert.Severity.CRITICAL,
    now: dt.datetime | None = None,
) -> None:
    """Records one occurrence of (code, subject); repeats count up. `subject` names the thing (≤ 128 ascii)."""
    moment = now or clock.now()
    details = dict(context or {})
    logger.error("alert", alert_code=code, subject=subject, message=message, severity=severity, context=details)
    alias = roles.alias_for("default")
    key = {"code": code, "subject": subject[:128]}
    with transaction.atomic(using=alias):
        changed = (
            Alert.objects.using(alias)
            .filter(**key)
            .update(
                times=models.F("times") + 1,
                last_at=moment,
                message=message,
                context=details,
                severity=severity,
            )
        )
        if changed:
            return
        try:
            with transaction.atomic(using=alias):
                Alert.objects.using(alias).create(
                    **key,
                    severity=severity,
                    message=message,
                    context=details,
                    first_at=moment,
                    last_at=moment,
                )
        except IntegrityError:
            Alert.objects.using(alias).filter(**key).update(times=models.F("times") + 1, last_at=moment)

"""Reading of rules, lists and decisions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Max

from foundation.db import roles
from risk.domain.tables import Row, Thresholds
from risk.models import Decision, ListEntry, RuleRow, RuleSet, RuleVersion


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """Which version of an action's rules is active."""

    action: str
    version_id: int
    number: int
    generation: int


def list_pointers(*, using: str) -> list[Pointer]:
    """The active version of every rule set that has one; one query."""
    found = RuleSet.objects.using(using).filter(active__isnull=False)
    return [
        Pointer(action=action, version_id=version_id, number=number, generation=generation)
        for action, version_id, number, generation in found.values_list(
            "action", "active_id", "active__number", "generation"
        )
    ]


def get_content(*, version_id: int) -> tuple[list[Row], Thresholds]:
    """Rows in order, and thresholds, of a version that exists."""
    version = RuleVersion.objects.using(_alias()).only("review_score", "reject_score").get(pk=version_id)
    rows = [
        Row(
            position=row.position,
            code=row.code,
            title_en=row.title_en,
            title_zh=row.title_zh,
            expression=row.expression,
            action=row.action,
            score=row.score,
            mode=row.mode,
            reason_en=row.reason_en,
            reason_zh=row.reason_zh,
            until=row.until,
        )
        for row in RuleRow.objects.using(_alias()).filter(version_id=version_id).order_by("position")
    ]
    return rows, Thresholds(review_score=version.review_score, reject_score=version.reject_score)


def list_decisions(*, action: str, since: dt.datetime, limit: int) -> list[Decision]:
    """Decisions of one action from `since` on, newest first, at most `limit`."""
    rows = Decision.objects.using(_alias()).filter(action=action, created_at__gte=since)
    return list(rows.order_by("-created_at", "-id")[:limit])


def get_last_number(*, rule_set_id: int) -> int:
    """The highest version number of a rule set, 0 without one."""
    found = RuleVersion.objects.using(_alias()).filter(rule_set_id=rule_set_id).aggregate(last=Max("number"))
    return int(found["last"] or 0)


def list_blocked(*, subject_kinds: Sequence[str], now: dt.datetime) -> list[ListEntry]:
    """Block entries that count at `now`, of the given kinds of subjects."""
    rows = ListEntry.objects.using(_alias()).filter(
        kind=ListEntry.Kind.BLOCK, subject_kind__in=subject_kinds, expires_at__gt=now, removed_at__isnull=True
    )
    return list(rows.order_by("pk"))


def count_waiting() -> tuple[int, int]:
    """(versions that wait for a checker, allow entries that wait for a second person and still run)."""
    versions = RuleVersion.objects.using(_alias()).filter(state=RuleVersion.State.SUBMITTED).count()
    entries = ListEntry.objects.using(_alias()).filter(
        kind=ListEntry.Kind.ALLOW, confirmed_at__isnull=True, removed_at__isnull=True
    )
    return versions, entries.count()


def _alias() -> str:
    return roles.alias_for("default")

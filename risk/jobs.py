"""Timed jobs of risk control."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from foundation import clock, jobs
from foundation.db import roles
from risk.models import Counter
from risk.services import publishing

COUNTERS_KEPT = dt.timedelta(days=400)
"""A year's counter is needed until the year is over; `day` is the day it began to count."""
BATCH = 1000
BATCHES_AT_ONCE = 50


class PublishBlocked(jobs.Job):
    """Repairs the door's set: entries that ran out leave it, a Redis that forgot gets it back."""

    name = "risk.publish_blocked"
    lock_seconds = 120

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return {"callers": publishing.publish_blocked(now=now)}


class Purge(jobs.Job):
    """Deletes counters of periods long over. Decisions, reservations, versions and list entries stay for ever."""

    name = "risk.purge"
    lock_seconds = 1800

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        rows = Counter.objects.using(roles.alias_for("default"))
        before = clock.business_date(now - COUNTERS_KEPT)
        deleted = 0
        for _ in range(BATCHES_AT_ONCE):
            names = list(rows.filter(day__lt=before).order_by("day").values_list("pk", flat=True)[:BATCH])
            if not names:
                break
            deleted += rows.filter(pk__in=names).delete()[0]
        return {"counters": deleted}


jobs.register(PublishBlocked())
jobs.register(Purge())

"""Deletes what has done its work: delivered events, old idempotency keys, records of old job runs.

Money's own unique references stay for ever, so a key that was deleted cannot pay twice (design `faults.md` 3.3).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet

from foundation import jobs
from foundation.db import roles
from foundation.models import IdempotencyRecord, JobRun, OutboxEvent

EVENTS_KEPT = dt.timedelta(days=30)
KEYS_KEPT = dt.timedelta(hours=72)
RUNS_KEPT = dt.timedelta(days=7)
FAILED_RUNS_KEPT = dt.timedelta(days=90)
BATCH = 1000
"""Rows of one DELETE: short locks, whatever has piled up."""
BATCHES_AT_ONCE = 50


class Purge(jobs.Job):
    """Runs hourly; what is left over waits for the next run."""

    name = "foundation.purge"
    lock_seconds = 1800

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        default = roles.alias_for("default")
        runs = JobRun.objects.using(default)
        failed = runs.filter(state=JobRun.State.FAILED)
        keys = IdempotencyRecord.objects.using(default)
        return {
            "events": sum(
                delete_in_batches(OutboxEvent.objects.using(alias).filter(done_at__lt=now - EVENTS_KEPT))
                for alias in roles.all_aliases()
            ),
            "keys": delete_in_batches(keys.filter(created_at__lt=now - KEYS_KEPT, state=IdempotencyRecord.State.DONE)),
            "runs": delete_in_batches(runs.filter(started_at__lt=now - RUNS_KEPT, state=JobRun.State.DONE)),
            "failed_runs": delete_in_batches(failed.filter(started_at__lt=now - FAILED_RUNS_KEPT)),
        }


def delete_in_batches(rows: QuerySet[Any]) -> int:
    """Deletes at most BATCHES_AT_ONCE * BATCH of the rows, in batches by primary key; returns how many."""
    deleted = 0
    for _ in range(BATCHES_AT_ONCE):
        keys = list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])
        if not keys:
            break
        deleted += rows.filter(pk__in=keys).delete()[0]
    return deleted


jobs.register(Purge())

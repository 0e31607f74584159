"""Every timed job on one screen. `manage.py sync_schedule` writes it to django-celery-beat's tables.

A job that staff switched off in the admin stays off; its time comes from here. Seconds may be shortened per
environment by settings.SCHEDULE_SECONDS (the embedded demo does not wait ten minutes for an expiry).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from django.conf import settings
from django_celery_beat.models import IntervalSchedule, PeriodicTask


@dataclass(frozen=True, kw_only=True)
class Timed:
    """`job` is the name in foundation.jobs; it runs every `seconds`."""

    job: str
    seconds: int
    why: str


SCHEDULE: tuple[Timed, ...] = (
    Timed(job="payments.check_attempts", seconds=10, why="undecided payments and refunds: ask the provider"),
    Timed(job="payments.close_expired", seconds=60, why="unpaid orders past their life"),
    Timed(job="redpacket.expire_due", seconds=600, why="expired red packets: the rest goes back"),
    Timed(job="redpacket.settle_sweep", seconds=1800, why="grabbed shares without a receipt: settle again"),
    Timed(
        job="redpacket.return_pending",
        seconds=10,
        why="shares taken in Redis but never claimed: back to the list",
    ),
    Timed(job="foundation.purge", seconds=3600, why="delivered events, old idempotency keys and run records"),
    Timed(job="paysys.prove_books", seconds=3600, why="all invariants of money, with an alert when one breaks"),
)


def sync() -> int:
    """Writes the schedule to beat's tables; returns the number of entries. Safe to repeat."""
    shortened: dict[str, int] = getattr(settings, "SCHEDULE_SECONDS", {})
    for timed in SCHEDULE:
        seconds = shortened.get(timed.job, timed.seconds)
        interval, _ = IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)
        PeriodicTask.objects.update_or_create(
            name=timed.job,
            defaults={
                "task": "foundation.run_job",
                "args": json.dumps([timed.job]),
                "interval": interval,
                "description": timed.why,
                "expire_seconds": max(seconds, 10),
                "queue": "default",
            },
        )
    PeriodicTask.objects.filter(task="foundation.run_job").exclude(name__in=[t.job for t in SCHEDULE]).delete()
    return len(SCHEDULE)

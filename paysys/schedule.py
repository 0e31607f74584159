"""Every timed job on one screen. `manage.py sync_schedule` writes it to django-celery-beat's tables.

A job that staff switched off in the admin stays off; its time comes from here. Seconds may be shortened per
environment by settings.SCHEDULE_SECONDS (the embedded demo does not wait ten minutes for an expiry).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from django.conf import settings
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from foundation import clock

TASK, LONG_TASK = "foundation.run_job", "foundation.run_long_job"
DAILY_EXPIRE_SECONDS = 3 * 3600
"""A daily run that no worker took by then is left to the next night."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """`job` is the name in foundation.jobs; it runs every `seconds`, or once a day at `daily_at` (HH:MM, Shanghai).

    `is_long`: it may take more than Celery's time limit of half a minute.
    """

    job: str
    why: str
    seconds: int = 0
    daily_at: str = ""
    is_long: bool = False

    def __post_init__(self) -> None:
        if bool(self.seconds) == bool(self.daily_at):
            raise ValueError(f"{self.job} needs either seconds or daily_at")


SCHEDULE: tuple[Timed, ...] = (
    Timed(job="payments.ring_checks", seconds=5, why="undecided payments and refunds: ask, VIP and wallet first"),
    Timed(job="payments.check_attempts", seconds=60, why="the same, longest due first, for what no worker got to"),
    Timed(job="payments.close_expired", seconds=60, why="unpaid orders past their life"),
    Timed(job="payments.send_callbacks", seconds=60, why="callbacks to business backends whose bell was lost"),
    Timed(job="collect.close_due", seconds=60, why="unpaid collections past their life"),
    Timed(job="collect.resume_refunds", seconds=300, why="refunds of collections that were asked for and not opened"),
    Timed(job="collect.send_crm", seconds=5, why="sales orders of paid collections to the CRM"),
    Timed(job="redpacket.expire_due", seconds=600, why="expired red packets: the rest goes back"),
    Timed(job="redpacket.settle_sweep", seconds=1800, why="grabbed shares without a receipt: settle again"),
    Timed(
        job="redpacket.return_pending",
        seconds=4,
        why="shares taken in Redis but never claimed: back to the list",
    ),
    Timed(
        job="redpacket.compare_cache",
        seconds=600,
        is_long=True,
        why="Redis against the database, share by share, last day: repair and report",
    ),
    Timed(job="redpacket.watch_settlement", seconds=30, why="how far settlement lags; alert when people wait"),
    Timed(
        job="withdrawals.send_payouts", seconds=10, why="approved withdrawals: to their providers, within the policies"
    ),
    Timed(job="withdrawals.check_payouts", seconds=10, why="undecided payouts: ask the provider"),
    Timed(job="withdrawals.repair_applications", seconds=60, why="applications that stopped half-way"),
    Timed(job="withdrawals.watch_float", seconds=600, why="prefunded balance of the payout channels"),
    Timed(job="orders.beat_replicas", seconds=5, why="how old the replicas are (nothing to do without one)"),
    Timed(job="funds.seal_journals", seconds=300, is_long=True, why="the chain over journals, link by link"),
    Timed(job="funds.close_days", seconds=1800, is_long=True, why="day close, trial balance, platform snapshots"),
    Timed(job="gateway.watch_credentials", daily_at="09:05", why="channel credentials that end within 30 days"),
    Timed(job="gateway.purge_calls", seconds=3600, why="records of provider calls after 90 days"),
    Timed(job="risk.publish_blocked", seconds=60, why="the door's set of blocked callers, as the block list says"),
    Timed(job="risk.purge", daily_at="04:10", why="risk counters of periods long over"),
    Timed(job="identity.purge", seconds=3600, why="ended log-ins, used phone codes, old short messages"),
    Timed(job="foundation.write_pages", daily_at="04:40", why="pages without state, as files for the web server"),
    Timed(job="foundation.purge", seconds=3600, why="delivered events, old idempotency keys and run records"),
    Timed(job="foundation.seal_audit", seconds=300, is_long=True, why="the chain over the audit trail"),
    Timed(job="foundation.verify_audit", daily_at="03:20", is_long=True, why="that nobody changed the audit trail"),
    Timed(job="payments.purge_callbacks", daily_at="04:20", why="tries of ended callbacks after 90 days"),
    Timed(job="reconciliation.plan_runs", daily_at="02:00", why="a run for each bill of the day that is over"),
    Timed(
        job="reconciliation.fetch_bills",
        seconds=1800,
        is_long=True,
        why="bills, from 10:00 on; alert for those behind their deadline",
    ),
    Timed(
        job="reconciliation.compare_bills",
        seconds=600,
        is_long=True,
        why="fetched and uploaded bills against our books",
    ),
    Timed(
        job="reconciliation.watch_closed_days",
        daily_at="04:30",
        is_long=True,
        why="signed-off days against what our books say of them now",
    ),
    Timed(
        job="paysys.prove_books",
        daily_at="03:30",
        is_long=True,
        why="all invariants of money and the chain over journals, with an alert for each that does not hold",
    ),
)


def sync() -> int:
    """Writes the schedule to beat's tables; returns the number of entries. Safe to repeat."""
    shortened: dict[str, int] = getattr(settings, "SCHEDULE_SECONDS", {})
    for timed in SCHEDULE:
        seconds = shortened.get(timed.job, timed.seconds)
        PeriodicTask.objects.update_or_create(
            name=timed.job,
            defaults={
                "task": LONG_TASK if timed.is_long else TASK,
                "args": json.dumps([timed.job]),
                **_timing(timed, seconds),
                "description": timed.why,
                "expire_seconds": max(seconds, 10) if seconds else DAILY_EXPIRE_SECONDS,
                "queue": "reconciliation" if timed.is_long else "default",
            },
        )
    PeriodicTask.objects.filter(task__in=[TASK, LONG_TASK]).exclude(name__in=[t.job for t in SCHEDULE]).delete()
    return len(SCHEDULE)


def _timing(timed: Timed, seconds: int) -> dict[str, IntervalSchedule | CrontabSchedule | None]:
    if seconds:
        interval, _ = IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)
        return {"interval": interval, "crontab": None}
    hour, minute = timed.daily_at.split(":")
    crontab, _ = CrontabSchedule.objects.get_or_create(
        hour=str(int(hour)),
        minute=str(int(minute)),
        day_of_week="*",
        day_of_month="*",
        month_of_year="*",
        timezone=clock.BUSINESS_ZONE.key,
    )
    return {"interval": None, "crontab": crontab}

"""Celery entries of the foundation: the outbox bell and the timed jobs."""

from __future__ import annotations

from celery import shared_task

from foundation import clock, jobs, outbox

LONG_JOB_SECONDS = 4 * 3600
"""No nightly job may run into the business day."""


@shared_task(name="foundation.drain_outbox")
def drain_outbox(alias: str) -> int:
    """Delivers what is due in one database's outbox."""
    return outbox.drain(using=alias, now=clock.now)


@shared_task(name="foundation.run_job")
def run_job(name: str) -> None:
    """Runs one timed job (beat sends this; see paysys.schedule)."""
    jobs.get(name).execute()


@shared_task(
    name="foundation.run_long_job",
    acks_late=False,
    soft_time_limit=LONG_JOB_SECONDS,
    time_limit=LONG_JOB_SECONDS + 60,
)
def run_long_job(name: str) -> None:
    """As run_job, for what reads all books; on the queue `reconciliation`, away from what people wait for.

    Acknowledged at the start: brokers deliver a message again that is held for as long as such a job runs. The job's
    own lock and record say what became of it.
    """
    jobs.get(name).execute()

"""Celery entries of the foundation: the outbox bell and the timed jobs."""

from __future__ import annotations

from celery import shared_task

from foundation import clock, jobs, outbox


@shared_task(name="foundation.drain_outbox")
def drain_outbox(alias: str) -> int:
    """Delivers what is due in one database's outbox."""
    return outbox.drain(using=alias, now=clock.now)


@shared_task(name="foundation.run_job")
def run_job(name: str) -> None:
    """Runs one timed job (beat sends this; see paysys.schedule)."""
    jobs.get(name).execute()

"""The template of timed jobs: lock, run record, duration, alert on failure; the body is safe to run twice.

Source: the requirements' template method (获取分布式锁，计算耗时、告警 in the parent, run() in the child). The
lock is a row in the database, not Redis: any worker may sweep, two beats do no harm, and a dead holder's lock runs out.
"""

from __future__ import annotations

import abc
import datetime as dt
import os
import secrets
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import IntegrityError, transaction

from foundation import alerts, clock
from foundation.db import roles, transactions
from foundation.models import JobLock, JobRun

logger = structlog.get_logger("jobs")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of `execute`: `ran` is False when another process held the lock."""

    ran: bool
    report: Mapping[str, Any]


class Job(abc.ABC):
    """One timed job. Subclasses set `name` and `lock_seconds` (longer than any run) and write `run`."""

    name: str
    lock_seconds: int = 600

    @abc.abstractmethod
    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        """Does the work and returns JSON figures for the run record. Running it twice must do no harm."""

    def execute(self) -> Outcome:
        """Runs once under the lock and records it; a failure is recorded, alerted and raised."""
        alias = roles.alias_for("default")
        holder = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        if not _acquire(name=self.name, holder=holder, seconds=self.lock_seconds, alias=alias):
            logger.info("job skipped, already running", job=self.name)
            return Outcome(ran=False, report={})
        self._bury_dead_runs(alias)
        record = JobRun.objects.using(alias).create(name=self.name, started_at=clock.now())
        started = time.monotonic()
        try:
            report = self.run(now=clock.now())
        except Exception as error:
            self._finish(record, started, state=JobRun.State.FAILED, error=traceback.format_exc()[-4000:])
            alerts.raise_alert(code="job_failed", subject=self.name, message=f"{self.name} failed: {error!r}")
            raise
        finally:
            JobLock.objects.using(alias).filter(name=self.name, holder=holder).update(
                locked_until=transactions.database_now(using=alias), holder=""
            )
        self._finish(record, started, state=JobRun.State.DONE, report=report)
        return Outcome(ran=True, report=report)

    def _bury_dead_runs(self, alias: str) -> None:
        """Who holds the lock knows that any other RUNNING record belongs to a process that died."""
        dead = JobRun.objects.using(alias).filter(name=self.name, state=JobRun.State.RUNNING)
        dead.update(state=JobRun.State.FAILED, finished_at=clock.now(), error="the process died during this run")

    @staticmethod
    def _finish(
        record: JobRun,
        started: float,
        *,
        state: str,
        report: Mapping[str, Any] | None = None,
        error: str = "",
    ) -> None:
        record.state, record.report, record.error = state, dict(report or {}), error
        record.finished_at, record.duration_ms = clock.now(), int((time.monotonic() - started) * 1000)
        record.save(update_fields=["state", "report", "error", "finished_at", "duration_ms"])


def _acquire(*, name: str, holder: str, seconds: int, alias: str) -> bool:
    def work() -> bool:
        moment = transactions.database_now(using=alias)
        until = moment + dt.timedelta(seconds=seconds)
        locks = JobLock.objects.using(alias)
        if locks.filter(name=name, locked_until__lte=moment).update(holder=holder, locked_until=until):
            return True
        if locks.filter(name=name).exists():
            return False
        try:
            with transaction.atomic(using=alias):
                locks.create(name=name, holder=holder, locked_until=until)
        except IntegrityError:
            return False
        return True

    return transactions.run(work, using=alias)


_jobs: dict[str, Job] = {}


def register(job: Job) -> Job:
    """Adds a job at start-up under its name."""
    _jobs[job.name] = job
    return job


def get(name: str) -> Job:
    """The job of that name; KeyError when it does not exist."""
    return _jobs[name]


def names() -> list[str]:
    return sorted(_jobs)

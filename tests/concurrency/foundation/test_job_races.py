"""However many workers start a job at once, one runs it."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from foundation import jobs
from foundation.db import transactions
from foundation.jobs import Job, Outcome
from foundation.models import JobLock, JobRun
from tests.concurrency.foundation.crowd import together

pytestmark = pytest.mark.usefixtures("committed_db")

WORKERS = 6


class Slow(Job):
    """Runs long enough for the others to meet the lock; counts how many run at once."""

    lock_seconds = 60

    def __init__(self) -> None:
        self.name = f"race.{uuid.uuid4().hex}"
        self.guard = threading.Lock()
        self.inside = 0
        self.most = 0

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        with self.guard:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.5)
        with self.guard:
            self.inside -= 1
        return {}


def ran(results: list[Outcome | BaseException]) -> list[bool]:
    for result in results:
        assert isinstance(result, Outcome), result
    return sorted(result.ran for result in results if isinstance(result, Outcome))


def test_a_job_started_at_once_runs_once() -> None:
    job = Slow()
    assert ran(together([job.execute] * WORKERS)) == [False] * (WORKERS - 1) + [True]
    assert job.most == 1
    assert JobRun.objects.filter(name=job.name).count() == 1


def test_a_dead_holders_lock_is_inherited_by_one() -> None:
    job = Slow()
    past = transactions.database_now(using="default") - dt.timedelta(seconds=1)
    JobLock.objects.create(name=job.name, holder="dead:1:00", locked_until=past)
    assert ran(together([job.execute] * WORKERS)) == [False] * (WORKERS - 1) + [True]
    assert job.most == 1


def test_control_without_the_lock_they_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_acquire", lambda **_: True)
    job = Slow()
    assert ran(together([job.execute] * 2)) == [True, True]
    assert job.most == 2

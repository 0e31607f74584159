"""Timed jobs: one at a time, every run recorded, a failure alerted, a dead holder's lock runs out."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from foundation import jobs, tasks
from foundation.db import transactions
from foundation.jobs import Job, Outcome
from foundation.models import Alert, JobLock, JobRun

pytestmark = pytest.mark.django_db(databases="__all__")


class Sweep(Job):
    """Does what the test says."""

    lock_seconds = 600

    def __init__(self, body: Callable[[], Mapping[str, Any]]) -> None:
        self.name = f"test.{uuid.uuid4().hex}"
        self.body = body

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return self.body()


def lock_of(job: Job) -> JobLock:
    return JobLock.objects.get(name=job.name)


def database_now() -> dt.datetime:
    return transactions.database_now(using="default")


def test_a_run_is_recorded_and_the_lock_given_back() -> None:
    job = Sweep(lambda: {"closed": 3})
    assert job.execute() == Outcome(ran=True, report={"closed": 3})
    run = JobRun.objects.get(name=job.name)
    assert (run.state, run.report, run.error) == ("DONE", {"closed": 3}, "")
    assert run.finished_at is not None
    assert run.finished_at >= run.started_at
    assert run.duration_ms is not None
    assert 0 <= run.duration_ms < 60_000
    assert lock_of(job).holder == ""
    assert lock_of(job).locked_until <= database_now()
    assert job.execute().ran is True
    assert JobRun.objects.filter(name=job.name).count() == 2


def test_the_record_of_a_process_that_died_is_closed_by_the_next_run() -> None:
    job = Sweep(dict)
    dead = JobRun.objects.create(name=job.name, started_at=database_now())
    job.execute()
    dead.refresh_from_db()
    assert (dead.state, dead.error) == ("FAILED", "the process died during this run")
    assert dead.finished_at is not None
    assert JobRun.objects.filter(name=job.name, state="DONE").count() == 1


def test_while_it_runs_nobody_else_runs_it() -> None:
    inner: list[Outcome] = []

    def body() -> Mapping[str, Any]:
        assert lock_of(job).locked_until > database_now() + dt.timedelta(seconds=job.lock_seconds - 60)
        inner.append(Sweep.execute(job))
        return {}

    job = Sweep(body)
    assert job.execute().ran is True
    assert inner == [Outcome(ran=False, report={})]
    assert JobRun.objects.filter(name=job.name).count() == 1


def test_other_jobs_are_not_in_the_way() -> None:
    other = Sweep(dict)
    job = Sweep(lambda: {"other": other.execute().ran})
    assert job.execute().report == {"other": True}


def test_a_failure_is_recorded_alerted_and_raised_and_the_lock_given_back() -> None:
    def body() -> Mapping[str, Any]:
        raise ZeroDivisionError("by zero")

    job = Sweep(body)
    for times in (1, 2):
        with pytest.raises(ZeroDivisionError):
            job.execute()
        alert = Alert.objects.get(code="job_failed", subject=job.name)
        assert (alert.times, alert.severity) == (times, "CRITICAL")
        assert lock_of(job).holder == ""
    runs = list(JobRun.objects.filter(name=job.name))
    assert [run.state for run in runs] == ["FAILED", "FAILED"]
    assert all("ZeroDivisionError: by zero" in run.error and run.finished_at for run in runs)


def test_a_dead_holders_lock_runs_out() -> None:
    job = Sweep(dict)
    moment = database_now()
    lock = JobLock.objects.create(name=job.name, holder="dead:1:00", locked_until=moment + dt.timedelta(seconds=60))
    assert job.execute().ran is False
    assert lock_of(job).holder == "dead:1:00"
    JobLock.objects.filter(pk=lock.pk).update(locked_until=moment - dt.timedelta(microseconds=1))
    assert job.execute().ran is True


def test_a_holder_that_outlived_its_lock_does_not_free_the_next_ones() -> None:
    def slow() -> Mapping[str, Any]:
        until = database_now() + dt.timedelta(seconds=60)
        JobLock.objects.filter(name=job.name).update(holder="next:2:00", locked_until=until)
        return {}

    job = Sweep(slow)
    job.execute()
    assert lock_of(job).holder == "next:2:00"
    assert job.execute().ran is False


def test_two_runs_of_one_process_are_told_apart() -> None:
    holders: list[str] = []

    def body() -> Mapping[str, Any]:
        holders.append(lock_of(job).holder)
        return {}

    job = Sweep(body)
    job.execute()
    job.execute()
    assert len(set(holders)) == 2
    assert max(len(holder) for holder in holders) <= 64


def test_the_celery_task_runs_a_registered_job_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_jobs", dict(jobs._jobs))
    done: list[str] = []
    job = jobs.register(Sweep(lambda: {"n": done.append("x")}))
    assert job.name in jobs.names()
    tasks.run_job(job.name)
    assert done == ["x"]
    with pytest.raises(KeyError):
        tasks.run_job("no.such.job")

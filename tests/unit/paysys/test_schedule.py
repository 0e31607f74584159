"""Every timed job stands on the one screen, and nothing stands there that does not exist."""

from __future__ import annotations

from foundation import jobs
from paysys import schedule


def test_schedule_and_registered_jobs_are_the_same() -> None:
    assert sorted(timed.job for timed in schedule.SCHEDULE) == jobs.names()


def test_compensation_runs_as_the_requirements_say() -> None:
    seconds = {timed.job: timed.seconds for timed in schedule.SCHEDULE}
    assert seconds["redpacket.expire_due"] == 10 * 60
    assert seconds["redpacket.settle_sweep"] == 30 * 60

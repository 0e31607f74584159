"""Timed jobs of reconciliation (times in paysys.schedule)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from foundation import jobs
from reconciliation.services import closing, comparing, fetching, planning


class PlanRuns(jobs.Job):
    """A run for each bill of yesterday, and for days that were missed."""

    name = "reconciliation.plan_runs"

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return {"planned": len(planning.plan_due(now=now))}


class FetchBills(jobs.Job):
    """Bills that are due, from their providers; alerts those behind their deadline."""

    name = "reconciliation.fetch_bills"
    lock_seconds = 3600

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return fetching.fetch_due(now=now)


class CompareBills(jobs.Job):
    """Fetched and uploaded bills against our books."""

    name = "reconciliation.compare_bills"
    lock_seconds = 4 * 3600

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        report = comparing.process_due(now=now)
        return {**report, "expired": comparing.expire_due(now=now)}


class WatchClosedDays(jobs.Job):
    """Signed-off days against what our books say of them now."""

    name = "reconciliation.watch_closed_days"
    lock_seconds = 4 * 3600

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return closing.watch_closed(now=now)


for job in (PlanRuns(), FetchBills(), CompareBills(), WatchClosedDays()):
    jobs.register(job)

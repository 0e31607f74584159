"""Timed work of withdrawals; paysys/schedule.py says when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from foundation import jobs
from withdrawals.services import application, sending


class SendPayouts(jobs.Job):
    """Approved withdrawals to their providers, by priority and age, within the policies."""

    name = "withdrawals.send_payouts"

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return sending.send_due(now=now)


class CheckPayouts(jobs.Job):
    """Undecided payouts: ask the provider; go on where a process died."""

    name = "withdrawals.check_payouts"

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return sending.check_due(now=now)


class RepairApplications(jobs.Job):
    """Applications that stopped half-way."""

    name = "withdrawals.repair_applications"

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return application.repair_applying(now=now)


class WatchFloat(jobs.Job):
    """The prefunded balance of each payout channel."""

    name = "withdrawals.watch_float"

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return sending.watch_float(now=now)


for job in (SendPayouts(), CheckPayouts(), RepairApplications(), WatchFloat()):
    jobs.register(job)

"""Timed jobs of the gateway (times in paysys.schedule)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from foundation import jobs
from gateway.services import credentials, traffic


class WatchCredentials(jobs.Job):
    """Daily: alerts about credentials that end within 30 days, and closes all with the newest encryption key."""

    name = "gateway.watch_credentials"

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return {"expiring": credentials.alert_expiring(now=now), "re_encrypted": credentials.close_with_newest_key()}


class PurgeCalls(jobs.Job):
    """Hourly: deletes records of calls that are older than 90 days; what is left over waits for the next run."""

    name = "gateway.purge_calls"
    lock_seconds = 1800

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return {"calls": traffic.purge(now=now)}


jobs.register(WatchCredentials())
jobs.register(PurgeCalls())

"""Timed jobs of red packets (订单补偿). Each is safe to run twice; the intervals stand in the schedule."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any

from foundation import jobs
from redpacket.services import expiry, janitor, opening, settlement


class ExpireDue(jobs.Job):
    """Every 10 minutes: ends packets past their time and returns the rest; also gives up drafts of a day ago."""

    name = "redpacket.expire_due"

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        cancelled = opening.cancel_old_drafts(now=now)
        return {**dataclasses.asdict(expiry.expire_due(now=now)), "cancelled_drafts": cancelled}


class SettleSweep(jobs.Job):
    """Every 30 minutes: claims without a receipt are settled again, whatever became of their bells."""

    name = "redpacket.settle_sweep"

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return dataclasses.asdict(settlement.settle_due(now=now))


class ReturnPending(jobs.Job):
    """Every 10 seconds: shares handed out by Redis and never claimed become free again."""

    name = "redpacket.return_pending"
    lock_seconds = 60

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return dataclasses.asdict(janitor.return_pending())


jobs.register(ExpireDue())
jobs.register(SettleSweep())
jobs.register(ReturnPending())

"""Timed jobs of red packets (订单补偿). Each is safe to run twice; the intervals stand in the schedule."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any

from redis.exceptions import RedisError

from foundation import alerts, jobs, redis
from redpacket.services import backlog, compensating, expiry, janitor, opening, settlement


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


class CompareCache(jobs.Job):
    """Every 10 minutes: Redis against the database, share by share; what differs is repaired and reported."""

    name = "redpacket.compare_cache"
    lock_seconds = 1800

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return dataclasses.asdict(compensating.compare_all(now=now))


class WatchSettlement(jobs.Job):
    """Every 30 seconds: how far settlement lags behind, and whether Redis may forget; alerts beyond the limits."""

    name = "redpacket.watch_settlement"
    lock_seconds = 60

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return {**dataclasses.asdict(backlog.watch(now=now)), "redis_policy": _watch_policy(now)}


def _watch_policy(now: dt.datetime) -> str:
    try:
        policy = redis.eviction_policy()
    except RedisError as error:
        return f"away: {type(error).__name__}"
    if policy != redis.SAFE_POLICY:
        alerts.raise_alert(
            code="redis_evicts",
            subject="redis",
            severity="WARNING",
            message=f"Redis forgets keys when its memory is full ({policy}); set maxmemory-policy {redis.SAFE_POLICY}.",
            now=now,
        )
    return policy


jobs.register(ExpireDue())
jobs.register(CompareCache())
jobs.register(WatchSettlement())
jobs.register(SettleSweep())
jobs.register(ReturnPending())

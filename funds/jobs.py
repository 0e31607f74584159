"""Timed jobs of the ledger."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import structlog

from foundation import alerts, jobs
from funds.services import closing, sealing

logger = structlog.get_logger("funds")


class CloseDays(jobs.Job):
    """Closes every business day that is over, and keeps reading the platform's accounts short."""

    name = "funds.close_days"
    lock_seconds = 3600

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        closed = closing.close_due_days(now=now)
        return {
            "closed": [day.isoformat() for day in closed],
            "platform_snapshots": closing.snapshot_platform_accounts(now=now),
        }


class SealJournals(jobs.Job):
    """Seals settled journals; the newest seal is logged, so that a copy of it lies outside of the database."""

    name = "funds.seal_journals"
    lock_seconds = 1800

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        try:
            sealed = sealing.seal_due(now=now)
        except sealing.SealBroken as error:
            alerts.raise_alert(
                code="journal_changed",
                subject="chain over journals",
                message=f"These journals do not match their own digests: {error.details}",
                now=now,
            )
            raise
        newest = sealing.head()
        if sealed.links and newest is not None:
            logger.info("journals sealed", journals=sealed.journals, seal=newest[0], mac=newest[1])
        return {"links": sealed.links, "journals": sealed.journals, "newest": newest[0] if newest else None}


jobs.register(CloseDays())
jobs.register(SealJournals())

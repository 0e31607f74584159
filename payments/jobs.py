"""Timed jobs of the payment platform (times in paysys.schedule)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from foundation import jobs
from payments.services import callbacks_out, checking, priorities, sweeping


class CheckAttempts(jobs.Job):
    """Asks providers about undecided payments and refunds, longest due first; UNKNOWN is asked for ever.

    Behind RingChecks: with the broker or Redis away, or all workers busy with VIPs, this still gets to every row.
    """

    name = "payments.check_attempts"
    lock_seconds = 300

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return checking.check_due(now=now)


class RingChecks(jobs.Job):
    """Rings workers for the same rows, one message each, VIP and wallet-funded ones first."""

    name = "payments.ring_checks"
    lock_seconds = 60

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return {"rung": priorities.ring_due(now=now)}


class CloseExpired(jobs.Job):
    """Closes unpaid orders past their life, at the provider first."""

    name = "payments.close_expired"
    lock_seconds = 300

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return sweeping.close_expired(now=now)


class SendCallbacks(jobs.Job):
    """Sends callbacks whose bell was lost, should the relay be away; with it there is nothing left to do."""

    name = "payments.send_callbacks"
    lock_seconds = 60

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return {"accepted": callbacks_out.send_due()}


class PurgeCallbacks(jobs.Job):
    """Nightly: deletes old tries of callbacks that ended; what is left over waits for the next night."""

    name = "payments.purge_callbacks"
    lock_seconds = 1800

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return {"tries": callbacks_out.purge_tries(now=now)}


jobs.register(CheckAttempts())
jobs.register(RingChecks())
jobs.register(CloseExpired())
jobs.register(SendCallbacks())
jobs.register(PurgeCallbacks())

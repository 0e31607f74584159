"""Timed jobs of the payment platform (times in paysys.schedule)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from foundation import jobs
from payments.services import checking, sweeping


class CheckAttempts(jobs.Job):
    """Asks providers about undecided payments and refunds; UNKNOWN is asked for ever."""

    name = "payments.check_attempts"
    lock_seconds = 300

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return checking.check_due(now=now)


class CloseExpired(jobs.Job):
    """Closes unpaid orders past their life, at the provider first."""

    name = "payments.close_expired"
    lock_seconds = 300

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return sweeping.close_expired(now=now)


jobs.register(CheckAttempts())
jobs.register(CloseExpired())

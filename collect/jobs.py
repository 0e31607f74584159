"""Timed jobs of scan to collect (times in paysys.schedule). Each is safe to run twice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from collect.services import collecting, crm
from foundation import jobs


class CloseDue(jobs.Job):
    """Unpaid payments past their time, at the provider first; payments.close_expired has ended most of them."""

    name = "collect.close_due"
    lock_seconds = 300

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return collecting.close_due(now=now)


class ResumeRefunds(jobs.Job):
    """Refunds that a merchant asked for and whose request died before anything was opened."""

    name = "collect.resume_refunds"
    lock_seconds = 300

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return collecting.resume_refunds(now=now)


class SendCrm(jobs.Job):
    """Sales orders of paid collections to the CRM: new ones, and those it did not accept."""

    name = "collect.send_crm"
    lock_seconds = 60

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return crm.send_due()


jobs.register(CloseDue())
jobs.register(ResumeRefunds())
jobs.register(SendCrm())

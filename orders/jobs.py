"""Timed jobs of orders (times in paysys.schedule)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from foundation import jobs
from orders.services import beating


class BeatReplicas(jobs.Job):
    """Keeps the age of replicas measurable; does nothing where no database has one."""

    name = "orders.beat_replicas"
    lock_seconds = 60

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return {"databases": beating.beat()}


jobs.register(BeatReplicas())

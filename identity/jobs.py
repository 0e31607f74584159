"""Timed work of identity; paysys/schedule.py says when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from foundation import jobs
from identity.services import login, phone_codes, short_messages

KEEP_TOKENS = dt.timedelta(days=7)
"""After their end: staff may still see when somebody was logged in last."""
KEEP_CODES = dt.timedelta(days=1)
KEEP_MESSAGES = dt.timedelta(days=30)


class Purge(jobs.Job):
    """Log-ins, phone codes and short messages that serve nobody any more."""

    name = "identity.purge"

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        return {
            "tokens": login.purge(before=now - KEEP_TOKENS),
            "phone_codes": phone_codes.purge(before=now - KEEP_CODES),
            "short_messages": short_messages.purge(before=now - KEEP_MESSAGES),
        }


jobs.register(Purge())

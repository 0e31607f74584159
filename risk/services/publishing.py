"""Keeps the door's set of blocked callers equal to the block list: employees and network addresses."""

from __future__ import annotations

import datetime as dt

from foundation import crypto, door
from risk import selectors
from risk.models import ListEntry

PUBLISHED = (ListEntry.Subject.EMPLOYEE, ListEntry.Subject.ADDRESS)
"""What a request shows before anything is read; the other kinds are judged by the rules."""


def publish_blocked(*, now: dt.datetime) -> int:
    """Writes the set anew; returns its size. Safe to repeat; raises redis.RedisError."""
    callers = [
        f"{entry.subject_kind.lower()}:{crypto.decrypt(entry.value_closed, column='risk_listentry.value_closed')}"
        for entry in selectors.list_blocked(subject_kinds=PUBLISHED, now=now)
    ]
    door.publish_blocked(callers)
    return len(callers)

"""The simulator's time: the machine's, shifted by what a test asked for."""

from __future__ import annotations

import datetime as dt
import threading
import time

BEIJING = dt.timezone(dt.timedelta(hours=8))
"""Business days and printed times of all providers; China has no summer time."""


class Clock:
    """Stamps, expiry and signature windows follow the shift.

    The schedule of notices and refunds does not: a test that shifts the clock back must not strand a notice in the
    future.
    """

    def __init__(self, *, offset_seconds: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._offset_seconds = offset_seconds

    @property
    def offset_seconds(self) -> float:
        with self._lock:
            return self._offset_seconds

    def shift(self, *, offset_seconds: float) -> None:
        """Sets (does not add) the distance to the machine's clock; negative is the past."""
        with self._lock:
            self._offset_seconds = offset_seconds

    def seconds(self) -> float:
        """Seconds since 1970 by the shifted clock."""
        return time.time() + self.offset_seconds


def moment(seconds: float) -> dt.datetime:
    """Beijing time of seconds since 1970."""
    return dt.datetime.fromtimestamp(seconds, tz=BEIJING)


def rfc3339(seconds: float) -> str:
    """`2026-11-22T10:00:00+08:00`."""
    return moment(seconds).isoformat(timespec="seconds")


def day_bounds(day: dt.date) -> tuple[float, float]:
    """Seconds since 1970 of the start (included) and the end (excluded) of a Beijing day."""
    start = dt.datetime(day.year, day.month, day.day, tzinfo=BEIJING)
    return start.timestamp(), (start + dt.timedelta(days=1)).timestamp()

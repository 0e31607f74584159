"""The one place that reads the wall clock. Business days are those of Asia/Shanghai.

Services receive `now` as an argument; views, tasks, jobs and commands call `now()` once and pass it down. Tests freeze
it with `frozen`. Expiry of red packets is decided by the database's clock (see foundation.db.transactions).
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime as dt
import time
from collections.abc import Iterator
from zoneinfo import ZoneInfo

BUSINESS_ZONE = ZoneInfo("Asia/Shanghai")

_frozen: contextvars.ContextVar[dt.datetime | None] = contextvars.ContextVar("frozen_now", default=None)


def now() -> dt.datetime:
    """The present moment, aware, in UTC."""
    return _frozen.get() or dt.datetime.now(dt.UTC)


def epoch_ms() -> int:
    """Milliseconds since 1970, following `frozen` too."""
    frozen_at = _frozen.get()
    return int(frozen_at.timestamp() * 1000) if frozen_at else time.time_ns() // 1_000_000


def business_date(moment: dt.datetime) -> dt.date:
    """The business day a moment falls on."""
    return moment.astimezone(BUSINESS_ZONE).date()


def day_start(day: dt.date) -> dt.datetime:
    """The first moment of a business day, in UTC; the day ends where the next one starts."""
    return dt.datetime.combine(day, dt.time(), tzinfo=BUSINESS_ZONE).astimezone(dt.UTC)


@contextlib.contextmanager
def frozen(moment: dt.datetime) -> Iterator[None]:
    """Inside the block `now()` answers `moment` in this thread (tests only)."""
    token = _frozen.set(moment)
    try:
        yield
    finally:
        _frozen.reset(token)

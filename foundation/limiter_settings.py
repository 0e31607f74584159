"""What each limit is now: the catalogue, the settings' values, and what staff have set over them.

Staff set limits in the admin (`foundation.models.Limit`, with history); a row there counts instead of the setting, and
deleting it brings the setting back. Every web process reads the rows once a second (`foundation.limiter_keeper`) and
swaps what it knows whole, as risk/services/tables.py does: a change counts everywhere within two seconds. While the
database is away the last values stay.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.core.signals import setting_changed

from foundation import limiter
from foundation.db import roles
from foundation.limiter import Limiter, Size
from foundation.models import Limit

logger = structlog.get_logger("limiter")

WEB, STAFF, NOTICES = "web", "staff", "notices"
SLOTS = (WEB, STAFF, NOTICES)
"""Limiters in front of a web process: everything, but the admin, but providers' notices."""
CALLER, ADDRESS, STRIKES, CLOSED = "caller", "address", "strikes", "closed"
WINDOWS = (CALLER, ADDRESS, STRIKES)
"""Requests of one caller; of one address; refused requests of one caller before the door closes."""
ENDPOINT_PREFIX = "endpoint:"
"""And one name for each endpoint, "endpoint:POST api/v1/transfers": its requests of all callers together."""

WAITING_SHARE = 4
"""Slots for each that may wait, where nobody says otherwise: who waits does so for a quarter of a request's time."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """No more than `requests` (0: no limit) within any `seconds`."""

    requests: int
    seconds: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """What staff have set: for slots `amount`, `waiting`, `wait_ms`; for windows `amount`, `seconds`."""

    name: str
    amount: int
    seconds: int | None = None
    waiting: int | None = None
    wait_ms: int | None = None


_lock = threading.Lock()
_rows: Mapping[str, Row] = {}
_limiters: dict[str, Limiter] = {}


def limiter_of(name: str) -> Limiter:
    """The process's limiter of that name, in the size that counts now."""
    found = _limiters.get(name)
    if found is None:
        found = _limiters[name] = limiter.named(name, size_of(name))
    return found


def size_of(name: str) -> Size:
    """The size of a limiter: staff's, else the settings' (of SLOTS), else what the code says (of a decorator)."""
    default = default_size(name)
    row = _rows.get(name)
    if row is None:
        return default
    return Size(
        slots=max(1, row.amount),
        waiting=row.amount // WAITING_SHARE if row.waiting is None else row.waiting,
        wait_seconds=default.wait_seconds if row.wait_ms is None else row.wait_ms / 1000,
    )


def default_size(name: str) -> Size:
    """The size of a limiter while staff have set none. KeyError for one that this process has not."""
    if name not in SLOTS:
        return limiter.all_named()[name].original
    slots: int = settings.LIMITER_SLOTS[name]
    waiting: int | None = settings.LIMITER_WAITING
    return Size(
        slots=slots,
        waiting=slots // WAITING_SHARE if waiting is None else min(waiting, slots),
        wait_seconds=settings.LIMITER_WAIT_SECONDS,
    )


def window_of(name: str) -> Window | None:
    """The window of that name; None where there is no limit."""
    row = _rows.get(name)
    if row is not None and row.seconds:
        window = Window(requests=row.amount, seconds=row.seconds)
    else:
        window = default_window(name)
    return window if window.requests else None


def default_window(name: str) -> Window:
    """The settings' window; endpoints have none."""
    requests, seconds = settings.LIMITER_WINDOWS.get(name, (0, 60))
    return Window(requests=requests, seconds=seconds)


def apply(rows: Sequence[Row]) -> None:
    """Makes `rows` what staff have set, in this process. Rows of limiters that this process has not are ignored."""
    global _rows
    fresh = {row.name: row for row in rows}
    with _lock:
        if fresh == _rows:
            return
        changed = sorted(name for name in {*fresh, *_rows} if fresh.get(name) != _rows.get(name))
        _rows = fresh
        for name, own in limiter.all_named().items():
            if name in changed:
                own.resize(size_of(name))
    logger.info("limits changed", names=changed)


def load() -> None:
    """Reads what staff have set. May raise django.db.Error; then the old values stay."""
    rows = Limit.objects.using(roles.alias_for("default")).all()
    apply(
        [
            Row(name=row.name, amount=row.amount, seconds=row.seconds, waiting=row.waiting, wait_ms=row.wait_ms)
            for row in rows
        ]
    )


def _settings_changed(*, setting: str, **_: object) -> None:
    """Tests change settings; nothing else does."""
    if setting.startswith("LIMITER_"):
        for name in SLOTS:
            limiter_of(name).resize(size_of(name))


setting_changed.connect(_settings_changed, dispatch_uid="foundation.limiter_settings")

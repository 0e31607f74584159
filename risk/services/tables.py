"""The active tables of this process, loaded from the database and swapped whole when a version pointer has moved.

Every process looks at the pointers (one small row per action) at most once a second, at its next decision: a version
that was approved counts everywhere within two seconds without restart, message or Redis. A look costs one query.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from dataclasses import dataclass

import structlog

from foundation import alerts
from foundation.db import roles
from risk import selectors
from risk.domain.facts import Action
from risk.domain.tables import Table, TableInvalid, compile_table

logger = structlog.get_logger("risk")

LOOK_SECONDS = 1.0
"""Age of the last look after which the pointers are read again; half of the two seconds promised."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a process evaluates with. `table` is None when the stored rows do not compile: then all is review."""

    version_id: int
    number: int
    generation: int
    table: Table | None


_lock = threading.Lock()
_loaded: dict[str, Loaded] = {}
_looked_at: float | None = None


def current(*, action: Action, now: dt.datetime) -> Loaded | None:
    """The table of `action` that counts now; None when no version is active. Safe for threads.

    Reads the database at most once a second, through the caller's transaction if one is open; no locks there.
    """
    global _looked_at
    # Who comes second goes on with what is loaded; only the very first look is waited for.
    if _is_old() and _lock.acquire(blocking=_looked_at is None):
        try:
            if _is_old():
                _look(now)
                _looked_at = time.monotonic()
        finally:
            _lock.release()
    return _loaded.get(action)


def forget() -> None:
    """Makes the next decision of this process look again (after an activation here, and in tests)."""
    global _looked_at
    with _lock:
        _looked_at = None
        _loaded.clear()


def _is_old() -> bool:
    return _looked_at is None or time.monotonic() - _looked_at > LOOK_SECONDS


def _look(now: dt.datetime) -> None:
    alias = roles.alias_for("default")
    pointers = selectors.list_pointers(using=alias)
    for action in set(_loaded) - {pointer.action for pointer in pointers}:
        del _loaded[action]
    for pointer in pointers:
        known = _loaded.get(pointer.action)
        if known is None or (known.version_id, known.generation) != (pointer.version_id, pointer.generation):
            _loaded[pointer.action] = _load(pointer, now)


def _load(pointer: selectors.Pointer, now: dt.datetime) -> Loaded:
    rows, thresholds = selectors.get_content(version_id=pointer.version_id)
    table = None
    try:
        table = compile_table(action=Action(pointer.action), rows=rows, thresholds=thresholds)
    except TableInvalid as error:
        alerts.raise_alert(
            code="risk_table_unusable",
            subject=f"{pointer.action}:{pointer.number}",
            message=f"Every {pointer.action} is reviewed until another version is active: {error}",
            now=now,
        )
    logger.info("risk table loaded", action=pointer.action, version=pointer.number, usable=table is not None)
    return Loaded(version_id=pointer.version_id, number=pointer.number, generation=pointer.generation, table=table)

"""One thread of each web process: reads what staff have set, and tells Redis what the limiters see, once a second.

A thread of its own, because a process whose slots are all taken must still hear of a new limit and be seen.
"""

from __future__ import annotations

import os
import threading
import time

import structlog
from django.db import Error as DatabaseProblem
from django.db import connections
from prometheus_client import Gauge
from redis.exceptions import RedisError

from foundation import clock, limiter, limiter_figures, limiter_settings
from foundation.db import roles

logger = structlog.get_logger("limiter")

SECONDS = 1.0
"""Half of the two seconds in which a limit counts everywhere."""

IN_USE = Gauge("paysys_limiter_in_use", "Slots taken.", ["limiter"], multiprocess_mode="livesum")
WAITING = Gauge("paysys_limiter_waiting", "Requests that wait for a slot.", ["limiter"], multiprocess_mode="livesum")

_lock = threading.Lock()
_kept_by = 0
_is_away = {"database": False, "redis": False}


def start() -> None:
    """Starts the thread when this process has none; costs nothing when it has."""
    global _kept_by
    if _kept_by == os.getpid():
        return
    with _lock:
        if _kept_by == os.getpid():
            return
        _kept_by = os.getpid()
    threading.Thread(target=_run, name="limiter-keeper", daemon=True).start()


def _run() -> None:
    while True:
        keep()
        time.sleep(SECONDS)


def keep() -> None:
    """One round. Never raises for a server that is away: the values stay, and are read a second later."""
    try:
        connection = connections[roles.alias_for("default")]
        connection.close_if_unusable_or_obsolete()
        limiter_settings.load()
        _note("database", None)
    except DatabaseProblem as error:
        _note("database", error)
    for name, own in limiter.all_named().items():
        figures = own.figures()
        IN_USE.labels(name).set(figures.in_use)
        WAITING.labels(name).set(figures.waiting)
    try:
        limiter_figures.publish(limiter_figures.take(at=clock.now().timestamp(), moment=time.monotonic()))
        _note("redis", None)
    except RedisError as error:
        _note("redis", error)


def _note(server: str, error: Exception | None) -> None:
    """Says once that a server is away, and once that it is back."""
    if _is_away[server] != (error is not None):
        _is_away[server] = error is not None
        logger.warning("limits: a server is away" if error else "limits: it is back", server=server, error=repr(error))

"""Bells: what the relay listens to besides the outbox.

An app whose own table is a queue registers a cheap "is anything due" question and the Celery task to
ring. A bell carries nothing; a lost, doubled or stale one does no harm, because the table is the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Bell:
    """`due()` answers without locks; `task` is the Celery name rung when it says yes; `queue` the worker's queue."""

    name: str
    due: Callable[[], bool]
    task: str
    queue: str


_bells: dict[str, Bell] = {}


def register(bell: Bell) -> None:
    """Adds a bell at start-up (same name again replaces it)."""
    _bells[bell.name] = bell


def registered() -> list[Bell]:
    return list(_bells.values())

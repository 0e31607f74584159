"""Bells: what the relay listens to besides the outbox.

An app whose own table is a queue registers a cheap "is anything due" question and the Celery task to
ring. A bell carries nothing that decides; a lost, doubled or stale one does no harm, because the table is the queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Bell:
    """`due()` answers without locks; `task` is the Celery name rung when it says yes; `queue` the worker's queue.

    With `messages` the work is spread: it is asked when `due()` says yes and returns the arguments of each message to
    send now, none when all of it was rung a moment ago (see `Coalescer`). Without it one message without arguments.
    """

    name: str
    due: Callable[[], bool]
    task: str
    queue: str
    messages: Callable[[], Sequence[str]] | None = None


class Coalescer:
    """Remembers what was rung: the same name again passes only after `seconds`. For one process; not for threads."""

    def __init__(self, *, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._rung_at: dict[str, float] = {}

    def take(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are to be rung now, in their order; they count as rung."""
        moment = self._clock()
        self._rung_at = {name: at for name, at in self._rung_at.items() if moment - at < self._seconds}
        chosen = [name for name in dict.fromkeys(names) if name not in self._rung_at]
        self._rung_at.update(dict.fromkeys(chosen, moment))
        return chosen


_bells: dict[str, Bell] = {}


def register(bell: Bell) -> None:
    """Adds a bell at start-up (same name again replaces it)."""
    _bells[bell.name] = bell


def registered() -> list[Bell]:
    return list(_bells.values())

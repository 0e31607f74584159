"""The relay: asks every POLL_SECONDS whether anything is due and rings the workers. It carries no data.

A bell expires after BELL_EXPIRES_SECONDS, so a stopped worker never finds a pile of old bells (design `faults.md` 3.4).
"""

from __future__ import annotations

import threading
import time

import structlog
from celery import current_app
from django.db import DatabaseError, close_old_connections
from kombu.exceptions import OperationalError as BrokerError

from foundation import bells, clock, outbox

logger = structlog.get_logger("relay")

POLL_SECONDS = 0.3
BELL_EXPIRES_SECONDS = 5
RING_AGAIN_SECONDS = 1.0
"""While a source stays due it is rung at most this often; the worker that drains it empties it anyway."""


class Relay:
    """One polling loop; several may run at once."""

    def __init__(self) -> None:
        self._rung_at: dict[str, float] = {}

    def run_forever(self, stop: threading.Event) -> None:
        """Polls until `stop` is set; a database or broker that is away is waited for."""
        while not stop.wait(POLL_SECONDS):
            try:
                self.poll()
            except (DatabaseError, BrokerError, OSError):
                logger.warning("relay waits for database or broker", exc_info=True)
                close_old_connections()
                stop.wait(1.0)

    def poll(self) -> list[str]:
        """Rings every source that is due; returns the names rung."""
        rung = []
        for alias in outbox.all_due_aliases(now=clock.now()):
            if self._ring(f"outbox:{alias}", "foundation.drain_outbox", [alias], "callbacks"):
                rung.append(f"outbox:{alias}")
        for bell in bells.registered():
            if not bell.due():
                continue
            if bell.messages is not None:
                rung += [bell.name for text in bell.messages() if self._send(bell.task, [text], bell.queue)]
            elif self._ring(bell.name, bell.task, [], bell.queue):
                rung.append(bell.name)
        return rung

    def _ring(self, name: str, task: str, args: list[str], queue: str) -> bool:
        moment = time.monotonic()
        if moment - self._rung_at.get(name, 0.0) < RING_AGAIN_SECONDS:
            return False
        self._rung_at[name] = moment
        return self._send(task, args, queue)

    @staticmethod
    def _send(task: str, args: list[str], queue: str) -> bool:
        current_app.send_task(task, args=args, queue=queue, expires=BELL_EXPIRES_SECONDS, ignore_result=True)
        return True

"""Runs several pieces of work in an order that a seed decides, statement by statement, on real connections.

Each actor stops before every statement on one database; the conductor lets a random one go on until its next statement.
One that waits for a lock does not come back in time: it stays where it is, and the others go on.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connections

BLOCKED_SECONDS = 0.02
"""A statement takes a millisecond; what takes longer waits for a lock (or is slow, which does no harm)."""
LIMIT_SECONDS = 60.0


class _Actor:
    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.outcome: Any = None
        self.may_go, self.stopped = threading.Semaphore(0), threading.Event()
        self.is_done = False

    def gate(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self.stopped.set()
        self.may_go.acquire()
        return execute(sql, params, many, context)

    def run(self, alias: str) -> None:
        try:
            with connections[alias].execute_wrapper(self.gate):
                self.outcome = self.work()
        except Exception as error:  # the test looks at it
            self.outcome = error
        finally:
            self.is_done = True
            self.stopped.set()


class Conductor:
    """Use as a context manager; its threads and their connections serve many interleavings."""

    def __init__(self, *, alias: str, size: int) -> None:
        self.alias = alias
        self.pool = ThreadPoolExecutor(max_workers=size)
        self.size = size
        self.steps = self.blocked = 0

    def __enter__(self) -> Conductor:
        return self

    def __exit__(self, *_: object) -> None:
        barrier = threading.Barrier(self.size)

        def leave() -> None:
            barrier.wait(timeout=30)  # so that every thread closes its own
            connections.close_all()

        for future in [self.pool.submit(leave) for _ in range(self.size)]:
            future.result()
        self.pool.shutdown()

    def play(self, works: Sequence[Callable[[], Any]], *, seed: int) -> list[Any]:
        """Results or exceptions in the order of `works`; at most `size` of them."""
        assert len(works) <= self.size
        chooser, actors = random.Random(seed), [_Actor(work) for work in works]
        futures = [self.pool.submit(actor.run, self.alias) for actor in actors]
        deadline = time.monotonic() + LIMIT_SECONDS
        while not all(actor.is_done for actor in actors):
            assert time.monotonic() < deadline, f"seed {seed}: nobody goes on"
            ready = [actor for actor in actors if actor.stopped.is_set() and not actor.is_done]
            if not ready:
                time.sleep(0.001)
                continue
            actor = chooser.choice(ready)
            actor.stopped.clear()
            actor.may_go.release()
            self.steps += 1
            self.blocked += not actor.stopped.wait(BLOCKED_SECONDS)
        for future in futures:
            future.result()
        return [actor.outcome for actor in actors]

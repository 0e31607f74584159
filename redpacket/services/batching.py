"""Group commit by hand: callers that wait at the same moment are served together by one of them.

Natural batching, no timer: who finds nobody at work begins at once; who comes meanwhile waits, and all who waited make
the next batch, served by the first of them. So a lone caller waits for nothing, and a crowd shares one commit. Source:
design `faults.md` (Decision on grabs).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog
from prometheus_client import Counter, Histogram

logger = structlog.get_logger("redpacket")

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH_SIZES = Histogram(
    "redpacket_claim_batch_size", "Claims committed together.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
BATCH_SECONDS = Histogram(
    "redpacket_claim_batch_seconds",
    "Time of one batch: session check, commit, word to Redis.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
WAIT_SECONDS = Histogram(
    "redpacket_claim_wait_seconds",
    "Time of a winner from asking for his claim to its commit, the wait for the batch before included.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
FAILED_BATCHES = Counter("redpacket_claim_batches_failed", "Batches that broke; their claims were made one by one.")


class _Entry(Generic[Item, Result]):
    """One caller: his item, and the lock he sleeps on until he is served or has to serve."""

    __slots__ = ("is_served", "item", "result", "wake")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.wake = threading.Lock()
        self.wake.acquire()
        self.is_served = False
        self.result: Result | None = None


class Batcher(Generic[Item, Result]):
    """Hands the items of callers that wait together to `work`, at most `max_size` at once, one batch at a time.

    `work` answers one result per item, in order. It runs in the thread of one of the callers, so with that thread's
    database connections. When it raises, nobody's result is known (None): each caller must then find out alone.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]], *, max_size: int) -> None:
        self._work = work
        self._max_size = max_size
        self._lock = threading.Lock()
        self._waiting: deque[_Entry[Item, Result]] = deque()
        self._is_working = False

    def submit(self, item: Item) -> Result | None:
        """The result of `item`; None when its batch broke. Blocks until its batch is done."""
        began = time.perf_counter()
        entry: _Entry[Item, Result] = _Entry(item)
        with self._lock:
            self._waiting.append(entry)
            must_serve, self._is_working = not self._is_working, True
        if not must_serve:
            entry.wake.acquire()
        if not entry.is_served:
            self._serve()
        WAIT_SECONDS.observe(time.perf_counter() - began)
        return entry.result

    def _serve(self) -> None:
        """Serves the batch that begins with the calling thread's own entry, then wakes the next one to serve."""
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(self._max_size, len(self._waiting)))]
        began = time.perf_counter()
        try:
            results = self._work([entry.item for entry in batch])
            for entry, result in zip(batch, results, strict=True):
                entry.result = result
        except Exception:  # every caller repeats his own part and meets the cause himself
            logger.warning("a batch broke, its members go on alone", size=len(batch), exc_info=True)
            FAILED_BATCHES.inc()
            for entry in batch:
                entry.result = None
        finally:
            BATCH_SIZES.observe(len(batch))
            BATCH_SECONDS.observe(time.perf_counter() - began)
            for entry in batch:
                entry.is_served = True
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._is_working = following is not None
            if following is not None:
                following.wake.release()
            for entry in batch[1:]:
                entry.wake.release()

"""Group commit by hand: callers that wait at the same moment are served together by one of them.

Natural batching: who finds nobody at work begins at once; who comes meanwhile waits, and all who waited make the next
batch, served by the first of them. So a lone caller waits for nothing, and a crowd shares one commit. Where the last
batch has just ended more callers are on their way: the next one waits `pause_seconds` for them, a few milliseconds,
and no longer than until it is larger than the last. One commit then costs many no more than one. Nobody waits for ever:
where a batch does not end, its callers and all who come meanwhile go on alone. Source: design `faults.md` (Decision on
grabs).
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
LEFT_ALONE = Counter("redpacket_claims_left_alone", "Claims made one by one because a batch before them did not end.")
NEAR = 4
"""A batch that ended less than so many pauses ago is the sign of a crowd."""
PATIENCE_SECONDS = 5.0
"""A batch takes milliseconds. One that takes this long waits for a lock (10 s) or for a database that is silent."""


class _Entry(Generic[Item, Result]):
    """One caller: his item, and the lock he sleeps on until he is served or has to serve."""

    __slots__ = ("is_served", "item", "must_serve", "result", "wake")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.wake = threading.Lock()
        self.wake.acquire()
        self.is_served = False
        self.must_serve = False
        self.result: Result | None = None


class Batcher(Generic[Item, Result]):
    """Hands the items of callers that wait together to `work`, at most `max_size` at once, one batch at a time.

    `work` answers one result per item, in order. It runs in the thread of one of the callers, so with that thread's
    database connections. When it raises, nobody's result is known (None): each caller must then find out alone. So must
    who has waited `patience_seconds`; `work` may still do his part then, so both must be safe to do twice. From then on
    until the batch ends nobody waits behind it. `pause_seconds`: how long a batch may wait for more members; 0: never.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        max_size: int,
        pause_seconds: float = 0.0,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._work = work
        self._max_size = max_size
        self._pause_seconds = pause_seconds
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._waiting: deque[_Entry[Item, Result]] = deque()
        self._is_working = False
        self._is_stuck = False
        self._pausing: _Entry[Item, Result] | None = None
        self._last_size = 0
        self._ended_at = 0.0

    def submit(self, item: Item) -> Result | None:
        """The result of `item`; None when its batch broke or takes too long. Blocks until its batch is done."""
        began = time.perf_counter()
        entry: _Entry[Item, Result] = _Entry(item)
        with self._lock:
            if self._is_stuck:
                LEFT_ALONE.inc()
                return None
            self._waiting.append(entry)
            must_serve, self._is_working = not self._is_working, True
            if self._pausing is not None and len(self._waiting) > self._last_size:
                self._pausing.wake.release()
                self._pausing = None
        if not must_serve and not entry.wake.acquire(timeout=self._patience_seconds) and self._leave(entry):
            LEFT_ALONE.inc()
            return None
        if not entry.is_served:
            self._gather(entry)
            self._serve()
        WAIT_SECONDS.observe(time.perf_counter() - began)
        return entry.result

    def _gather(self, entry: _Entry[Item, Result]) -> None:
        """Lets others join the batch that `entry` is about to serve, when the last one was a moment ago."""
        with self._lock:
            is_alone = time.perf_counter() - self._ended_at > NEAR * self._pause_seconds
            if is_alone or len(self._waiting) > self._last_size:
                return
            self._pausing = entry
        entry.wake.acquire(timeout=self._pause_seconds)
        with self._lock:
            self._pausing = None

    def _leave(self, entry: _Entry[Item, Result]) -> bool:
        """Waits no longer; False for who was served or must serve at this very moment."""
        with self._lock:
            if entry.is_served or entry.must_serve:
                return False
            if entry in self._waiting:
                self._waiting.remove(entry)
            if not self._is_stuck:
                logger.warning("a batch does not end, nobody waits for it any more", waiting=len(self._waiting))
            self._is_stuck = True
            return True

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
                self._is_working, self._is_stuck = following is not None, False
                self._last_size, self._ended_at = len(batch), time.perf_counter()
                if following is not None:
                    following.must_serve = True
            if following is not None:
                following.wake.release()
            for entry in batch[1:]:
                entry.wake.release()

"""The batcher alone: who is served together, what a broken batch does, that nobody is forgotten."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from redpacket.services.batching import BATCH_SIZES, FAILED_BATCHES, Batcher


class Work:
    """Doubles numbers; each batch waits until the test lets it go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.began.release()
        assert self.may_end.acquire(timeout=30)
        if 13 in items:
            raise RuntimeError("a broken batch")
        return [2 * item for item in items]


def start(batcher: Batcher[int, int], items: Sequence[int], results: dict[int, int | None]) -> list[threading.Thread]:
    """Submits the items from one thread each, in order: each stands in the queue before the next one comes."""
    threads = []
    for item in items:
        waiting = len(batcher._waiting)
        is_first = not batcher._is_working

        def body(item: int = item) -> None:
            results[item] = batcher.submit(item)

        threads.append(threading.Thread(target=body))
        threads[-1].start()
        while not is_first and len(batcher._waiting) == waiting:
            time.sleep(0.001)
    return threads


def test_a_lone_caller_is_served_at_once() -> None:
    work = Work()
    work.may_end.release()
    assert Batcher(work, max_size=8).submit(21) == 42
    assert work.batches == [[21]]


def test_who_waits_while_a_batch_runs_makes_the_next_ones() -> None:
    work = Work()
    results: dict[int, int | None] = {}
    batcher = Batcher(work, max_size=3)
    before = BATCH_SIZES._sum.get()
    first = start(batcher, [1], results)
    assert work.began.acquire(timeout=30)
    others = start(batcher, [2, 3, 4, 5], results)
    for _ in range(3):
        work.may_end.release()
    for thread in [*first, *others]:
        thread.join(timeout=30)
    assert work.batches == [[1], [2, 3, 4], [5]]
    assert results == {1: 2, 2: 4, 3: 6, 4: 8, 5: 10}
    assert BATCH_SIZES._sum.get() - before == 5


def test_a_broken_batch_answers_nobody_and_the_next_one_goes_on() -> None:
    work = Work()
    results: dict[int, int | None] = {}
    batcher = Batcher(work, max_size=2)
    failed = FAILED_BATCHES._value.get()
    first = start(batcher, [1], results)
    assert work.began.acquire(timeout=30)
    others = start(batcher, [12, 13, 14], results)
    for _ in range(3):
        work.may_end.release()
    for thread in [*first, *others]:
        thread.join(timeout=30)
    assert work.batches == [[1], [12, 13], [14]]
    assert results == {1: 2, 12: None, 13: None, 14: 28}
    assert FAILED_BATCHES._value.get() - failed == 1
    work.may_end.release()
    assert batcher.submit(7) == 14

"""The batcher alone: who is served together, what a broken batch does, that nobody is forgotten."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from redpacket.services.batching import BATCH_SIZES, FAILED_BATCHES, LEFT_ALONE, Batcher


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


def test_nobody_waits_for_ever_behind_a_batch_that_does_not_end() -> None:
    work = Work()
    results: dict[int, int | None] = {}
    batcher = Batcher(work, max_size=2, patience_seconds=0.05)
    left = LEFT_ALONE._value.get()
    stuck = start(batcher, [1], results)
    assert work.began.acquire(timeout=30)
    for thread in start(batcher, [2, 3], results):
        thread.join(timeout=30)
    assert results == {2: None, 3: None}
    # Known to be stuck: nobody waits at all, and nobody is left in the queue.
    began = time.perf_counter()
    assert batcher.submit(4) is None
    assert time.perf_counter() - began < 0.04
    assert (len(batcher._waiting), LEFT_ALONE._value.get() - left) == (0, 3)
    # It ends after all: its own caller gets his result, and batches are made as before.
    work.may_end.release()
    for thread in stuck:
        thread.join(timeout=30)
    work.may_end.release()
    assert (results[1], batcher.submit(5), work.batches) == (2, 10, [[1], [5]])


def test_a_member_of_a_batch_that_does_not_end_goes_on_alone_as_well() -> None:
    work = Work()
    results: dict[int, int | None] = {}
    batcher = Batcher(work, max_size=8, patience_seconds=0.2)
    first = start(batcher, [1], results)
    assert work.began.acquire(timeout=30)
    second, third = start(batcher, [2, 3], results)
    work.may_end.release()  # 2 serves himself and 3, and is stuck
    assert work.began.acquire(timeout=30)
    third.join(timeout=30)
    assert (results, second.is_alive()) == ({1: 2, 3: None}, True)
    work.may_end.release()
    for thread in [*first, second]:
        thread.join(timeout=30)
    assert (results, work.batches) == ({1: 2, 2: 4, 3: None}, [[1], [2, 3]])


def test_a_crowd_with_little_patience_is_answered_to_the_last_one() -> None:
    """Time-outs, hand-overs and late batches in every order: each caller gets his own result or None, none hangs."""
    batcher: Batcher[int, int] = Batcher(
        lambda items: [time.sleep(0.0005) or 2 * item for item in items], max_size=3, patience_seconds=0.001
    )
    wrong: list[tuple[int, int | None]] = []
    served: list[int] = []

    def body(base: int) -> None:
        for item in range(base, base + 200):
            result = batcher.submit(item)
            if result is None:
                continue
            served.append(item)
            if result != 2 * item:
                wrong.append((item, result))

    threads = [threading.Thread(target=body, args=(1000 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert (wrong, len(batcher._waiting), batcher._is_working, batcher._is_stuck) == ([], 0, False, False)
    assert len(served) > 0
    assert batcher.submit(7) == 14


def test_in_a_crowd_a_batch_waits_for_more_than_the_last_one_had_and_no_longer() -> None:
    work = Work()
    for _ in range(3):
        work.may_end.release()
    results: dict[int, int | None] = {}
    batcher = Batcher(work, max_size=8, pause_seconds=60.0)
    began = time.perf_counter()
    assert batcher.submit(1) == 2  # nobody was there before him: he waits for nothing
    threads = start(batcher, [2], results)
    deadline = time.monotonic() + 30
    while batcher._pausing is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert (work.batches, results) == ([[1]], {})
    threads += start(batcher, [3], results)  # two are more than the one of the last batch
    for thread in threads:
        thread.join(timeout=30)
    assert time.perf_counter() - began < 30
    assert (results, work.batches, batcher._pausing) == ({2: 4, 3: 6}, [[1], [2, 3]], None)


def test_the_pause_ends_by_itself() -> None:
    work = Work()
    for _ in range(2):
        work.may_end.release()
    batcher = Batcher(work, max_size=8, pause_seconds=0.05)
    assert batcher.submit(1) == 2
    began = time.perf_counter()
    assert batcher.submit(2) == 4
    assert time.perf_counter() - began >= 0.045
    time.sleep(0.25)  # longer than NEAR pauses: the crowd is gone
    work.may_end.release()
    began = time.perf_counter()
    assert batcher.submit(3) == 6
    assert time.perf_counter() - began < 0.045
    assert work.batches == [[1], [2], [3]]

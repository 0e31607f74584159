"""Cached answers: one caller computes, the others wait or take the old one; changes forget them when they commit."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import redis as redis_library
from django.db import DatabaseError, transaction
from prometheus_client import REGISTRY

from foundation import caching, redis
from foundation.db import roles

THREADS = 50
KIND: caching.Kind[int] = caching.Kind(
    name="test.number", version=1, fresh_seconds=60, stale_seconds=60, dump=lambda value: value, load=int
)


@pytest.fixture
def part() -> Iterator[str]:
    name = uuid.uuid4().hex
    yield name
    redis.client().delete(KIND.key(name), f"{KIND.key(name)}:lock")


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = redis_library.Redis.from_url("redis://127.0.0.1:1/0")
    monkeypatch.setattr(redis, "client", lambda: broken)


class Computer:
    """Counts how often it is asked; each answer is the next number."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.count, self._seconds, self._lock = 0, seconds, threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            self.count += 1
            number = self.count
        time.sleep(self._seconds)
        return number


def at_once(work: Callable[[], int], count: int = THREADS) -> list[int]:
    gate = threading.Barrier(count)

    def one(_: int) -> int:
        gate.wait()
        return work()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def reads(source: str) -> float:
    return REGISTRY.get_sample_value("paysys_cache_reads_total", {"kind": KIND.name, "source": source}) or 0


def stored_ms(part: str) -> int:
    return int(redis.client().pttl(KIND.key(part)))  # type: ignore[arg-type]


def test_fifty_threads_on_a_cold_key_compute_once(part: str) -> None:
    computer = Computer(0.3)
    before = reads("computed"), reads("waited")
    assert at_once(lambda: caching.read(KIND, part, compute=computer)) == [1] * THREADS
    assert computer.count == 1
    assert (reads("computed") - before[0], reads("waited") - before[1]) == (1, THREADS - 1)
    assert 0 < stored_ms(part) <= 120_000
    assert not redis.client().exists(f"{KIND.key(part)}:lock")


def test_without_the_lock_all_of_them_compute(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what the test above would see."""
    monkeypatch.setattr(caching, "_ask", lambda *_: (None, "compute"))
    computer = Computer(0.3)
    at_once(lambda: caching.read(KIND, part, compute=computer))
    assert computer.count == THREADS


def test_an_old_answer_stands_in_while_one_computes(part: str) -> None:
    old = replace(KIND, fresh_seconds=-59.0)  # stored for a second only: old from the beginning
    caching.read(old, part, compute=lambda: 100)
    computer = Computer(0.3)
    started = time.monotonic()
    waited: list[float] = []

    def ask() -> int:
        answer = caching.read(KIND, part, compute=computer)
        waited.append(time.monotonic() - started)
        return answer

    answers = at_once(ask)
    assert computer.count == 1
    assert sorted(answers) == [1] + [100] * (THREADS - 1)
    assert sorted(waited)[THREADS // 2] < 0.3, "half of them did not wait for the computer"
    assert caching.read(KIND, part, compute=computer) == 1


def test_a_computation_that_began_before_a_change_is_not_stored(part: str) -> None:
    def computed_while_it_changes() -> int:
        caching.forget(KIND, part)
        return 1

    assert caching.read(KIND, part, compute=computed_while_it_changes) == 1
    assert stored_ms(part) == -2
    assert caching.read(KIND, part, compute=lambda: 2) == 2
    assert caching.read(KIND, part, compute=lambda: 3) == 2


def test_it_is_forgotten_when_the_change_commits_and_not_before(committed_db: None, part: str) -> None:
    alias = roles.alias_for("default")
    caching.read(KIND, part, compute=lambda: 1)
    with transaction.atomic(using=alias):
        caching.forget_after_commit(KIND, part, using=alias)
        assert caching.read(KIND, part, compute=lambda: 2) == 1
    assert caching.read(KIND, part, compute=lambda: 2) == 2
    caching.forget_after_commit(KIND, part, using=alias)  # outside of a transaction: now
    assert caching.read(KIND, part, compute=lambda: 3) == 3


def test_a_change_that_is_rolled_back_forgets_nothing(committed_db: None, part: str) -> None:
    alias = roles.alias_for("default")
    caching.read(KIND, part, compute=lambda: 1)
    with pytest.raises(RuntimeError), transaction.atomic(using=alias):
        caching.forget_after_commit(KIND, part, using=alias)
        raise RuntimeError
    assert caching.read(KIND, part, compute=lambda: 2) == 1


def test_without_redis_everybody_gets_an_answer_and_one_computes(no_redis: None) -> None:
    computer = Computer(0.3)
    assert at_once(lambda: caching.read(KIND, "away", compute=computer)) == [1] * THREADS
    assert computer.count == 1
    assert caching.read(KIND, "away", compute=computer) == 2, "nothing was kept"
    caching.forget(KIND, "away")


def test_without_redis_an_error_is_the_computers_own_and_the_next_one_tries_again(no_redis: None) -> None:
    def fails() -> int:
        raise DatabaseError("away, too")

    with pytest.raises(DatabaseError):
        caching.read(KIND, "failing", compute=fails)
    assert caching.read(KIND, "failing", compute=lambda: 5) == 5


def test_redis_that_goes_while_one_computes_costs_nothing_but_the_keeping(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = redis_library.Redis.from_url("redis://127.0.0.1:1/0")
    real = redis.client

    def computed_as_it_goes() -> int:
        monkeypatch.setattr(redis, "client", lambda: broken)
        return 7

    assert caching.read(KIND, part, compute=computed_as_it_goes) == 7
    monkeypatch.setattr(redis, "client", real)
    assert stored_ms(part) == -2


def test_a_database_that_fails_leaves_the_old_answer_while_there_is_one(part: str) -> None:
    def fails() -> int:
        raise DatabaseError("gone")

    with pytest.raises(DatabaseError):
        caching.read(KIND, part, compute=fails)
    caching.read(replace(KIND, fresh_seconds=-50.0), part, compute=lambda: 100)
    assert caching.read(KIND, part, compute=fails) == 100
    assert caching.read(KIND, part, compute=lambda: 1) == 1, "the lock was given back"


def test_an_error_gives_the_lock_back(part: str) -> None:
    with pytest.raises(ZeroDivisionError):
        caching.read(KIND, part, compute=lambda: 1 // 0)
    assert caching.read(KIND, part, compute=lambda: 4) == 4


def test_who_died_computing_is_replaced(part: str) -> None:
    redis.client().set(f"{KIND.key(part)}:lock", "somebody", px=150)
    started = time.monotonic()
    assert caching.read(KIND, part, compute=lambda: 4) == 4
    assert 0.1 < time.monotonic() - started < 2
    assert stored_ms(part) > 0


def test_who_waits_too_long_computes_himself_and_stores_nothing(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "WAIT_SECONDS", 0.1)
    redis.client().set(f"{KIND.key(part)}:lock", "somebody", px=5000)
    assert caching.read(KIND, part, compute=lambda: 4) == 4
    assert redis.client().get(f"{KIND.key(part)}:lock") == "somebody"
    assert stored_ms(part) == -2


def test_what_cannot_be_read_is_computed_anew(part: str) -> None:
    redis.client().set(KIND.key(part), '"not a number"', px=110_000)
    assert caching.read(KIND, part, compute=lambda: 4) == 4
    assert redis.client().get(KIND.key(part)) == "4"


def test_keys_are_explicit_and_share_a_slot_with_their_lock() -> None:
    assert KIND.key(7, "2026-01-01") == "cache:{test.number:1:7:2026-01-01}"
    assert replace(KIND, version=2).key(7) != KIND.key(7)

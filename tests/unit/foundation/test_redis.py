"""The client of Redis: a server that does not answer costs one caller the time-out, the others go on at once."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from django.core import checks
from pytest_django import Settings
from redis.exceptions import ConnectionError as ConnectionFailed
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as TimedOut

from foundation import redis


@pytest.fixture(autouse=True)
def breaker(monkeypatch: pytest.MonkeyPatch) -> redis.Breaker:
    fresh = redis.Breaker()
    monkeypatch.setattr(redis, "breaker", fresh)
    return fresh


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(redis.time, "monotonic", lambda: now[0])
    return now


def is_admitted(breaker: redis.Breaker) -> bool:
    try:
        breaker.admit()
    except redis.RedisAway:
        return False
    return True


def test_closed_it_admits_everybody(breaker: redis.Breaker) -> None:
    breaker.succeeded()
    assert [is_admitted(breaker) for _ in range(3)] == [True, True, True]


@pytest.mark.parametrize(
    ("error", "pause"),
    [(TimedOut(), redis.SILENT_PAUSE_SECONDS), (ConnectionFailed(), redis.REFUSED_PAUSE_SECONDS)],
)
def test_after_a_failure_one_caller_tries_when_the_pause_is_over(
    breaker: redis.Breaker, moment: list[float], error: Exception, pause: float
) -> None:
    breaker.failed(error)
    assert not is_admitted(breaker)
    moment[0] = 1000.0 + pause - 0.001
    assert not is_admitted(breaker)
    moment[0] = 1000.0 + pause
    assert [is_admitted(breaker) for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert [is_admitted(breaker) for _ in range(3)] == [True, True, True]
    assert not breaker.is_open


def test_a_caller_that_never_came_back_is_replaced(breaker: redis.Breaker, moment: list[float]) -> None:
    breaker.failed(TimedOut())
    moment[0] += redis.SILENT_PAUSE_SECONDS
    assert is_admitted(breaker)
    moment[0] += redis.PROBE_SECONDS
    assert [is_admitted(breaker) for _ in range(2)] == [True, False]


@pytest.fixture
def black_hole(settings: Settings) -> Iterator[None]:
    """A server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        settings.REDIS_URL = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        yield


def test_a_black_hole_costs_one_caller_the_time_out(black_hole: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "SOCKET_TIMEOUT_SECONDS", 0.2)
    waits = []
    for _ in range(20):
        began = time.monotonic()
        with pytest.raises(RedisError):
            redis.client().ping()
        waits.append(time.monotonic() - began)
    assert waits[0] >= 0.2
    assert max(waits[1:]) < 0.1


def test_callers_in_the_same_moment_wait_together_not_one_after_the_other(
    black_hole: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "SOCKET_TIMEOUT_SECONDS", 0.2)

    def ask() -> None:
        with pytest.raises(RedisError):
            redis.client().ping()

    began = time.monotonic()
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 1.0


def test_connections_from_before_a_time_out_are_made_anew(breaker: redis.Breaker) -> None:
    client = redis.client()
    client.ping()
    connection = client.connection_pool.get_connection()
    first = connection._sock
    client.connection_pool.release(connection)
    breaker.failed(TimedOut())
    breaker.succeeded()
    client.ping()
    connection = client.connection_pool.get_connection()
    assert connection._sock is not first
    client.connection_pool.release(connection)


def test_an_answer_that_is_an_error_is_an_answer(breaker: redis.Breaker) -> None:
    breaker.failed(ConnectionFailed())
    breaker.succeeded()
    with pytest.raises(ResponseError):
        redis.client().execute_command("NO-SUCH-COMMAND")
    assert not breaker.is_open


def test_the_address_is_the_one_of_the_url(settings: Settings) -> None:
    settings.REDIS_URL = "redis://user:secret@10.0.0.7:6390/3"
    assert redis.master_address() == ("10.0.0.7", 6390)


def test_the_check_names_a_redis_that_evicts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert redis.check_eviction(None, databases=["default"]) == []
    monkeypatch.setattr(redis, "eviction_policy", lambda: "volatile-lru")
    assert redis.check_eviction(None) == []
    found = redis.check_eviction(None, databases=["default"])
    assert [(message.id, message.level) for message in found] == [("paysys.W032", checks.WARNING)]


def test_the_check_says_when_redis_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise ConnectionFailed("away")

    monkeypatch.setattr(redis, "eviction_policy", fail)
    assert [message.id for message in redis.check_eviction(None, databases=["default"])] == ["paysys.W031"]

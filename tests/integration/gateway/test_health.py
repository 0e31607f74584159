"""The breaker in Redis: opens on errors, lets probes through, closes on good answers; without Redis it is closed."""

from __future__ import annotations

import uuid

import pytest
from pytest_django import Settings

from foundation import redis as shared_redis
from gateway.services import health
from gateway.services.health import ChannelUnhealthy, Health, State

T0 = 1_800_000_000_000
"""A multiple of SLICE_MS."""


@pytest.fixture
def channel() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


def record(channel: str, count: int, *, is_error: bool, at: int = T0, milliseconds: int = 100) -> list[bool]:
    return [
        health.record(channel=channel, is_error=is_error, milliseconds=milliseconds, now_ms=at) for _ in range(count)
    ]


def look(channel: str, at: int = T0) -> Health:
    return health.look(channel=channel, now_ms=at)


def refused(channel: str, at: int) -> int:
    with pytest.raises(ChannelUnhealthy) as caught:
        health.admit(channel=channel, now_ms=at)
    assert caught.value.details == {"channel": channel, "reason": "channel_unhealthy"}
    assert (caught.value.code, caught.value.http_status) == ("busy", 503)
    return caught.value.retry_after_seconds


def opened(channel: str) -> None:
    record(channel, 20, is_error=True)
    assert look(channel).state is State.OPEN


def test_a_channel_nobody_called_is_closed(channel: str) -> None:
    health.admit(channel=channel, now_ms=T0)
    assert look(channel) == Health(state=State.CLOSED)


def test_half_of_at_least_twenty_calls_open_it(channel: str) -> None:
    record(channel, 10, is_error=False, milliseconds=50)
    assert record(channel, 9, is_error=True, milliseconds=150) == [False] * 9
    health.admit(channel=channel, now_ms=T0)
    assert look(channel) == Health(state=State.CLOSED, calls=19, errors=9, mean_ms=97)
    assert record(channel, 1, is_error=True, milliseconds=150) == [True]
    assert look(channel) == Health(state=State.OPEN, calls=20, errors=10, mean_ms=100)
    assert refused(channel, T0) == 30


def test_few_errors_among_many_do_not(channel: str) -> None:
    record(channel, 60, is_error=False)
    record(channel, 40, is_error=True)
    assert look(channel).state is State.CLOSED


def test_nineteen_errors_are_too_few(channel: str) -> None:
    record(channel, 19, is_error=True)
    health.admit(channel=channel, now_ms=T0)


def test_the_window_is_a_minute(channel: str) -> None:
    record(channel, 19, is_error=True)
    assert look(channel, T0 + 59_999).errors == 19
    assert look(channel, T0 + 60_000).errors == 0
    assert record(channel, 1, is_error=True, at=T0 + 60_000) == [False]
    assert look(channel, T0 + 60_000) == Health(state=State.CLOSED, calls=1, errors=1, mean_ms=100)
    fields = shared_redis.client().hkeys(f"gateway:health:{{{channel}}}")
    slice_no = (T0 + 60_000) // 5_000
    assert sorted(fields) == [f"c:{slice_no}", f"e:{slice_no}", f"l:{slice_no}"]


def test_open_for_thirty_seconds_then_three_probes(channel: str) -> None:
    opened(channel)
    assert refused(channel, T0 + 29_001) == 1
    assert look(channel, T0 + 29_999).state is State.OPEN
    half = T0 + 30_000
    assert look(channel, half).state is State.HALF_OPEN
    for _ in range(3):
        health.admit(channel=channel, now_ms=half)
    assert refused(channel, half + 1) == 30
    assert look(channel, half + 1).state is State.OPEN
    assert record(channel, 2, is_error=False, at=half + 2) == [False, False]
    assert refused(channel, half + 3) == 30
    record(channel, 1, is_error=False, at=half + 4)
    assert look(channel, half + 4) == Health(state=State.CLOSED)
    health.admit(channel=channel, now_ms=half + 5)


def test_one_error_of_a_probe_opens_it_again(channel: str) -> None:
    opened(channel)
    half = T0 + 30_000
    health.admit(channel=channel, now_ms=half)
    record(channel, 2, is_error=False, at=half)
    assert record(channel, 1, is_error=True, at=half + 10) == [True]
    assert refused(channel, half + 10) == 30
    assert refused(channel, half + 30_009) == 1
    health.admit(channel=channel, now_ms=half + 30_010)


def test_probes_that_died_are_replaced(channel: str) -> None:
    opened(channel)
    half = T0 + 30_000
    for _ in range(3):
        health.admit(channel=channel, now_ms=half)
    refused(channel, half + 29_999)
    for _ in range(3):
        health.admit(channel=channel, now_ms=half + 30_000)
    refused(channel, half + 30_001)


def test_staff_close_it(channel: str) -> None:
    opened(channel)
    health.reset(channel=channel)
    assert look(channel) == Health(state=State.CLOSED)


def test_it_forgets_itself(channel: str) -> None:
    record(channel, 1, is_error=True)
    assert 0 < shared_redis.client().pttl(f"gateway:health:{{{channel}}}") <= 600_000


def test_without_redis_calls_go_on_and_redis_is_left_alone_for_a_while(
    channel: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(channel)
    monkeypatch.setattr(health, "_away_until", 0.0)
    url = settings.REDIS_URL
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    health.admit(channel=channel, now_ms=T0)
    assert record(channel, 1, is_error=True) == [False]
    assert look(channel) == Health(state=State.CLOSED)
    settings.REDIS_URL = url
    shared_redis.breaker.succeeded()  # of the process: it would turn callers away for some seconds more
    health.admit(channel=channel, now_ms=T0)
    monkeypatch.setattr(health, "_away_until", 0.0)
    assert refused(channel, T0) == 30

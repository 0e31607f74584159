"""Requests within a sliding window, counted for all processes together in Redis (library `limits`).

The window is the library's sliding window counter: the running window's count, and that of the window before it by the
share that still lies within. It never lets through more than the limit by fixed edges, and needs two keys a caller:

    limits:{LIMITER/<name>/<who>/<requests>/<seconds>/second}      integer  the running window; ends after two windows
    limits:{LIMITER/…}/-1                                          integer  the window before it

While Redis is away each process counts by itself, so that together they let through as many times the limit as there
are processes: a limit is no reason to refuse reads. What moves money is refused then by others (the validator, the
nonces of business backends), which cannot do without Redis. What was counted there is forgotten when Redis is back.
"""

from __future__ import annotations

import functools
import math

import structlog
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.connection import ConnectionPool
from redis.exceptions import RedisError

from foundation import redis
from foundation.limiter_settings import Window

logger = structlog.get_logger("limiter")

KEY_PREFIX = "limits"


def hit(*, name: str, who: str, window: Window) -> int:
    """Counts one request of `who` under the limit `name`. 0: it is within; else the seconds after which one fits again.

    A request that is refused is not counted. Never raises for a Redis that is away.
    """
    item = RateLimitItemPerSecond(window.requests, window.seconds)
    try:
        return _hit(_shared(redis.client().connection_pool), item, name, who)
    except RedisError as error:
        logger.debug("counted in this process only, Redis is away", limit=name, error=str(error))
        return _hit(_own(), item, name, who)


def forget(*, name: str, who: str, window: Window) -> None:
    """Lets `who` begin anew. Raises redis.RedisError."""
    item = RateLimitItemPerSecond(window.requests, window.seconds)
    _shared(redis.client().connection_pool).clear(item, name, who)


def _hit(strategy: SlidingWindowCounterRateLimiter, item: RateLimitItemPerSecond, name: str, who: str) -> int:
    if strategy.hit(item, name, who):
        return 0
    storage = strategy.storage
    assert isinstance(storage, RedisStorage | MemoryStorage)
    found = storage.get_sliding_window(item.key_for(name, who), item.get_expiry())
    return wait_seconds(requests=item.amount, seconds=item.get_expiry(), counted=found)


def wait_seconds(*, requests: int, seconds: int, counted: tuple[int, float, int, float]) -> int:
    """Whole seconds (1 or more) until another request fits.

    `counted`: requests of the window before, seconds until none of it lies within; requests of the running window,
    seconds until none of it does (up to two windows, for it becomes the window before).
    """
    before, before_left, running, running_left = counted
    room = requests - running
    if room > 0:  # enough of the window before must have slid out
        wait = before_left - room * seconds / before if before else 0.0
    else:
        wait = running_left - seconds + max(0.0, seconds - requests * seconds / running)
    return max(1, math.ceil(wait))


@functools.lru_cache(maxsize=4)
def _shared(pool: ConnectionPool) -> SlidingWindowCounterRateLimiter:
    """On the pool of foundation.redis: its breaker, its time-outs, its Sentinels."""
    return SlidingWindowCounterRateLimiter(RedisStorage("redis://", connection_pool=pool, key_prefix=KEY_PREFIX))


@functools.lru_cache(maxsize=1)
def _own() -> SlidingWindowCounterRateLimiter:
    return SlidingWindowCounterRateLimiter(MemoryStorage())

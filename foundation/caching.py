"""Answers that may be a little old (缓存设计): kept in Redis, computed by one caller for all who ask at that time.

A kind of answer is a `Kind`: a name, how long it is fresh, how long an old one may stand in while somebody computes it
anew. Keys of one answer share a hash slot and are made of the kind's name, its version and the parts that the caller
gives:

    cache:{<name>:<version>:<parts>}        string  JSON of the value; ends fresh + stale seconds after it was computed
    cache:{<name>:<version>:<parts>}:lock   string  who computes it now; ends after LOCK_SECONDS

`forget` drops both. Whoever computes at that moment has read what was before, and may not store it any more: storing
needs the lock. So a change that commits and then forgets is seen by everybody who asks afterwards. Call it by
`forget_after_commit`: before the commit it would be computed anew from the old rows, after a roll-back for nothing.

Redis away, or a computer that takes too long: the caller computes himself, and callers of one process with the same key
share that (`_flights`); what limits the requests of a process (foundation.limiter) limits this too. Never an error of
the cache's own. What is computed must come of committed rows: ask for no cached answer in a transaction that writes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
from django.db import DatabaseError, transaction
from prometheus_client import Counter
from redis.exceptions import RedisError

from foundation import redis

logger = structlog.get_logger("caching")

Value = TypeVar("Value")

LOCK_SECONDS = 10
"""A computer that died is replaced after this."""
WAIT_SECONDS = 3.0
"""Who finds another one computing, and no old answer, waits this long; then he computes himself."""
POLL_SECONDS = 0.01

READS = Counter(
    "paysys_cache_reads",
    "Answers by where they came from: fresh, stale, computed, waited (for another one), alone (without Redis).",
    ["kind", "source"],
)


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[Value]):
    """One kind of cached answers.

    `fresh_seconds` may depend on the value; within it nobody computes. For `stale_seconds` more an old answer is given
    to everybody but the one who computes it anew. `version` changes with the form of the value. `dump` makes JSON data,
    `load` makes the value of it again.
    """

    name: str
    version: int
    fresh_seconds: float | Callable[[Value], float]
    stale_seconds: float
    dump: Callable[[Value], Any]
    load: Callable[[Any], Value]

    def key(self, *parts: object) -> str:
        """Where the answer lies. Parts are numbers, dates, and codes of ours: nothing that a client types freely."""
        return f"cache:{{{':'.join([self.name, str(self.version), *map(str, parts)])}}}"

    def lives_ms(self, value: Value) -> int:
        fresh = self.fresh_seconds(value) if callable(self.fresh_seconds) else self.fresh_seconds
        return max(1, round((fresh + self.stale_seconds) * 1000))


# KEYS value, lock; ARGV token, ms of the lock, ms for which an old value may stand in.
# Answers {value or false, fresh | compute (he has the lock) | stale (another one has it)}.
_READ = """
local value = redis.call('GET', KEYS[1])
if value and redis.call('PTTL', KEYS[1]) > tonumber(ARGV[3]) then return {value, 'fresh'} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {value, 'compute'} end
return {value, 'stale'}
"""

# KEYS as above; ARGV token, value, ms to live. Only who still holds the lock stores.
_STORE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
"""

# KEYS lock; ARGV token.
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


def read(kind: Kind[Value], *parts: object, compute: Callable[[], Value]) -> Value:
    """The answer, at most fresh + stale seconds old, or computed now. Raises what `compute` raises, nothing else.

    Of any number of callers in all processes one computes; the others get the old answer, or wait for the new one.
    """
    key = kind.key(*parts)
    deadline = time.monotonic() + WAIT_SECONDS
    has_waited = False
    token = secrets.token_hex(8)
    while True:
        try:
            text, standing = _ask(key, token, kind)
        except RedisError:
            return _alone(kind, key, compute)
        old = _loaded(kind, key, text)
        if standing == "compute":
            return _computed(kind, key, token, old, compute)
        if old is not None:
            READS.labels(kind.name, "waited" if has_waited else standing).inc()
            return old[0]
        if time.monotonic() > deadline:
            logger.warning("cached answer not computed in time, another one computes", key=key)
            return _alone(kind, key, compute)
        has_waited = True
        time.sleep(POLL_SECONDS)


def forget(kind: Kind[Any], *parts: object) -> None:
    """Drops the answer, and what is being computed now will not be stored. With Redis away it ends by its age."""
    key = kind.key(*parts)
    with _lock:
        _flights.pop(key, None)
    try:
        redis.client().delete(key, _lock_key(key))
    except RedisError:
        logger.warning("cached answer not forgotten, it ends by its age", key=key, exc_info=True)


def forget_after_commit(kind: Kind[Any], *parts: object, using: str) -> None:
    """As `forget`, once the transaction that is open on alias `using` has committed; now, when none is open."""
    transaction.on_commit(functools.partial(forget, kind, *parts), using=using, robust=True)


def _ask(key: str, token: str, kind: Kind[Any]) -> tuple[str | None, str]:
    arguments = [token, LOCK_SECONDS * 1000, round(kind.stale_seconds * 1000)]
    text, standing = _script(_READ)(keys=[key, _lock_key(key)], args=arguments, client=redis.client())
    return text, str(standing)


def _computed(kind: Kind[Value], key: str, token: str, old: tuple[Value] | None, compute: Callable[[], Value]) -> Value:
    """By the one who holds the lock. Where the database fails an old answer stands in as long as there is one."""
    try:
        value = compute()
        text = json.dumps(kind.dump(value), separators=(",", ":"))
    except DatabaseError:
        _release(key, token)
        if old is None:
            raise
        logger.warning("cached answer not computed anew, the old one holds", key=key, exc_info=True)
        READS.labels(kind.name, "stale").inc()
        return old[0]
    except BaseException:
        _release(key, token)
        raise
    READS.labels(kind.name, "computed").inc()
    try:
        _script(_STORE)(keys=[key, _lock_key(key)], args=[token, text, kind.lives_ms(value)], client=redis.client())
    except RedisError:
        logger.warning("answer not cached", key=key, exc_info=True)
    return value


def _loaded(kind: Kind[Value], key: str, text: str | None) -> tuple[Value] | None:
    """None for nothing; a value may be None itself."""
    if text is None:
        return None
    try:
        return (kind.load(json.loads(text)),)
    except (ValueError, TypeError, KeyError, IndexError):
        logger.exception("cached answer not readable, it is computed anew", key=key)
        with contextlib.suppress(RedisError):  # then it is asked for once more, and computed here
            redis.client().delete(key)
        return None


def _release(key: str, token: str) -> None:
    try:
        _script(_RELEASE)(keys=[_lock_key(key)], args=[token], client=redis.client())
    except RedisError:
        logger.warning("lock not released, it ends by its age", key=key, exc_info=True)


def _lock_key(key: str) -> str:
    return f"{key}:lock"


@functools.lru_cache(maxsize=4)
def _script(text: str) -> Any:
    return redis.client().register_script(text)


# --- Without Redis: callers of one process share a computation ------------------------------------------------------

_lock = threading.Lock()
_flights: dict[str, Future[Any]] = {}


def _alone(kind: Kind[Value], key: str, compute: Callable[[], Value]) -> Value:
    READS.labels(kind.name, "alone").inc()
    with _lock:
        flight = _flights.get(key)
        is_mine = flight is None
        if flight is None:
            flight = _flights[key] = Future()
    if not is_mine:
        shared: Value = flight.result()
        return shared
    try:
        value = compute()
    except BaseException as error:
        flight.set_exception(error)
        raise
    else:
        flight.set_result(value)
        return value
    finally:
        with _lock:
            if _flights.get(key) is flight:
                del _flights[key]

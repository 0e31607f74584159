"""Clients of the shared Redis. Redis is a ticket dispenser and a cache: never the truth about money.

One server (settings.REDIS_URL), or a master that Sentinels name (settings.REDIS_SENTINELS, a list of host:port; the
user, password and database number of REDIS_URL are used for it, its host is not). Every caller has a path without
Redis, so nothing here waits or tries again: a failure is raised at once, and a breaker makes sure that a server that
does not answer costs one caller of a process the time-out and not every one (design `faults.md` 3.5, 4.3).
"""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

import redis
import structlog
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.exceptions import ConnectionError as ConnectionFailed
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as TimedOut
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

logger = structlog.get_logger("redis")

SOCKET_TIMEOUT_SECONDS = 0.8
"""Redis answers in microseconds, the largest packet's keys are written in some 30 ms; a busy machine gets the rest."""
CONNECT_TIMEOUT_SECONDS = 0.5
SENTINEL_TIMEOUT_SECONDS = 0.2
"""Of one Sentinel; a dead one is asked last the next time."""
SILENT_PAUSE_SECONDS = 1.0
"""After a time-out nobody asks for this long, then one caller tries: about every other second one caller waits."""
REFUSED_PAUSE_SECONDS = 0.2
"""After a refused connection, which costs nothing to find out but a question to the Sentinels."""
PROBE_SECONDS = 2.0
"""The one caller that tries has this long; then another one may. Longer than all of the time-outs together."""
MAX_CONNECTIONS = 1000
"""More than any process has threads: a pool that runs dry would look like a Redis that is away."""
SAFE_POLICY = "noeviction"


class RedisAway(ConnectionFailed):
    """Redis failed a moment ago: nothing was sent, nobody waited."""


class Breaker:
    """Remembers that Redis failed, for one process. Safe for threads; costs one attribute while all is well.

    closed: everybody may ask. open: `admit` raises RedisAway. After the pause one caller tries; its success closes,
    its failure opens again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_open = False
        self._closed_to_all_until = 0.0
        self.epoch = 0
        """Grows with every time-out: connections made before it lead to a server that was silent."""

    def admit(self) -> None:
        """Raises RedisAway while Redis is taken for dead."""
        if not self._is_open:
            return
        with self._lock:
            moment = time.monotonic()
            if moment < self._closed_to_all_until:
                raise RedisAway("Redis failed a moment ago")
            self._closed_to_all_until = moment + PROBE_SECONDS

    def failed(self, error: Exception) -> None:
        """A connection could not be made, or an answer did not come."""
        pause = SILENT_PAUSE_SECONDS if isinstance(error, TimedOut) else REFUSED_PAUSE_SECONDS
        with self._lock:
            was_open, self._is_open = self._is_open, True
            self.epoch += isinstance(error, TimedOut)
            self._closed_to_all_until = max(self._closed_to_all_until, time.monotonic() + pause)
        if not was_open:
            logger.warning("redis is away", error=repr(error))

    def succeeded(self) -> None:
        """An answer came."""
        if not self._is_open:
            return
        with self._lock:
            was_open, self._is_open = self._is_open, False
            self._closed_to_all_until = 0.0
        if was_open:
            logger.warning("redis is back")

    @property
    def is_open(self) -> bool:
        return self._is_open


breaker = Breaker()
"""Of this process; a client of another kind that speaks to the same Redis must ask and tell it too."""


class _Guarded:
    """Mixed into a connection: what it meets is told to the breaker.

    After a time-out every older connection is made anew when it is used next: each would cost a time-out of its own,
    and the Sentinels may have named another master.
    """

    _epoch = 0

    def connect(self) -> None:
        """Called before every command, also on a living connection."""
        if self._epoch != breaker.epoch:
            self.disconnect()  # type: ignore[attr-defined]
            self._epoch = breaker.epoch
        try:
            super().connect()  # type: ignore[misc]
        except (ConnectionFailed, TimedOut) as error:
            breaker.failed(error)
            raise

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self._epoch != breaker.epoch:
            self.connect()
        super().send_packed_command(command, check_health=check_health)  # type: ignore[misc]

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            answer = super().read_response(*args, **kwargs)  # type: ignore[misc]
        except TimedOut as error:
            if "timeout" not in kwargs:  # a subscriber's own patience says nothing about the server
                breaker.failed(error)
            raise
        except ResponseError:
            breaker.succeeded()
            raise
        breaker.succeeded()
        return answer


class _GuardedConnection(_Guarded, Connection):
    pass


class _GuardedSSLConnection(_Guarded, SSLConnection):
    pass


class _GuardedSentinelConnection(_Guarded, SentinelManagedConnection):
    pass


class _GuardedPool(ConnectionPool):
    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        breaker.admit()
        return super().get_connection(*args, **kwargs)


class _GuardedSentinelPool(SentinelConnectionPool):
    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        breaker.admit()
        return super().get_connection(*args, **kwargs)


def _options() -> dict[str, Any]:
    return {
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "health_check_interval": 30,
        "max_connections": MAX_CONNECTIONS,
        "retry": Retry(NoBackoff(), 0),  # the caller has a path without Redis; waiting here would only delay it
        "decode_responses": True,
        "protocol": 2,  # with 3 the pool does not notice that the server closed an idle connection
    }


@functools.lru_cache(maxsize=1)
def _client(url: str) -> redis.Redis:
    parts = parse_url(url)
    is_secure = issubclass(parts.pop("connection_class", Connection), SSLConnection)
    connection_class = _GuardedSSLConnection if is_secure else _GuardedConnection
    if "path" in parts:
        raise ValueError("Redis is reached over TCP here, not by a local socket")
    return redis.Redis.from_pool(_GuardedPool(connection_class=connection_class, **{**parts, **_options()}))


@functools.lru_cache(maxsize=1)
def _sentinel(sentinels: tuple[str, ...], password: str) -> Sentinel:
    addresses = [(host, int(port)) for host, _, port in (text.rpartition(":") for text in sentinels)]
    options = {
        "socket_timeout": SENTINEL_TIMEOUT_SECONDS,
        "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "password": password or None,
        "protocol": 2,
    }
    return Sentinel(addresses, sentinel_kwargs=options)


@functools.lru_cache(maxsize=1)
def _sentinel_client(url: str, sentinels: tuple[str, ...], password: str, master: str) -> redis.Redis:
    parts = {name: value for name, value in parse_url(url).items() if name in ("username", "password", "db")}
    pool = _GuardedSentinelPool(
        master,
        _sentinel(sentinels, password),
        connection_class=_GuardedSentinelConnection,
        **{**parts, **_options()},
    )
    return redis.Redis.from_pool(pool)


def client() -> redis.Redis:
    """The process's client (connection pool inside, safe for threads and after fork).

    Its calls raise redis.RedisError: RedisAway at once while the breaker is open. With Sentinels it follows the master.
    """
    sentinels = tuple(settings.REDIS_SENTINELS)
    if sentinels:
        return _sentinel_client(
            settings.REDIS_URL, sentinels, settings.REDIS_SENTINEL_PASSWORD, settings.REDIS_SENTINEL_MASTER
        )
    return _client(settings.REDIS_URL)


def master_address() -> tuple[str, int]:
    """(host, port) of the Redis to connect to now; with Sentinels they are asked. Raises redis.RedisError.

    For clients of another kind: ask again after every broken connection and every READONLY answer, ask
    `breaker.admit()` before, and tell the breaker the outcome.
    """
    if settings.REDIS_SENTINELS:
        sentinel = _sentinel(tuple(settings.REDIS_SENTINELS), settings.REDIS_SENTINEL_PASSWORD)
        host, port = sentinel.discover_master(settings.REDIS_SENTINEL_MASTER)
        return str(host), int(port)
    parts = parse_url(settings.REDIS_URL)
    return str(parts.get("host", "localhost")), int(parts.get("port", 6379))


def eviction_policy() -> str:
    """What the server does when its memory is full, such as "noeviction". May raise redis.RedisError."""
    return str(client().info("memory").get("maxmemory_policy", ""))


@checks.register(Tags.database)
def check_eviction(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Asks Redis like the MariaDB servers are asked: with `check --database …` and by `migrate`."""
    if not databases:
        return []
    try:
        policy = eviction_policy()
    except RedisError as error:
        return [checks.Warning(f"Redis does not answer: {error!r}.", id="paysys.W031")]
    if policy != SAFE_POLICY:
        return [
            checks.Warning(
                f"Redis evicts keys when its memory is full ({policy}): shares that people took would come back.",
                hint=f"maxmemory-policy {SAFE_POLICY}",
                id="paysys.W032",
            )
        ]
    return []

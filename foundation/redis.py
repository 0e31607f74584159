"""Clients of the shared Redis. Redis is a ticket dispenser and a cache: never the truth about money."""

from __future__ import annotations

import functools

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

SOCKET_TIMEOUT_SECONDS = 2.0
"""A grab must be refused or go to the database path sooner than a person gives up; Redis answers in microseconds."""


MAX_CONNECTIONS = 1000
"""More than any process has threads: a pool that runs dry would look like a Redis that is away."""


@functools.lru_cache(maxsize=1)
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=SOCKET_TIMEOUT_SECONDS,
        health_check_interval=30,
        max_connections=MAX_CONNECTIONS,
        retry=Retry(NoBackoff(), 0),  # the caller has a path without Redis; waiting here would only delay it
        decode_responses=True,
    )


def client() -> redis.Redis:
    """The process's client (connection pool inside, safe for threads and after fork)."""
    return _client(settings.REDIS_URL)

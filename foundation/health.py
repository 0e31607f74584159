"""/healthz: the process lives. /readyz: databases, Redis and broker answer."""

from __future__ import annotations

from django.db import Error as DatabaseProblem
from django.db import connections
from django.http import HttpRequest, JsonResponse
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from foundation import redis
from foundation.db import roles

BROKER_TIMEOUT_SECONDS = 2


def healthz(request: HttpRequest) -> JsonResponse:
    """200 while the process can answer at all."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when everything this process needs answers, else 503 with what does not."""
    checks = {f"database:{alias}": _database(alias) for alias in roles.all_aliases()}
    checks["redis"] = _redis()
    checks["broker"] = _broker()
    is_ready = all(state == "ok" for state in checks.values())
    return JsonResponse(
        {"status": "ok" if is_ready else "unavailable", "checks": checks}, status=200 if is_ready else 503
    )


def _database(alias: str) -> str:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseProblem as error:
        return type(error).__name__
    return "ok"


def _redis() -> str:
    try:
        redis.client().ping()
    except RedisError as error:
        return type(error).__name__
    return "ok"


def _broker() -> str:
    from celery import current_app

    try:
        with current_app.connection_for_write(connect_timeout=BROKER_TIMEOUT_SECONDS) as connection:
            connection.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT_SECONDS)
    except (OSError, BrokerError, RedisError) as error:
        return type(error).__name__
    return "ok"

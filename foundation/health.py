"""/healthz: the process lives. /readyz: databases, Redis and broker answer; and figures of what waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
from django.db import Error as DatabaseProblem
from django.db import connections
from django.http import HttpRequest, JsonResponse
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from foundation import redis
from foundation.db import roles

logger = structlog.get_logger("health")

BROKER_TIMEOUT_SECONDS = 2
Figures = Callable[[], Mapping[str, int | float]]
_figures: dict[str, Figures] = {}


def register_figures(name: str, read: Figures) -> None:
    """Adds figures that /readyz shows under `name`; they never make a process unready. Same name again replaces it."""
    _figures[name] = read


def healthz(request: HttpRequest) -> JsonResponse:
    """200 while the process can answer at all."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when everything this process needs answers, else 503 with what does not."""
    checks = {f"database:{alias}": _database(alias) for alias in roles.all_aliases()}
    checks["redis"] = _redis()
    checks["broker"] = _broker()
    is_ready = all(state == "ok" for state in checks.values())
    body = {"status": "ok" if is_ready else "unavailable", "checks": checks, "figures": _read_figures()}
    return JsonResponse(body, status=200 if is_ready else 503)


def _read_figures() -> dict[str, Mapping[str, int | float]]:
    found: dict[str, Mapping[str, int | float]] = {}
    for name, read in _figures.items():
        try:
            found[name] = read()
        except DatabaseProblem:
            logger.warning("figures not read", name=name, exc_info=True)
            found[name] = {}
    return found


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

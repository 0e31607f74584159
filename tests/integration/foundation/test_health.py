"""Health addresses tell the truth about each server, without a log-in and without its secrets."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import ConnectionError as RedisAway

from foundation import health

pytestmark = [pytest.mark.django_db(databases="__all__"), pytest.mark.filterwarnings("ignore:No directory at")]

ALL_OK = {
    **{f"database:{alias}": "ok" for alias in ("default", "funds", "redpacket", "orders_0", "orders_1")},
    "redis": "ok",
    "broker": "ok",
}


def test_the_process_lives_without_any_server(client: Client) -> None:
    with patch.object(health, "connections", None):
        response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_when_everything_answers(client: Client) -> None:
    response = client.get("/readyz")
    body = response.json()
    assert (response.status_code, body["status"], body["checks"]) == (200, "ok", ALL_OK)
    assert set(body["figures"]["settlement"]) == {
        "claims_waiting",
        "oldest_seconds",
        "batches_failing",
        "lag_worst_seconds",
        "lag_median_seconds",
    }


def test_figures_that_cannot_be_read_do_not_make_it_unready(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> dict[str, int]:
        raise OperationalError(2013, "secret")

    monkeypatch.setitem(health._figures, "settlement", fail)
    response = client.get("/readyz")
    assert (response.status_code, response.json()["figures"]) == (200, {"settlement": {}})


@pytest.mark.parametrize("error", [OperationalError(2003, "secret host"), InterfaceError(0, "")], ids=repr)
def test_a_database_that_is_away(client: Client, error: Exception) -> None:
    class Away:
        def __getitem__(self, alias: str) -> object:
            if alias == "orders_1":
                raise error
            return real[alias]

    real = health.connections
    with patch.object(health, "connections", Away()):
        response = client.get("/readyz")
    assert response.status_code == 503
    body = response.json()
    assert (body["status"], body["checks"]) == (
        "unavailable",
        {**ALL_OK, "database:orders_1": type(error).__name__},
    )
    assert b"secret" not in response.content


def test_redis_away(client: Client) -> None:
    with patch("foundation.redis.client", side_effect=RedisAway("secret")):
        response = client.get("/readyz")
    assert (response.status_code, response.json()["checks"]) == (503, {**ALL_OK, "redis": "ConnectionError"})


@pytest.mark.parametrize("error", [BrokerError("secret"), ConnectionRefusedError("secret")], ids=repr)
def test_the_broker_away(client: Client, error: Exception) -> None:
    with patch("kombu.Connection.ensure_connection", side_effect=error):
        response = client.get("/readyz")
    assert (response.status_code, response.json()["checks"]) == (503, {**ALL_OK, "broker": type(error).__name__})


def test_metrics_are_prometheus_text(client: Client) -> None:
    client.get("/healthz")
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain; version=")
    assert b"django_http_requests_total_by_method_total" in response.content

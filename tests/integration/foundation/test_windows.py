"""Sliding windows by caller, address and endpoint: on a real Redis, and without any."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.test import Client, RequestFactory
from pytest_django import Settings
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from foundation import limiter_settings, limiter_windows
from foundation import redis as shared_redis
from foundation.api.addresses import client_address, counted_address
from foundation.api.throttles import WindowThrottle
from foundation.limiter_settings import ADDRESS, CALLER, Row, Window
from identity.models import Employee
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")

WALLET = "endpoint:GET api/v1/wallet"


@pytest.fixture(autouse=True)
def limits_as_they_were() -> Iterator[None]:
    yield
    limiter_settings.apply([])
    shared_redis.breaker.succeeded()


@pytest.fixture
def someone() -> str:
    """A caller nobody was."""
    return uuid.uuid4().hex


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and Redis is away."""

    def go() -> None:
        gone = redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
        monkeypatch.setattr(limiter_windows.redis, "client", lambda: gone)

    return go


def hits(who: str, window: Window, times: int) -> list[int]:
    return [limiter_windows.hit(name="test", who=who, window=window) for _ in range(times)]


def test_so_many_pass_and_the_next_is_told_how_long_to_wait(someone: str) -> None:
    window = Window(requests=5, seconds=60)
    answers = hits(someone, window, 7)
    assert answers[:5] == [0] * 5
    assert all(55 <= answer <= 60 for answer in answers[5:])
    assert hits(f"{someone}-other", window, 1) == [0]
    limiter_windows.forget(name="test", who=someone, window=window)
    assert hits(someone, window, 1) == [0]


def test_a_crowd_of_processes_and_threads_shares_one_count(someone: str) -> None:
    window, passed, lock = Window(requests=25, seconds=60), [], threading.Lock()

    def come() -> None:
        for _ in range(10):
            answer = limiter_windows.hit(name="test", who=someone, window=window)
            with lock:
                passed.append(answer == 0)

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(passed), passed.count(True)) == (80, 25)


def test_without_redis_each_process_counts_by_itself_and_nothing_fails(someone: str, away: Callable[[], None]) -> None:
    window = Window(requests=3, seconds=600)
    assert hits(someone, window, 3) == [0, 0, 0]
    assert hits(someone, window, 1)[0] > 0
    away()
    assert hits(someone, window, 3) == [0, 0, 0]
    assert 0 < hits(someone, window, 1)[0] <= 1200


class Counted(APIView):
    permission_classes = (AllowAny,)
    throttle_classes = (WindowThrottle,)
    calls = 0

    def get(self, request: Request) -> Response:
        Counted.calls += 1
        return Response({"ok": True})


def ask(employee: Employee | None = None, *, address: str = "192.0.2.9", language: str = "en") -> Response:
    request = APIRequestFactory().get("/api/v1/wallet", REMOTE_ADDR=address, HTTP_ACCEPT_LANGUAGE=language)
    if employee is not None:
        force_authenticate(request, user=employee)
    return Counted.as_view()(request)  # type: ignore[no-any-return]


def stranger() -> Employee:
    return Employee(pk=uuid.uuid4().int % 10**12)


def test_a_caller_above_his_limit_is_told_429_in_our_format_and_the_view_is_not_reached() -> None:
    limiter_settings.apply([Row(name=CALLER, amount=2, seconds=60)])
    employee, before = stranger(), Counted.calls
    assert [ask(employee).status_code for _ in range(2)] == [200, 200]
    refused = ask(employee, language="zh-CN")
    error = refused.data["error"]
    wait = error["details"]["retry_after_seconds"]
    assert (refused.status_code, error["code"], error["message"]) == (429, "rate_limited", "请求过于频繁。")
    assert error["details"] == {"limit": "caller", "retry_after_seconds": wait}
    assert 55 <= wait <= 60
    assert refused["Retry-After"] == str(wait)
    assert Counted.calls - before == 2
    assert ask(stranger()).status_code == 200
    limiter_settings.apply([Row(name=CALLER, amount=0, seconds=60)])
    assert ask(employee).status_code == 200


def test_addresses_are_counted_where_they_are_known_and_an_ipv6_network_is_one(settings: Settings) -> None:
    limiter_settings.apply([Row(name=ADDRESS, amount=2, seconds=60)])
    part = f"{uuid.uuid4().hex[:3]}0:{uuid.uuid4().hex[:4]}"
    line = [f"2001:db8:{part}::{number}" for number in range(1, 4)]
    settings.TRUSTED_PROXIES = None
    assert [ask(address=address).status_code for address in line] == [200, 200, 200]
    settings.TRUSTED_PROXIES = 0
    assert [ask(address=address).status_code for address in line] == [200, 200, 429]
    assert ask(address=line[0]).data["error"]["details"]["limit"] == "address"
    assert ask(address=f"2001:db9:{part}::1").status_code == 200


@pytest.mark.parametrize(
    ("peer", "forwarded", "known"),
    [
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),
        ("10.1.2.3", "198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", "203.0.113.99, 198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", "", ""),
        ("10.1.2.3", "not an address", ""),
        ("10.1.2.3", "198.51.100.1:4711", ""),
        ("", "::ffff:198.51.100.1", "198.51.100.1"),
        ("fe80::1", "198.51.100.1", "fe80::1"),
    ],
)
def test_who_is_no_proxy_of_ours_cannot_say_where_he_comes_from(
    settings: Settings, peer: str, forwarded: str, known: str
) -> None:
    settings.TRUSTED_PROXIES = 1
    request = RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)
    assert client_address(request) == known


def test_addresses_are_counted_by_line() -> None:
    assert counted_address("198.51.100.1") == "198.51.100.1"
    assert counted_address("2001:db8:1:2:3::4") == "2001:db8:1:2::/64"


def test_one_endpoint_may_have_a_limit_for_all_callers_together() -> None:
    first, second = (bearer(employee) for employee in worlds.make_world(2).employees)
    seconds = 60 + uuid.uuid4().int % 1000  # a window that no other test began
    limiter_settings.apply([Row(name=WALLET, amount=3, seconds=seconds)])
    statuses = [get(one, "/api/v1/wallet").status_code for one in (first, second, first, second)]
    assert statuses == [200, 200, 200, 429]
    assert get(second, "/api/v1/wallet").json()["error"]["details"]["limit"] == "endpoint"
    assert get(second, "/api/v1/orders").status_code == 200


def test_the_grab_is_not_counted_twice(settings: Settings) -> None:
    limiter_settings.apply([Row(name=CALLER, amount=1, seconds=600)])
    token = bearer(worlds.make_world(1).employees[0])
    address = f"/api/v1/redpackets/{'0' * 32}/grab"
    statuses = {Client().post(address, headers=token).status_code for _ in range(3)}
    assert statuses == {404}


def bearer(employee: Employee) -> dict[str, str]:
    return {"Authorization": f"Bearer {worlds.token_of(employee)}"}


def get(headers: dict[str, str], address: str) -> Any:
    return Client().get(address, headers=headers)


# --- Without Redis ----------------------------------------------------------------------------------------------------


def test_without_redis_reads_go_on_and_what_moves_money_is_refused(settings: Settings) -> None:
    limiter_settings.apply([Row(name=CALLER, amount=50, seconds=60)])
    settings.VALIDATOR = "required"
    payer, payee = worlds.make_world(2).employees
    worlds.give_money(payer, 1_000)
    headers = bearer(payer)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert get(headers, "/api/v1/wallet").json()["available_fen"] == 1_000
    refused = Client().post(
        "/api/v1/transfers",
        {"to_employee": payee.code, "amount_fen": 100, "memo": ""},
        content_type="application/json",
        headers={**headers, "Idempotency-Key": "k1", "X-Pay-Token": "t", "X-Pay-Seq": "1"},
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
    assert int(refused["Retry-After"]) >= 1
    assert get(headers, "/api/v1/wallet").json()["available_fen"] == 1_000

"""The door in front of the API: blocked callers and too many misdeeds, on a real Redis; by address and by employee."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import redis
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import Settings
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from foundation import door
from foundation.api.door import DoorMiddleware, client_address
from foundation.api.throttles import DoorThrottle
from identity.models import Employee

pytestmark = pytest.mark.django_db(databases="__all__")
STRIKES_ALLOWED = 30


@pytest.fixture(autouse=True)
def directly(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = 0


@pytest.mark.parametrize(
    ("proxies", "forwarded", "known"),
    [
        (None, "198.51.100.1", ""),
        (0, "198.51.100.1", "10.0.0.9"),
        (1, "198.51.100.1", "198.51.100.1"),
        (1, "10.9.9.9, 198.51.100.1", "198.51.100.1"),
        (2, "10.9.9.9, 198.51.100.1, 10.0.0.1", "198.51.100.1"),
        (2, "198.51.100.1", ""),
        (1, "", ""),
    ],
)
def test_an_address_is_known_when_the_proxies_are_counted(
    settings: Settings, proxies: int | None, forwarded: str, known: str
) -> None:
    settings.TRUSTED_PROXIES = proxies
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.9", HTTP_X_FORWARDED_FOR=forwarded)
    assert client_address(request) == known


@pytest.fixture
def address() -> Iterator[str]:
    """An address nobody used."""
    text = f"2001:db8::{uuid.uuid4().hex[:4]}:{uuid.uuid4().hex[:4]}"
    yield text
    door.publish_blocked([])
    door.reopen(f"address:{text}")


class Counting:
    """A view behind the middleware that counts how often it was reached."""

    def __init__(self, status: int) -> None:
        self.status, self.calls = status, 0

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.calls += 1
        return HttpResponse(status=self.status)


def test_a_blocked_address_is_met_in_whatever_form_it_was_typed(address: str) -> None:
    door.publish_blocked(["address:2001:0DB8:0::00fe", "address:nobody"])
    assert ask(Counting(200), "2001:db8::fe").status_code == 403
    assert ask(Counting(200), address).status_code == 200


def ask(view: Counting, address: str, path: str = "/api/v1/wallet") -> HttpResponse:
    return DoorMiddleware(view)(RequestFactory().get(path, REMOTE_ADDR=address))


def test_a_blocked_address_is_refused_before_the_view_and_admitted_when_it_is_taken_off(address: str) -> None:
    view = Counting(200)
    door.publish_blocked([f"address:{address}", "employee:1"])
    answer = ask(view, address)
    assert (answer.status_code, view.calls) == (403, 0)
    assert b'"caller_blocked"' in answer.content
    assert ask(view, address, "/notify/wechat").status_code == 200
    door.publish_blocked(["employee:1"])
    assert (ask(view, address).status_code, view.calls) == (200, 2)


def test_too_many_refused_requests_close_the_door_for_a_while(address: str, settings: Settings) -> None:
    view = Counting(401)
    statuses = [ask(view, address).status_code for _ in range(STRIKES_ALLOWED + 1)]
    assert set(statuses) == {401}
    shut = ask(view, address)
    assert (shut.status_code, view.calls) == (429, STRIKES_ALLOWED + 1)
    assert 0 < int(shut["Retry-After"]) <= settings.DOOR_CLOSED_SECONDS
    door.reopen(f"address:{address}")
    assert ask(view, address).status_code == 401


@pytest.mark.parametrize("status", [200, 404, 409, 422, 500, 503])
def test_other_answers_are_no_strikes(address: str, status: int) -> None:
    view = Counting(status)
    for _ in range(STRIKES_ALLOWED + 2):
        assert ask(view, address).status_code == status


def test_without_redis_the_door_stands_open(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    door.publish_blocked([f"address:{address}"])
    away = redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(door.redis, "client", lambda: away)
    view = Counting(401)
    assert (ask(view, address).status_code, view.calls) == (401, 1)
    monkeypatch.undo()
    assert ask(view, address).status_code == 403


class Guarded(APIView):
    permission_classes = (AllowAny,)
    throttle_classes = (DoorThrottle,)

    def get(self, request: Request) -> Response:
        return Response({"ok": True})


def test_a_blocked_employee_is_refused_once_he_is_known(settings: Settings) -> None:
    employee = Employee(pk=uuid.uuid4().int % 10**12)
    request = APIRequestFactory().get("/api/v1/wallet")
    force_authenticate(request, user=employee)
    assert Guarded.as_view()(request).status_code == 200
    door.publish_blocked([f"employee:{employee.pk}"])
    try:
        answer = Guarded.as_view()(request)
        assert (answer.status_code, answer.data["error"]["code"]) == (403, "caller_blocked")
    finally:
        door.publish_blocked([])
    assert Guarded.as_view()(request).status_code == 200


def test_many_callers_fit_into_the_set() -> None:
    door.publish_blocked([f"employee:{number}" for number in range(2500)])
    try:
        assert door.admit(["employee:2499"]).is_blocked
        assert door.admit(["employee:2500"]).is_admitted
    finally:
        door.publish_blocked([])

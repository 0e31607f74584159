"""The limiter in front of the web process: what it refuses, in which form, and that every slot comes back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from foundation import limiter, limiter_keeper, limiter_settings
from foundation.api.limiter import BoundedApplication, endpoint_of
from foundation.limiter_settings import NOTICES, STAFF, WEB, Row

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture(autouse=True)
def two_slots(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two slots each, nobody waits; no thread of the keeper."""
    monkeypatch.setattr(limiter_keeper, "start", lambda: None)
    settings.LIMITER_SLOTS = {WEB: 2, STAFF: 1, NOTICES: 1}
    settings.LIMITER_WAITING = 0
    yield
    limiter_settings.apply([])
    for name in (WEB, STAFF, NOTICES):
        assert limiter_settings.limiter_of(name).figures().in_use == 0


class Inner:
    """What is behind: answers, or fails, as told; knows how many were inside."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.calls, self.most = answer, 0, 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.calls += 1
        self.most = max(self.most, limiter_settings.limiter_of(WEB).figures().in_use)
        if isinstance(self.answer, Exception):
            raise self.answer
        start_response("200 OK", [])
        return self.answer  # type: ignore[no-any-return]


def ask(inner: Inner, path: str, method: str = "GET", **headers: str) -> tuple[str, dict[str, str], Any]:
    """Status line, headers, and the answer as the server would get it."""
    told: list[Any] = []
    environ = RequestFactory().generic(method, path, **headers).environ  # type: ignore[arg-type]
    answer = BoundedApplication(inner)(environ, lambda status, sent: told.extend([status, dict(sent)]))
    return told[0], told[1], answer


def full(name: str) -> ExitStack:
    """Takes all slots of the limiter."""
    stack = ExitStack()
    for _ in range(limiter_settings.size_of(name).slots):
        stack.enter_context(limiter_settings.limiter_of(name).slot())
    return stack


def test_a_request_holds_a_slot_and_gives_it_back() -> None:
    inner = Inner([b"hello"])
    before = limiter_settings.limiter_of(WEB).figures()
    status, _, answer = ask(inner, "/api/v1/wallet")
    after = limiter_settings.limiter_of(WEB).figures()
    assert (status, answer, inner.most) == ("200 OK", [b"hello"], 1)
    assert (after.admitted - before.admitted, after.in_use) == (1, 0)
    assert after.endpoints["GET api/v1/wallet"].in_use == 0


def test_a_full_process_refuses_in_the_form_of_the_api_and_does_no_work() -> None:
    inner = Inner([b"hello"])
    with full(WEB):
        status, headers, answer = ask(
            inner, "/api/v1/wallet", HTTP_ACCEPT_LANGUAGE="en", HTTP_X_REQUEST_ID="request-0001"
        )
    assert (status, inner.calls) == ("503 Service Unavailable", 0)
    assert json.loads(b"".join(answer)) == {
        "error": {
            "code": "busy",
            "message": "The system is busy. Please try again shortly.",
            "details": {"limiter": "web"},
            "request_id": "request-0001",
        }
    }
    assert headers == {
        "Content-Type": "application/json",
        "Content-Length": str(len(b"".join(answer))),
        "Content-Language": "en",
        "Retry-After": "1",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Request-ID": "request-0001",
    }


def test_the_refusal_is_in_the_callers_language_and_a_page_is_no_json() -> None:
    inner = Inner([b"hello"])
    with full(WEB):
        _, headers, answer = ask(inner, "/c/0123", HTTP_ACCEPT_LANGUAGE="zh-CN", HTTP_X_REQUEST_ID="../etc")
    assert (headers["Content-Type"], headers["Content-Language"]) == ("text/plain; charset=utf-8", "zh-hans")
    assert b"".join(answer).decode() == "系统繁忙，请稍后重试。"
    assert len(headers["X-Request-ID"]) == 32


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_the_probes_need_no_slot(path: str) -> None:
    with full(WEB), full(STAFF), full(NOTICES):
        assert ask(Inner([b"ok"]), path)[0] == "200 OK"


@pytest.mark.parametrize(
    ("name", "mine", "others"),
    [
        (WEB, "/api/v1/wallet", ("/admin/", "/notify/wechat")),
        (STAFF, "/admin/orders/", ("/api/v1/wallet", "/notify/wechat")),
        (NOTICES, "/notify/wechat", ("/api/v1/wallet", "/admin/")),
    ],
)
def test_clients_staff_and_notices_do_not_take_each_others_slots(name: str, mine: str, others: tuple[str, str]) -> None:
    with full(name):
        assert ask(Inner([b"ok"]), mine)[0] == "503 Service Unavailable"
        assert [ask(Inner([b"ok"]), other)[0] for other in others] == ["200 OK", "200 OK"]


def test_the_slot_comes_back_when_the_work_fails() -> None:
    with pytest.raises(KeyError):
        ask(Inner(KeyError("x")), "/api/v1/wallet")
    assert limiter_settings.limiter_of(WEB).figures().in_use == 0


def test_an_answer_that_is_made_while_it_is_sent_holds_its_slot_until_it_is_closed() -> None:
    web = limiter_settings.limiter_of(WEB)
    _, _, answer = ask(Inner(StreamingHttpResponse(iter([b"a", b"b"]))), "/admin/funds/journal/export")
    staff = limiter_settings.limiter_of(STAFF)
    assert (staff.figures().in_use, web.figures().in_use) == (1, 0)
    assert b"".join(answer) == b"ab"
    assert staff.figures().in_use == 1
    answer.close()
    answer.close()
    assert staff.figures().in_use == 0


def test_a_finished_answer_is_handed_on_as_it_is() -> None:
    response = HttpResponse(b"x")
    assert ask(Inner(response), "/api/v1/wallet")[2] is response


def test_what_staff_set_counts_at_once_and_the_settings_come_back() -> None:
    limiter_settings.apply([Row(name=WEB, amount=1, waiting=3, wait_ms=250)])
    web = limiter_settings.limiter_of(WEB)
    assert web.size == limiter.Size(slots=1, waiting=3, wait_seconds=0.25)
    limiter_settings.apply([Row(name=WEB, amount=9)])
    assert web.size == limiter.Size(slots=9, waiting=2, wait_seconds=0.5)
    limiter_settings.apply([])
    assert web.size == limiter.Size(slots=2, waiting=0, wait_seconds=0.5)


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/api/v1/wallet", "GET api/v1/wallet"),
        ("POST", "/api/v1/orders/R1A000/attempts", "POST api/v1/orders/<str:order_no>/attempts"),
        ("POST", "/api/v1/orders/99/attempts", "POST api/v1/orders/<str:order_no>/attempts"),
        ("POST", "/api/v1/redpackets/0a1b/grab", "POST api/v1/redpackets/<str:packet_id>/grab"),
        ("GET", "/api/v1/no/such/thing", "other"),
        ("GET", "/nowhere", "other"),
        ("BREW", "/api/v1/wallet", "other"),
    ],
)
def test_endpoints_are_named_by_their_route(method: str, path: str, name: str) -> None:
    assert endpoint_of(method, path) == name

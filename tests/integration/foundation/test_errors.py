"""Every error has the one shape, whoever raises it."""

from __future__ import annotations

import json
from collections.abc import Callable
from unittest.mock import patch

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django.test import Client
from pytest_django import Settings
from redis.exceptions import ConnectionError as RedisAway
from rest_framework import exceptions as drf

from foundation import alerts
from foundation.errors import Broken, Busy, NotFound, PaysysError, Rejected
from foundation.models import Alert
from tests.integration.foundation.probes import Probe

pytestmark = [
    pytest.mark.django_db(databases="__all__"),
    pytest.mark.urls("tests.integration.foundation.probes"),
    pytest.mark.filterwarnings("ignore:No directory at"),
]

JSON = "application/json"


class Refused(Rejected):
    code = "insufficient_funds"
    http_status = 422
    message_en = "No money."
    message_zh = "余额不足。"


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Makes the probe raise."""

    def set_error(error: Exception) -> None:
        def run() -> object:
            raise error

        monkeypatch.setattr(Probe, "run", staticmethod(run))

    return set_error


def assert_error(response: object, status: int, code: str) -> dict:
    """The shape of api.md, exactly; returns the details."""
    assert response.status_code == status, response.content  # type: ignore[attr-defined]
    assert response["Content-Type"].startswith(JSON)  # type: ignore[index]
    answer = json.loads(response.content)  # type: ignore[attr-defined]
    assert list(answer) == ["error"]
    assert set(answer["error"]) == {"code", "message", "details", "request_id"}
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]
    assert answer["error"]["request_id"] == response["X-Request-ID"]  # type: ignore[index]
    assert isinstance(answer["error"]["details"], dict)
    return answer["error"]["details"]


RAISED: list[tuple[Exception, int, str]] = [
    (Refused({"needed_fen": 5}), 422, "insufficient_funds"),
    (NotFound(), 404, "not_found"),
    (Busy(), 503, "busy"),
    (drf.ValidationError({"amount_fen": ["no"]}), 400, "invalid_request"),
    (drf.ValidationError(["no"]), 400, "invalid_request"),
    (drf.ParseError("bad"), 400, "invalid_request"),
    (drf.NotAuthenticated(), 401, "not_authenticated"),
    (drf.AuthenticationFailed(), 401, "not_authenticated"),
    (drf.PermissionDenied(), 403, "permission_denied"),
    (PermissionDenied(), 403, "permission_denied"),
    (drf.NotFound(), 404, "not_found"),
    (Http404(), 404, "not_found"),
    (drf.MethodNotAllowed("GET"), 405, "method_not_allowed"),
    (RequestDataTooBig(), 413, "body_too_large"),
    (drf.UnsupportedMediaType("text/plain"), 415, "unsupported_media_type"),
    (drf.Throttled(wait=0.2), 429, "rate_limited"),
    (SuspiciousOperation("odd"), 400, "invalid_request"),
    (OperationalError(2003, "Can't connect"), 503, "busy"),
    (OperationalError(1040, "Too many connections"), 503, "busy"),
    (OperationalError(1213, "Deadlock found"), 503, "busy"),
    (InterfaceError(0, ""), 503, "busy"),
    (RedisAway("refused"), 503, "busy"),
    (OperationalError(1054, "Unknown column"), 500, "internal_error"),
    (Broken({"secret": "s"}), 500, "internal_error"),
    (ZeroDivisionError("secret"), 500, "internal_error"),
    (drf.APIException("secret"), 500, "internal_error"),
]


@pytest.mark.parametrize("address", ["/api/v1/probe/open", "/api/v1/probe/plain"])
@pytest.mark.parametrize(("error", "status", "code"), RAISED, ids=lambda value: repr(value)[:50])
def test_whatever_is_raised_has_the_shape(
    client: Client, raising: Callable[[Exception], None], address: str, error: Exception, status: int, code: str
) -> None:
    raising(error)
    response = client.get(address)
    details = assert_error(response, status, code)
    assert b"secret" not in response.content
    if isinstance(error, Refused):
        assert details == {"needed_fen": 5}


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Busy(), "1"),
        (Busy(retry_after_seconds=7), "7"),
        (drf.Throttled(wait=0.2), "1"),
        (drf.Throttled(wait=2.1), "3"),
        (drf.Throttled(), "1"),
        (RedisAway("x"), "3"),
    ],
    ids=repr,
)
def test_who_may_come_back_is_told_when(
    client: Client, raising: Callable[[Exception], None], error: Exception, seconds: str
) -> None:
    raising(error)
    assert client.get("/api/v1/probe/open")["Retry-After"] == seconds


def test_our_own_fault_is_alerted_once_and_a_refusal_never(
    client: Client, raising: Callable[[Exception], None]
) -> None:
    raising(Refused())
    client.get("/api/v1/probe/open")
    raising(RedisAway("x"))
    client.get("/api/v1/probe/open")
    assert Alert.objects.filter(code="request_failed").count() == 0
    raising(ZeroDivisionError("by zero"))
    client.get("/api/v1/probe/open")
    alert = Alert.objects.get(code="request_failed")
    assert (alert.subject, alert.times, alert.severity) == ("GET ZeroDivisionError", 1, "CRITICAL")
    assert alert.message == "/api/v1/probe/open: ZeroDivisionError('by zero')"


def test_the_answer_goes_out_also_when_the_alert_cannot_be_stored(
    client: Client, raising: Callable[[Exception], None]
) -> None:
    raising(ZeroDivisionError())
    with patch.object(alerts, "raise_alert", side_effect=OperationalError(2013, "gone")):
        assert_error(client.get("/api/v1/probe/open"), 500, "internal_error")


def test_errors_of_middleware_have_the_shape_too(client: Client) -> None:
    with patch(
        "django.contrib.sessions.middleware.SessionMiddleware.process_request", side_effect=ZeroDivisionError("x")
    ):
        assert_error(client.get("/api/v1/wallet"), 500, "internal_error")
        assert client.get("/plain").content.startswith(b"<!doctype html>")
    assert Alert.objects.get(code="request_failed").subject == "GET ZeroDivisionError"


@pytest.mark.parametrize(
    "address",
    [
        "/api/",
        "/api/v1/",
        "/api/v1/nothing",
        "/api/v2/wallet",
        "/api/v1/wallet/",
        "/api/v1/%E4%BC%81",
        "/notify/nobody",
        "/notify/",
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_unknown_addresses(client: Client, settings: Settings, address: str, debug: bool) -> None:
    settings.DEBUG = debug and address.startswith("/api/")
    assert_error(client.get(address), 404, "not_found")
    assert_error(client.post(address, "{}", content_type=JSON), 404, "not_found")


def test_unknown_pages_outside_of_the_api_are_pages(client: Client) -> None:
    response = client.get("/nothing")
    assert (response.status_code, response["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "页面不存在" in response.content.decode()
    assert b"Page not found" in response.content


def test_a_broken_page_is_a_page_without_the_reason(client: Client, raising: Callable[[Exception], None]) -> None:
    raising(ZeroDivisionError("secret"))
    response = client.get("/plain")
    assert response.status_code == 500
    assert "系统错误" in response.content.decode()
    assert b"secret" not in response.content


@pytest.mark.parametrize(
    ("method", "address", "allowed"),
    [
        ("put", "/api/v1/auth/login", "POST"),
        ("delete", "/api/v1/auth/login", "POST"),
        ("get", "/api/v1/auth/login", "POST"),
        ("get", "/api/v1/probe/post-only", "POST"),
        ("get", "/notify/wechat", "POST"),
        ("put", "/notify/wechat", "POST"),
    ],
)
def test_wrong_methods(client: Client, method: str, address: str, allowed: str) -> None:
    response = getattr(client, method)(address)
    assert_error(response, 405, "method_not_allowed")
    assert allowed in response["Allow"]


def login(client: Client, body: str | bytes, content_type: str = JSON) -> object:
    raw = body if isinstance(body, bytes) else body.encode()
    return client.generic("POST", "/api/v1/auth/login", raw, content_type=content_type)


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "",
        "null",
        "[]",
        '"text"',
        "5",
        "{'enterprise': 'a'}",
        '{"enterprise": NaN}',
        '{"enterprise": ' + "9" * 5000 + "}",
        b'{"enterprise": "\xff"}',
        '{"\\ud800": 1}',
        '{"enterprise": "\\ud800", "employee": "a", "password": "b"}',
        '{"enterprise": "a\\u0000", "employee": "a", "password": "b"}',
        "[" * 100_000,
        '{"a":' * 20_000,
    ],
    ids=lambda body: repr(body)[:25],
)
def test_malformed_bodies(client: Client, body: str | bytes) -> None:
    assert assert_error(login(client, body), 400, "invalid_request")
    assert Alert.objects.count() == 0


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"]
)
def test_other_media_types(client: Client, content_type: str) -> None:
    assert_error(login(client, "{}", content_type), 415, "unsupported_media_type")


@pytest.mark.parametrize("charset", ["hex", "zlib", "utf-16", "nonsense"])
def test_odd_charsets_are_no_server_error(client: Client, charset: str) -> None:
    assert_error(login(client, '{"x": 1}', f"{JSON}; charset={charset}"), 400, "invalid_request")


def test_a_body_that_is_too_large(client: Client, settings: Settings) -> None:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    start, end = '{"enterprise": "', '"}'
    fitting = start + "a" * (limit - len(start) - len(end)) + end
    assert len(fitting) == limit
    assert_error(login(client, fitting), 400, "invalid_request")
    assert_error(login(client, fitting.replace("a", "aa", 1)), 413, "body_too_large")
    assert_error(client.generic("POST", "/notify/wechat", b"x" * (limit + 1), content_type=JSON), 413, "body_too_large")


def test_only_json_is_answered(client: Client) -> None:
    assert_error(client.get("/api/v1/probe/open", headers={"Accept": "text/html"}), 406, "not_acceptable")
    assert client.get("/api/v1/probe/open", headers={"Accept": "*/*"}).status_code == 200


def test_a_foreign_host(client: Client, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["pay.example"]
    assert_error(client.get("/api/v1/wallet"), 400, "invalid_request")


def test_a_missing_log_in_says_how(client: Client) -> None:
    response = client.get("/api/v1/wallet")
    assert_error(response, 401, "not_authenticated")
    assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("accepted", "message"),
    [
        ("en", "No money."),
        ("en-GB,en;q=0.8", "No money."),
        ("zh-CN,zh;q=0.9,en;q=0.8", "余额不足。"),
        ("zh-TW", "余额不足。"),
        ("fr", "余额不足。"),
        ("", "余额不足。"),
    ],
)
def test_messages_follow_the_callers_language(
    client: Client, raising: Callable[[Exception], None], accepted: str, message: str
) -> None:
    raising(Refused())
    for address in ("/api/v1/probe/open", "/api/v1/probe/plain"):
        response = client.get(address, headers={"Accept-Language": accepted} if accepted else {})
        assert response.json()["error"]["message"] == message


def test_the_base_error_is_answered_too(client: Client, raising: Callable[[Exception], None]) -> None:
    raising(PaysysError())
    assert_error(client.get("/api/v1/probe/open"), 500, "internal_error")

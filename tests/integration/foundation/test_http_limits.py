"""Bodies that are too large, pages of errors that say nothing, and what production adds for browsers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from foundation import ids
from foundation.errors import RateLimited
from foundation.http_limits import REQUEST_MAX_BYTES
from foundation.http_policy import CSP, PERMISSIONS
from tests import worlds
from tests.contract.api.test_strangers import OPERATIONS
from tests.integration.foundation.test_http_policy import ALWAYS
from tests.system import ROOT
from tests.unit.paysys.test_production_settings import GOOD

pytestmark = pytest.mark.django_db(databases="__all__")

LIMIT = 256 * 1024
INSIDE = re.compile(
    r"Traceback|secret inside|Django|Python/|granian|site-packages|/foundation/|\.py\b|DEBUG", re.IGNORECASE
)


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.fields], ids=lambda one: one.label)
def test_a_body_above_the_limit_is_refused_by_every_operation(operation: Any, settings: Settings) -> None:
    assert settings.DATA_UPLOAD_MAX_MEMORY_SIZE == LIMIT
    person = worlds.make_world(1).employees[0]
    headers = {"Authorization": f"Bearer {worlds.token_of(person)}", "Idempotency-Key": ids.new_id()}
    if operation.schemes == {"signedRequest"}:
        headers = {"X-Pay-App": "nobody", "X-Pay-Timestamp": "1", "X-Pay-Nonce": "12345678", "X-Pay-Signature": "00"}
    path = re.sub(r"{\w+}", ids.new_id(), operation.path)
    body = json.dumps({"name": "x" * LIMIT})
    answer = Client(headers=headers).generic(operation.method, path, body, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large"), answer.content


@pytest.mark.parametrize(
    "path", ["/notify/wechat", "/notify/wechat/refund", "/notify/alipay", "/notify/kuaiqian/payout"]
)
def test_a_notice_above_the_limit_is_refused(path: str) -> None:
    answer = Client().post(path, b"x" * (LIMIT + 1), content_type="application/json")
    assert answer.status_code == 413


def test_texts_of_a_form_above_the_limit_are_refused() -> None:
    answer = Client().post("/admin/login/", {"username": "x" * LIMIT, "password": "x"})
    assert answer.status_code == 400
    many = Client().post("/admin/login/", {f"field{number}": "x" for number in range(1001)})
    assert many.status_code == 400


@pytest.mark.parametrize("path", ["/api/v1/auth/login", "/notify/wechat", "/admin/login/", "/nothing"])
def test_files_above_the_limit_are_refused_before_they_are_read(path: str) -> None:
    """Only the header says how much would come; not a byte of it is needed."""
    kind = "multipart/form-data; boundary=x"
    refused = Client().generic("POST", path, b"", kind, CONTENT_LENGTH=str(REQUEST_MAX_BYTES + 1))
    assert refused.status_code == 413
    if path.startswith(("/api/", "/notify/")):
        assert refused.json()["error"]["code"] == "body_too_large"
    else:
        assert "内容过大" in refused.content.decode()
    assert refused.headers["X-Request-ID"]
    if path != "/notify/wechat":  # which is read as a whole, and may be 256 KiB
        passed = Client().generic("POST", path, b"", kind, CONTENT_LENGTH=str(REQUEST_MAX_BYTES))
        assert passed.status_code != 413


@pytest.mark.parametrize("how", ["too large", "door closed", "method", "page"])
def test_answers_of_the_outer_layers_bear_all_headers(
    how: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are given before Django's own middleware for these headers is reached, or replace what it gave."""
    settings.SECURE_HSTS_SECONDS = 60
    settings.TRUSTED_PROXIES = 0
    if how == "door closed":
        monkeypatch.setattr("foundation.api.door.check", _closed)
    length = str(REQUEST_MAX_BYTES + 1) if how in ("too large", "page") else "0"
    method, path = {"method": ("DELETE", "/notify/wechat"), "page": ("POST", "/admin/")}.get(
        how, ("POST", "/api/v1/auth/login")
    )
    answer = Client().generic(method, path, b"", "application/json", secure=True, CONTENT_LENGTH=length)
    assert answer.status_code == {"door closed": 429, "method": 405}.get(how, 413)
    assert {name: answer.headers.get(name) for name in ALWAYS} == ALWAYS
    assert answer.headers["Strict-Transport-Security"] == "max-age=60"
    assert CSP in answer.headers


def _closed(_callers: list[str]) -> None:
    raise RateLimited({"retry_after_seconds": 1})


def test_no_page_of_an_error_says_anything_of_the_inside(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    nobody = User.objects.create_user(ids.new_id()[:20], password="x", is_staff=True)
    staff = Client()
    staff.force_login(nobody)
    answers = {
        400: staff.get("/admin/", headers={"host": "secret inside.example.com"}),
        403: staff.get("/admin/orders/orderindex/"),
        404: staff.get("/admin/secret inside/"),
    }
    assert {status: answer.status_code for status, answer in answers.items()} == {400: 400, 403: 403, 404: 404}
    expired = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "secret inside"})
    assert (expired.status_code, "页面已过期" in expired.content.decode()) == (403, True)
    for answer in (*answers.values(), expired):
        assert answer.headers["Content-Type"].startswith("text/html")
        assert INSIDE.findall(answer.content.decode() + str(dict(answer.headers))) == []


def test_no_error_of_the_api_says_anything_of_the_inside(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    client = Client()
    json_type = "application/json"
    answers = {
        "invalid_request": client.post("/api/v1/auth/login", b"{", json_type),
        "not_authenticated": client.get("/api/v1/wallet"),
        "not_found": client.get("/api/v1/secret%20inside"),
        "method_not_allowed": client.delete("/api/v1/auth/login"),
        "unsupported_media_type": client.post("/api/v1/auth/login", b"<a/>", "text/xml"),
        "signature_invalid": client.post("/api/v1/payments", b"{}", json_type, headers={"X-Pay-App": "x"}),
    }
    for code, answer in answers.items():
        assert answer.json()["error"]["code"] == code
        assert INSIDE.findall(answer.content.decode() + str(dict(answer.headers))) == []
    wrong_host = client.get("/api/v1/wallet", headers={"host": "evil.example.com"})
    assert (wrong_host.status_code, wrong_host.json()["error"]["code"]) == (400, "invalid_request")


def test_production_asks_for_tls_and_closes_its_cookies() -> None:
    """The real settings, in a process of its own; the page of the log-in needs no database."""
    script = """
import django, json
django.setup()
from django.conf import settings
from django.test import Client
client = Client(headers={"host": "pay.example.com"})
secure = client.get("/admin/login/", secure=True)
plain = client.get("/admin/login/?next=/admin/")
cookie = secure.cookies["csrftoken"]
print(json.dumps({
    "secure": [secure.status_code, dict(secure.headers)],
    "plain": [plain.status_code, plain.headers["Location"]],
    "rebound": client.get("/admin/login/", secure=True, headers={"host": "evil.example.com"}).status_code,
    "by_address": client.get("/admin/login/", secure=True, headers={"host": "127.0.0.1"}).status_code,
    "cookie": [bool(cookie["secure"]), bool(cookie["httponly"]), cookie["samesite"], cookie["domain"]],
    "session": [settings.SESSION_COOKIE_SECURE, settings.SESSION_COOKIE_HTTPONLY, settings.SESSION_COOKIE_SAMESITE],
    "debug": settings.DEBUG,
}))
"""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **GOOD}
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    told = json.loads(ran.stdout.splitlines()[-1])
    status, headers = told.pop("secure")
    assert status == 200
    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert {CSP, PERMISSIONS, "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"} <= set(headers)
    assert told == {
        "plain": [301, "https://pay.example.com/admin/login/?next=/admin/"],
        "rebound": 400,
        "by_address": 400,
        "cookie": [True, True, "Lax", ""],
        "session": [True, True, "Lax"],
        "debug": False,
    }

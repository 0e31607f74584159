"""Headers that tell browsers what not to do, on every kind of answer, refusals and errors too."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from foundation import http_policy, ids
from foundation.api import errors
from redpacket.api.views import PAGE_POLICY

pytestmark = pytest.mark.django_db(databases="__all__")
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    http_policy.PERMISSIONS: http_policy.NOTHING,
}


@pytest.mark.parametrize(
    ("path", "status", "policy"),
    [
        ("/api/v1/wallet", 401, http_policy.NO_PAGE),
        ("/api/v1/nothing", 404, http_policy.NO_PAGE),
        ("/api/schema/", 200, http_policy.NO_PAGE),
        ("/api/docs/", 200, http_policy.STYLED),
        ("/healthz", 200, http_policy.NO_PAGE),
        ("/admin/login/", 200, http_policy.ADMIN),
        ("/admin/", 302, http_policy.ADMIN),
        ("/nothing", 404, http_policy.PAGE),
    ],
)
def test_every_answer_bears_them(path: str, status: int, policy: str) -> None:
    answer = Client().get(path)
    assert answer.status_code == status
    assert answer.headers[http_policy.CSP] == policy
    assert {name: answer.headers.get(name) for name in ALWAYS} == ALWAYS


def test_a_page_with_a_policy_of_its_own_keeps_it() -> None:
    answer = Client().get(f"/api/v1/redpackets/{ids.new_id()}/article")
    assert answer.status_code == 200
    assert answer.headers[http_policy.CSP] == PAGE_POLICY


@pytest.mark.parametrize("policy", [http_policy.NO_PAGE, http_policy.PAGE, http_policy.STYLED, http_policy.ADMIN])
def test_no_policy_lets_scripts_in_from_elsewhere_or_inline(policy: str) -> None:
    parts = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
    scripts = parts.get("script-src", parts["default-src"])
    assert scripts == "'self' 'unsafe-eval'" if policy == http_policy.ADMIN else scripts in ("'self'", "'none'")
    assert parts["frame-ancestors"] == "'none'"
    assert ("unsafe-eval" in policy) == (policy == http_policy.ADMIN)
    assert ("unsafe-inline" in policy) == (policy in (http_policy.STYLED, http_policy.ADMIN))


def test_an_error_of_ours_bears_them_and_says_nothing_of_the_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser(ids.new_id()[:20], password="x"))
    monkeypatch.setattr("django.contrib.admin.sites.AdminSite.each_context", _breaks)
    answer = client.get("/admin/")
    assert answer.status_code == 500
    assert answer.headers[http_policy.CSP] == http_policy.ADMIN
    text = answer.content.decode()
    assert not [word for word in ("Traceback", "secret inside", "Django", "Python", errors.__file__) if word in text]


def _breaks(*_args: object, **_kwargs: object) -> None:
    raise RuntimeError("secret inside")


@pytest.mark.parametrize("host", ["evil.example.com", "pay.example.com:x", "127.0.0.1.evil.example.com"])
def test_a_host_that_is_not_ours_is_refused(host: str, settings: Settings) -> None:
    """Also what DNS rebinding would send: the attacker's name with our address behind it."""
    settings.ALLOWED_HOSTS = ["pay.example.com"]
    for path in ("/api/v1/wallet", "/admin/login/", "/healthz"):
        answer = Client(headers={"host": host}).get(path)
        assert answer.status_code == 400, path
        assert http_policy.CSP in answer.headers

"""The addresses of providers' notices: nothing of the API's machinery stands before them."""

from __future__ import annotations

import pytest
from django.test import Client

from gateway.models import Notice

pytestmark = pytest.mark.django_db(databases="__all__")
ADDRESSES = [
    ("post", "/notify/wechat", "application/json"),
    ("post", "/notify/wechat/refund", "application/json"),
    ("post", "/notify/alipay", "text/plain"),
    ("get", "/notify/kuaiqian", "text/html; charset=utf-8"),
    ("post", "/notify/kuaiqian/payout", "text/html; charset=utf-8"),
]


@pytest.mark.parametrize(("method", "path", "media_type"), ADDRESSES)
def test_whatever_a_provider_says_it_accepts_it_gets_its_own_text(method: str, path: str, media_type: str) -> None:
    """Neither Accept nor ?format= nor an odd content type nor a log-in header decides here."""
    headers = {"Accept": "image/png", "Authorization": "Bearer nonsense"}
    answer = Client().generic(
        method.upper(), f"{path}?format=xml", b"{not json", content_type="application/octet-stream", headers=headers
    )
    assert answer.status_code in (401, 422), answer.content
    assert answer.headers["Content-Type"] == media_type
    assert b'"error"' not in answer.content


@pytest.mark.parametrize(("method", "path", "media_type"), ADDRESSES)
def test_other_methods_are_refused_and_store_nothing(method: str, path: str, media_type: str) -> None:
    before = Notice.objects.count()
    for other in {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"} - {method.upper()}:
        answer = Client().generic(other, path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, method.upper())
    assert Notice.objects.count() == before

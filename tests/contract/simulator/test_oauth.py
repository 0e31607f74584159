"""The silent log-in of pages inside of WeChat, as our gateway speaks it with the simulator."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from gateway.services import openids
from tests.contract.simulator.merchant import Merchant

BACK = "https://pay.example.com/c/openid"


@pytest.fixture
def _oauth(merchant: Merchant, settings: Any) -> None:
    settings.WECHAT_OAUTH = {
        "authorize_url": f"{merchant.url}/connect/oauth2/authorize",
        "token_url": f"{merchant.url}/sns/oauth2/access_token",
        "appid": "wx0123456789abcdef",
        "secret": "very-secret",
    }


def come_back(address: str) -> dict[str, list[str]]:
    """What the payer's WeChat brings back to the page."""
    answer = requests.get(address, timeout=5, allow_redirects=False)
    assert answer.status_code == 302, answer.text
    target = urlsplit(answer.headers["Location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == BACK
    return parse_qs(target.query)


@pytest.mark.usefixtures("_oauth")
def test_a_payer_comes_back_with_a_code_that_serves_once() -> None:
    found = come_back(openids.authorize_url(return_url=BACK, state="abc123"))
    assert found["state"] == ["abc123"]
    openid = openids.exchange(code=found["code"][0])
    assert openid.startswith("o")
    assert len(openid) == 28
    with pytest.raises(openids.OpenidUnknown, match="40163"):
        openids.exchange(code=found["code"][0])


@pytest.mark.usefixtures("_oauth")
def test_a_made_up_code_is_refused_without_words_of_the_secret(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(openids.OpenidUnknown, match="40029"):
        openids.exchange(code="made-up")
    for bad in ("", "a b", "x" * 200, "é"):
        with pytest.raises(openids.OpenidUnknown, match="no code"):
            openids.exchange(code=bad)
    assert "very-secret" not in caplog.text


def test_a_wechat_that_is_away_is_no_payer(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WECHAT_OAUTH = {
        "authorize_url": "x",
        "token_url": "http://127.0.0.1:1/sns",
        "appid": "wx1",
        "secret": "very-secret",
    }
    with pytest.raises(openids.OpenidUnknown, match="no answer") as refusal:
        openids.exchange(code="abc")
    assert "very-secret" not in caplog.text + str(refusal.value)


@pytest.mark.usefixtures("_oauth")
def test_wrong_questions_are_refused(merchant: Merchant) -> None:
    address = f"{merchant.url}/connect/oauth2/authorize"
    good = {"appid": "wx1", "redirect_uri": BACK, "response_type": "code", "scope": "snsapi_base", "state": "1"}
    bad: list[dict[str, str]] = [{"scope": "x"}, {"redirect_uri": "javascript:1"}, {"appid": ""}, {"state": "1" * 129}]
    for wrong in bad:
        assert requests.get(address, {**good, **wrong}, timeout=5, allow_redirects=False).status_code == 400

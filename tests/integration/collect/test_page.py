"""The payer's pages without a browser: whom they name, what each wallet is offered, what hostile input is told."""

from __future__ import annotations

import datetime as dt
import html
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.test import Client

from collect.models import Code, Collection
from collect.services import codes
from foundation import clock, ids
from gateway import registry
from gateway.ports import Outcome, Result
from gateway.services import calls, openids
from tests import worlds
from tests.integration.collect.codes_and_collections import (
    ALIPAY_AGENT,
    PHONE_AGENT,
    WECHAT_AGENT,
    Shop,
    code_of,
    give_back,
    opened,
    paid,
    shop,
)

pytestmark = pytest.mark.django_db(databases="__all__")
OAUTH = {
    "authorize_url": "https://open.weixin.qq.com/connect/oauth2/authorize",
    "token_url": "https://api.weixin.qq.com/sns/oauth2/access_token",
    "appid": "wx0123456789abcdef",
    "secret": "s",
}
PAYMENTS: Mapping[str, dict[str, str]] = {
    "jsapi": {"kind": "jsapi", "appId": "wx", "package": "prepay_id=\"'<>", "paySign": "x"},
    "native": {"kind": "code_url", "code_url": "weixin://wxpay/bizpayurl?pr=x"},
    "h5": {"kind": "redirect", "url": "https://pay.example.com/1?a=1&b=2"},
}


@pytest.fixture
def here() -> Shop:
    return shop()


@pytest.fixture(autouse=True)
def _provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        calls, "prepay", lambda *, request, **_: Result(outcome=Outcome.SUCCESS, payment=PAYMENTS[str(request.scene)])
    )
    monkeypatch.setattr(registry, "adapter", lambda channel: object())
    monkeypatch.setattr(calls, "query", lambda **_: Result(outcome=Outcome.PENDING))


def payer(agent: str = PHONE_AGENT, language: str = "en") -> Client:
    """A browser without cookies, which checks CSRF tokens as the server does."""
    return Client(headers={"user-agent": agent, "accept-language": language}, enforce_csrf_checks=True)


def url(code: Code, *rest: str) -> str:
    return "/".join(("/c", code.pk, *rest))


def ways(page: Any) -> list[str]:
    return re.findall(r'name="way" value="([^"]+)"', page.content.decode())


def send(client: Client, code: Code, **fields: str) -> Any:
    return client.post(url(code), {"id": codes.issue_id(), "amount": "8.88", "way": "wechat:native", **fields})


def text(page: Any) -> str:
    return html.unescape(page.content.decode())


def test_the_page_names_the_receiver_in_the_readers_language(here: Shop) -> None:
    code = code_of(here.manager, subject="<b>Tea</b> & cake")
    page = payer().get(url(code))
    assert page.status_code == 200
    body = page.content.decode()
    assert "Corner shop" in body
    assert "&lt;b&gt;Tea&lt;/b&gt; &amp; cake" in body
    assert '<html lang="en">' in body
    chinese = payer(language="zh-CN,zh;q=0.9").get(url(code)).content.decode()
    assert '<html lang="zh-Hans">' in chinese
    assert "付款给" in chinese
    for policy in (page["Content-Security-Policy"],):
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
    assert page["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in page.headers
    assert not re.search(r"<script(?![^>]*src=)|style=|onclick=", body)


@pytest.mark.parametrize(
    ("agent", "offered"),
    [
        (PHONE_AGENT, ["wechat:h5", "alipay:h5", "wechat:native", "alipay:native"]),
        ("Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0 Safari/537.36", ["wechat:native", "alipay:native"]),
        (ALIPAY_AGENT, ["alipay:h5"]),
        (WECHAT_AGENT, []),  # WeChat is not set up here: it cannot be asked who pays
        ("", ["wechat:native", "alipay:native"]),
        (f"{ALIPAY_AGENT} MicroMessenger/8", ["wechat:h5", "alipay:h5", "wechat:native", "alipay:native"]),
    ],
)
def test_each_wallet_is_offered_what_it_can_do(here: Shop, agent: str, offered: list[str]) -> None:
    assert ways(payer(agent).get(url(code_of(here.manager)))) == offered


def test_a_payment_is_begun_once_however_often_the_form_is_sent(here: Shop) -> None:
    code, client = code_of(here.manager), payer()
    number = re.findall(r'name="id" value="([^"]+)"', client.get(url(code)).content.decode())[0]
    for _ in range(3):
        sent = send(client, code, id=number)
        assert (sent.status_code, sent["Location"]) == (303, url(code, number))
    row = Collection.objects.get(code=code)
    assert (row.pk, row.amount_fen, row.state, row.channel) == (number, 888, "OPEN", "wechat")
    waiting = client.get(url(code, number))
    assert "¥8.88" in text(waiting)
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in waiting.content.decode()
    picture = client.get(f"{url(code, number)}.svg")
    assert (picture.status_code, picture["Content-Type"]) == (200, "image/svg+xml")
    changed = send(client, code, id=number, amount="9")
    assert changed.status_code == 409
    assert number not in changed.content.decode()  # a fresh number: the next press is a payment of its own
    assert Collection.objects.filter(code=code).count() == 1


def test_a_phone_is_led_to_the_wallets_own_page(here: Shop) -> None:
    code, client = code_of(here.manager), payer(ALIPAY_AGENT)
    sent = send(client, code, way="alipay:h5")
    page = client.get(sent["Location"])
    assert 'id="open" href="https://pay.example.com/1?a=1&amp;b=2"' in page.content.decode()
    assert client.get(f"{sent['Location']}.svg").status_code == 404


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        *[("0", "more than zero"), ("0.00", "more than zero"), ("50000.01", "No more than 50,000")],
        *[(bad, "at most two decimals") for bad in ("", "-1", "+1", "1.234", "1e3", "1,000", " 1", "NaN", "Infinity")],
        *[(bad, "at most two decimals") for bad in ("0x10", "01", "１２", "٣", "1 OR 1=1", "<script>", "9" * 5_000)],
        ("1\u0000", "at most two decimals"),
    ],
)
def test_a_hostile_amount_is_refused_clearly_and_nothing_is_created(here: Shop, amount: str, told: str) -> None:
    code = code_of(here.manager)
    refused = send(payer(), code, amount=amount)
    assert refused.status_code == 400
    assert told in text(refused)
    assert "<script>" not in refused.content.decode()
    assert len(refused.content) < 20_000
    assert not Collection.objects.filter(code=code).exists()


def test_other_nonsense_is_refused_and_nothing_is_created(here: Shop) -> None:
    code = code_of(here.manager)
    client = payer(ALIPAY_AGENT)
    for way in ("", "wechat:native", "alipay:jsapi", "alipay:page", "kuaiqian:h5", "x" * 4_000, "alipay"):
        assert send(client, code, way=way).status_code == 400, way
    assert client.post(url(code), b"\xff\xfe\x00", content_type="multipart/form-data; boundary=x").status_code == 400
    assert client.put(url(code)).status_code == 405
    for path in ("/c/nope", "/c/%00", f"/c/{'a' * 500}", "/c/%E6%94%B6", f"/c/{codes.issue_id()}"):
        for answer in (client.get(path), client.post(path, {"amount": "1", "way": "alipay:h5"})):
            assert answer.status_code == 404, path
            assert "There is no such code" in text(answer)
    assert not Collection.objects.filter(code=code).exists()


def test_codes_that_are_over_used_or_switched_off_say_so(here: Shop) -> None:
    over = code_of(here.manager, expires_in_seconds=60)
    used = code_of(here.manager, is_once=True, amount_fen=100)
    paid(used, here.wechat, amount_fen=100)
    Code.objects.filter(pk=used.pk).update(state="USED", ended_at=clock.now())
    off = code_of(here.manager)
    codes.disable_code(code_id=off.pk, enterprise_id=off.enterprise_id, now=clock.now())
    with clock.frozen(clock.now() + dt.timedelta(seconds=61)):
        for code in (over, used, off):
            for answer in (payer().get(url(code)), send(payer(), code), payer().get(url(code, "poster"))):
                assert answer.status_code == 410
                assert "can no longer be paid" in text(answer)
    assert not Collection.objects.filter(code__in=[over, off]).exists()


def test_without_an_account_in_use_nothing_is_taken(here: Shop) -> None:
    code = code_of(worlds.make_world(1).employees[0])
    for answer in (payer().get(url(code)), send(payer(), code)):
        assert answer.status_code == 409
        assert "Cannot take payments now" in text(answer)
    assert not Collection.objects.filter(code=code).exists()


def test_the_page_of_a_payment_is_the_result_and_the_receipt(here: Shop) -> None:
    code = code_of(here.manager, subject="Tea")
    row = paid(code, here.wechat, amount_fen=888)
    body = text(payer().get(url(code, row.pk)))
    assert "Paid" in body
    assert all(part in body for part in ("¥8.88", "Corner shop", "Tea", row.pk, row.provider_no, "WeChat Pay"))
    assert row.order_no not in body
    give_back(row, 888)
    assert "Refunded in full" in text(payer().get(url(code, row.pk)))
    closed = opened(code, here.alipay)
    Collection.objects.filter(pk=closed.pk).update(state="CLOSED", ended_at=clock.now())
    assert "Not paid, and closed" in text(payer().get(url(code, closed.pk)))
    other = code_of(here.manager)
    for path in (url(other, row.pk), url(code, codes.issue_id()), url(code, "x"), f"{url(other, row.pk)}.svg"):
        assert payer().get(path).status_code == 404


def test_looks_and_starts_of_one_address_are_counted(here: Shop, settings: Any) -> None:
    settings.TRUSTED_PROXIES, settings.COLLECT_LOOKS_PER_MINUTE, settings.COLLECT_STARTS_PER_MINUTE = 1, 2, 1
    code = code_of(here.manager)
    address = {"x-forwarded-for": f"203.0.113.{int(ids.new_id()[-2:], 16)}"}
    assert [payer().get(url(code), headers=address).status_code for _ in range(3)] == [200, 200, 429]
    form = {"id": codes.issue_id(), "amount": "1", "way": "wechat:native"}
    answers = [payer().post(url(code), {**form, "id": codes.issue_id()}, headers=address) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [303, 429]
    assert "Retry-After" in answers[1].headers
    assert Collection.objects.filter(code=code).count() == 1


def test_the_poster_shows_the_code_and_the_receiver(here: Shop) -> None:
    code = code_of(here.manager, amount_fen=12_345)
    page = payer().get(url(code, "poster"))
    assert f"/api/v1/collect/codes/{code.pk}.svg" in page.content.decode()
    assert "Corner shop" in text(page)
    assert "¥123.45" in text(page)


# --- inside of WeChat -------------------------------------------------------------------------------------------------


class Wechat:
    """api.weixin.qq.com: answers `content`; keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
        self.content: Any = {"openid": "oPayer-1_x"}
        self.asked: list[dict[str, str]] = []
        settings.WECHAT_OAUTH = OAUTH
        monkeypatch.setattr(openids.requests, "get", self._get)

    def _get(self, address: str, *, params: dict[str, str], **_: Any) -> Any:
        assert address == OAUTH["token_url"]
        self.asked.append(params)
        answer = requests.Response()
        answer.status_code = 200
        answer._content = json.dumps(self.content).encode()
        return answer


@pytest.fixture
def wechat(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Wechat:
    return Wechat(monkeypatch, settings)


def sent_to_wechat(client: Client, code: Code) -> dict[str, list[str]]:
    """The query of WeChat's address that the first look leads to."""
    page = client.get(url(code))
    assert page.status_code == 302
    address = urlsplit(page["Location"])
    assert f"{address.scheme}://{address.netloc}{address.path}" == OAUTH["authorize_url"]
    assert address.fragment == "wechat_redirect"
    return parse_qs(address.query)


def test_inside_of_wechat_the_payer_is_known_without_being_asked(here: Shop, wechat: Wechat) -> None:
    code, client = code_of(here.manager), payer(WECHAT_AGENT)
    query = sent_to_wechat(client, code)
    assert (query["appid"], query["scope"]) == ([OAUTH["appid"]], ["snsapi_base"])
    assert query["redirect_uri"][0].endswith("/c/openid")
    state = query["state"][0]
    assert re.fullmatch("[0-9A-Za-z]{1,128}", state)
    back = client.get("/c/openid", {"code": "c1", "state": state})
    assert (back.status_code, back["Location"]) == (303, url(code))
    assert [asked["code"] for asked in wechat.asked] == ["c1"]
    cookie = back.cookies["payer"]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/c/", True, "Lax")
    assert "oPayer" not in cookie.value
    assert ways(client.get(url(code))) == ["wechat:jsapi"]
    sent = send(client, code, way="wechat:jsapi")
    assert sent.status_code == 303
    page = client.get(sent["Location"]).content.decode()
    given = json.loads(html.unescape(re.findall(r'data-jsapi="([^"]*)"', page)[0]))
    assert given == {name: value for name, value in PAYMENTS["jsapi"].items() if name != "kind"}


def test_a_wechat_that_does_not_say_who_pays_is_asked_once_and_told_what_to_do(here: Shop, wechat: Wechat) -> None:
    code = code_of(here.manager)
    for content in ({"errcode": 40029}, {"openid": "<x>"}, {"openid": 7}, [], None):
        wechat.content = content
        client = payer(WECHAT_AGENT)
        state = sent_to_wechat(client, code)["state"][0]
        back = client.get("/c/openid", {"code": "c1", "state": state})
        assert (back.status_code, back["Location"]) == (303, f"{url(code)}?asked=1")
        assert "payer" not in back.cookies
        page = client.get(back["Location"])
        assert page.status_code == 200
        assert "Open this page in your browser" in text(page)
        assert ways(page) == []
        assert send(client, code, way="wechat:jsapi").status_code == 400
    assert not Collection.objects.filter(code=code).exists()


def test_nobody_comes_back_with_a_state_that_is_not_ours(here: Shop, wechat: Wechat) -> None:
    code, client = code_of(here.manager), payer(WECHAT_AGENT)
    state = sent_to_wechat(client, code)["state"][0]
    other = code_of(here.manager).pk
    for bad in ("", state[:-1], state + "0", other + state[len(other) :], "x" * 64, "\u00e9" * 64, code.pk):
        assert client.get("/c/openid", {"code": "c1", "state": bad}).status_code == 404, bad
    with clock.frozen(clock.now() + dt.timedelta(seconds=302)):
        assert client.get("/c/openid", {"code": "c1", "state": state}).status_code == 404
    assert wechat.asked == []


def test_a_cookie_of_somebody_elses_making_is_nobody(here: Shop, wechat: Wechat) -> None:
    code, client = code_of(here.manager), payer(WECHAT_AGENT)
    for value in ("oPayer", "v1:k:xx", "v1:2026:" + "A" * 60):
        client.cookies["payer"] = value
        assert client.get(url(code)).status_code == 302

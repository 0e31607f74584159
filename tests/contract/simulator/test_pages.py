"""The pages a person sees."""

from __future__ import annotations

import html

import requests

from tests.contract.simulator.merchant import Merchant


def get(merchant: Merchant, path: str, **query: str) -> requests.Response:
    return requests.get(merchant.url + path, params=query, timeout=5)


def act(merchant: Merchant, code_url: str, action: str) -> requests.Response:
    return requests.post(f"{merchant.url}/pay", data={"code_url": code_url, "action": action}, timeout=5)


def test_the_list_shows_open_orders_newest_first(merchant: Merchant) -> None:
    merchant.native("RC00000001", 123_456, description="第一")
    _, answer = merchant.native("RC00000002", 5, description="<b>第二</b>")
    page = get(merchant, "/").text
    assert page.index("&lt;b&gt;第二&lt;/b&gt;") < page.index("第一")
    assert "¥1,234.56" in page
    assert "¥0.05" in page
    assert page.count("Scan and pay</button>") == 2
    assert f'value="{html.escape(answer["code_url"])}"' in page
    assert "<b>" not in page


def test_a_person_pays(merchant: Merchant) -> None:
    _, answer = merchant.native("RC00000001", 100)
    assert "Pay ¥1.00" in get(merchant, "/pay", code_url=answer["code_url"]).text
    done = act(merchant, answer["code_url"], "pay")
    assert done.status_code == 200
    assert done.history[0].status_code == 303
    assert "已支付 · Paid" in done.text
    assert "Pay ¥1.00" not in done.text
    assert merchant.open(merchant.receiver.next())["resource"]["out_trade_no"] == "RC00000001"
    assert act(merchant, answer["code_url"], "pay").status_code == 409
    assert merchant.books()["totals"]["paid_fen"] == 100
    assert "Scan and pay</button>" not in get(merchant, "/").text


def test_a_person_declines(merchant: Merchant) -> None:
    _, answer = merchant.native("RC00000001", 100)
    done = act(merchant, answer["code_url"], "decline")
    assert "Nothing was paid" in done.text
    assert merchant.query("RC00000001")[1]["trade_state"] == "NOTPAY"
    assert merchant.receiver.is_silent(0.2)


def test_unknown_codes_and_actions_are_refused(merchant: Merchant) -> None:
    _, answer = merchant.native("RC00000001", 100)
    assert get(merchant, "/pay", code_url="weixin://unknown").status_code == 404
    assert act(merchant, answer["code_url"], "steal").status_code == 400
    assert merchant.books()["totals"]["paid_fen"] == 0


def test_pages_load_nothing_from_elsewhere(merchant: Merchant) -> None:
    answer = get(merchant, "/")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "://" not in answer.text.replace("weixin://", "")
    assert "style=" not in answer.text
    assert "<script" not in answer.text
    style = get(merchant, "/static/style.css")
    assert style.headers["Content-Type"].startswith("text/css")
    assert "url(" not in style.text

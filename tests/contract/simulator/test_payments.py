"""Native payments through the real SDK: order, query, close, expiry."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any
from urllib.parse import quote

import pytest
import requests
from wechatpayv3 import WeChatPayType

from tests.contract.simulator.merchant import Merchant

BEIJING = dt.timezone(dt.timedelta(hours=8))


def expiry(seconds: int) -> str:
    return (dt.datetime.now(tz=BEIJING) + dt.timedelta(seconds=seconds)).isoformat(timespec="seconds")


def test_an_order_has_one_code_however_often_it_is_asked_for(merchant: Merchant) -> None:
    status, first = merchant.native("RC00000001")
    assert status == 200
    assert list(first) == ["code_url"]
    assert first["code_url"].startswith("weixin://wxpay/bizpayurl?pr=")
    assert merchant.native("RC00000001") == (200, first)
    assert merchant.native("RC00000002")[1] != first
    assert len(merchant.books()["payments"]) == 2


@pytest.mark.parametrize("changed", [{"total": 101}, {"description": "other"}, {"attach": "other"}])
def test_a_number_is_not_taken_for_another_request(merchant: Merchant, changed: dict[str, Any]) -> None:
    merchant.native("RC00000001")
    status, answer = merchant.native("RC00000001", **changed)
    assert (status, answer["code"]) == (400, "INVALID_REQUEST")
    assert merchant.books()["payments"][0]["amount_fen"] == 100


def test_query_shows_an_unpaid_order(merchant: Merchant) -> None:
    merchant.native("RC00000001", attach="附加")
    status, answer = merchant.query("RC00000001")
    assert status == 200
    assert answer == {
        "appid": merchant.held["appid"],
        "mchid": merchant.held["mchid"],
        "out_trade_no": "RC00000001",
        "attach": "附加",
        "trade_state": "NOTPAY",
        "trade_state_desc": "订单未支付",
        "amount": {"total": 100, "currency": "CNY", "payer_currency": "CNY"},
    }


def test_query_shows_a_paid_order_by_both_numbers(merchant: Merchant) -> None:
    paid = merchant.paid("RC00000001", 12_345)
    assert paid["attempt_no"] == "RC00000001"
    assert paid["state"] == "SUCCESS"
    assert len(paid["transaction_id"]) == 28
    status, answer = merchant.query("RC00000001")
    assert (status, answer["trade_state"], answer["transaction_id"]) == (200, "SUCCESS", paid["transaction_id"])
    assert answer["amount"] == {"total": 12_345, "payer_total": 12_345, "currency": "CNY", "payer_currency": "CNY"}
    assert answer["trade_type"] == "NATIVE"
    assert len(answer["payer"]["openid"]) == 28
    assert answer["success_time"].endswith("+08:00")
    status, text = merchant.sdk.query(transaction_id=paid["transaction_id"])
    assert (status, json.loads(text)) == (200, answer)


def test_a_paid_order_is_paid_once(merchant: Merchant) -> None:
    _, answer = merchant.native("RC00000001")
    first = merchant.pay(answer["code_url"])
    assert "paid" in merchant.pay(answer["code_url"], status=409)["message"]
    assert merchant.native("RC00000001")[1]["code"] == "ORDERPAID"
    assert merchant.query("RC00000001")[1]["transaction_id"] == first["transaction_id"]
    assert merchant.books()["totals"]["paid_fen"] == 100


def test_the_provider_can_claim_another_amount(merchant: Merchant) -> None:
    _, answer = merchant.native("RC00000001", 100)
    merchant.pay(answer["code_url"], amount_fen=99)
    assert merchant.query("RC00000001")[1]["amount"]["total"] == 99
    assert merchant.open(merchant.receiver.next())["resource"]["amount"]["payer_total"] == 99
    assert merchant.books()["payments"][0]["amount_fen"] == 99


def test_an_unpaid_order_is_closed_with_a_signed_empty_answer(merchant: Merchant) -> None:
    _, answer = merchant.native("RC00000001")
    assert merchant.close("RC00000001") == (204, None)
    assert merchant.query("RC00000001")[1]["trade_state"] == "CLOSED"
    assert "closed" in merchant.pay(answer["code_url"], status=409)["message"]
    assert merchant.close("RC00000001")[1]["code"] == "ORDER_CLOSED"
    assert merchant.native("RC00000001")[1]["code"] == "ORDER_CLOSED"
    assert merchant.books()["totals"]["paid_fen"] == 0


def test_a_paid_order_is_not_closed(merchant: Merchant) -> None:
    merchant.paid("RC00000001")
    status, answer = merchant.close("RC00000001")
    assert (status, answer["code"]) == (400, "ORDERPAID")
    assert merchant.query("RC00000001")[1]["trade_state"] == "SUCCESS"


def test_unknown_numbers_are_not_found(merchant: Merchant) -> None:
    assert merchant.query("RC00000001")[1]["code"] == "ORDER_NOT_EXIST"
    assert merchant.query("RC00000001")[0] == 404
    assert merchant.close("RC00000001")[0] == 404
    assert "code" in merchant.pay("weixin://wxpay/bizpayurl?pr=unknown", status=404)["message"]


def test_an_order_ends_at_its_time_for_good(merchant: Merchant) -> None:
    _, answer = merchant.native("RC00000001", time_expire=expiry(60))
    merchant.control("POST", "clock", {"offset_seconds": 61})
    assert "time is over" in merchant.pay(answer["code_url"], status=409)["message"]
    merchant.control("POST", "clock", {"offset_seconds": 0})
    assert merchant.query("RC00000001")[1]["trade_state"] == "CLOSED"
    merchant.pay(answer["code_url"], status=409)


def test_the_list_sees_an_order_end(merchant: Merchant) -> None:
    merchant.native("RC00000001", time_expire=expiry(60))
    assert merchant.books()["payments"][0]["state"] == "NOTPAY"
    merchant.control("POST", "clock", {"offset_seconds": 61})
    assert "Scan and pay" not in requests.get(merchant.url, timeout=5).text


def test_the_books_see_an_order_end(merchant: Merchant) -> None:
    merchant.native("RC00000001", time_expire=expiry(60))
    merchant.control("POST", "clock", {"offset_seconds": 61})
    assert merchant.books()["payments"][0]["state"] == "CLOSED"


def test_a_code_is_scanned_within_two_hours_or_asked_for_again(merchant: Merchant) -> None:
    _, answer = merchant.native("RC00000001")
    merchant.control("POST", "clock", {"offset_seconds": 7_200})
    assert "expired" in merchant.pay(answer["code_url"], status=409)["message"]
    merchant.control("POST", "clock", {"offset_seconds": 0})
    assert merchant.query("RC00000001")[1]["trade_state"] == "NOTPAY"
    assert merchant.pay(answer["code_url"])["state"] == "SUCCESS"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"out_trade_no": "RC001"}, "/body/out_trade_no"),
        ({"out_trade_no": "R" * 33}, "/body/out_trade_no"),
        ({"out_trade_no": "RC0000#001"}, "/body/out_trade_no"),
        ({"out_trade_no": "RC000001\n"}, "/body/out_trade_no"),
        ({"out_trade_no": "１２３４５６７"}, "/body/out_trade_no"),
        ({"description": "元" * 43}, "/body/description"),
        ({"description": " "}, "/body/description"),
        ({"description": "\ud800"}, "/body/description"),
        ({"attach": "a" * 129}, "/body/attach"),
        ({"notify_url": "http://example.com/notify"}, "/body/notify_url"),
        ({"notify_url": "http://127.0.0.1.example.com/notify"}, "/body/notify_url"),
        ({"notify_url": "https://example.com/notify?a=1"}, "/body/notify_url"),
        ({"notify_url": "https://example.com/notify?"}, "/body/notify_url"),
        ({"notify_url": "ftp://127.0.0.1/"}, "/body/notify_url"),
        ({"amount": {"total": 0}}, "/body/amount/total"),
        ({"amount": {"total": -1}}, "/body/amount/total"),
        ({"amount": {"total": 1.0}}, "/body/amount/total"),
        ({"amount": {"total": "100"}}, "/body/amount/total"),
        ({"amount": {"total": True}}, "/body/amount/total"),
        ({"amount": {"total": 100, "currency": "USD"}}, "/body/amount/currency"),
        ({"amount": [100]}, "/body/amount"),
        ({"time_expire": "2026-11-22 10:00:00"}, "/body/time_expire"),
        ({"time_expire": "2099-02-30T10:00:00+08:00"}, "/body/time_expire"),
        ({"time_expire": "2020-01-01T10:00:00+08:00"}, "/body/time_expire"),
        ({"mchid": "1900000000"}, "mchid"),
    ],
)
def test_a_field_not_of_the_documented_form_is_refused(merchant: Merchant, changed: dict[str, Any], field: str) -> None:
    status, answer = merchant.native(**{"attempt_no": "RC00000001", **changed})
    assert (status, answer["code"], answer["detail"]["field"]) == (400, "PARAM_ERROR", field)
    assert merchant.books()["payments"] == []


def test_another_application_is_refused(merchant: Merchant) -> None:
    status, answer = merchant.native("RC00000001", appid="wx0000000000000000")
    assert (status, answer["code"]) == (400, "APPID_MCHID_NOT_MATCH")
    assert merchant.books()["payments"] == []


@pytest.mark.parametrize("number", ["RC0001", "R" * 32, "a_b-c|d*e0"])
def test_every_documented_number_is_taken(merchant: Merchant, number: str) -> None:
    """Asked for by hand: the SDK signs `|` as it is and sends it as %7C, which no provider can verify."""
    assert merchant.native(number)[0] == 200
    target = f"/v3/pay/transactions/out-trade-no/{quote(number)}?mchid={merchant.held['mchid']}"
    assert merchant.request("GET", target).json()["out_trade_no"] == number


def test_a_query_needs_the_own_merchant_number(merchant: Merchant) -> None:
    merchant.native("RC00000001")
    for query in ("", "?mchid=1900000000"):
        answer = merchant.request("GET", f"/v3/pay/transactions/out-trade-no/RC00000001{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "PARAM_ERROR")


def test_scenes_without_a_contract_are_refused(merchant: Merchant) -> None:
    status, answer = merchant.native("RC00000001", pay_type=WeChatPayType.APP)
    assert (status, answer["code"]) == (403, "NO_AUTH")


def test_a_body_that_is_not_an_object_is_refused(merchant: Merchant) -> None:
    for body in (b"", b"{", b"[]", b"\xff"):
        answer = merchant.request("POST", "/v3/pay/transactions/native", body)
        assert (answer.status_code, answer.json()["code"]) == (400, "PARAM_ERROR")

"""Refunds through the real SDK: accepted, settled later, notified, never above what was paid."""

from __future__ import annotations

import json

import pytest

from tests.contract.simulator.merchant import Merchant


def test_a_refund_is_accepted_and_settled_later(merchant: Merchant) -> None:
    paid = merchant.paid("RC00000001", 100)
    merchant.receiver.next()
    status, accepted = merchant.refund("RF1", "RC00000001", 30, 100, reason="多付")
    assert (status, accepted["status"]) == (200, "PROCESSING")
    assert "success_time" not in accepted
    assert (accepted["out_refund_no"], accepted["out_trade_no"]) == ("RF1", "RC00000001")
    assert accepted["transaction_id"] == paid["transaction_id"]
    assert (accepted["amount"]["refund"], accepted["amount"]["total"]) == (30, 100)
    received = merchant.receiver.next()
    assert received.path == "/notify/wechat/refund"
    opened = merchant.open(received)
    resource = opened["resource"]
    assert opened["event_type"] == "REFUND.SUCCESS"
    assert (json.loads(received.body)["resource"]["original_type"]) == "refund"
    assert json.loads(received.body)["resource"]["associated_data"] == "refund"
    assert resource.pop("success_time").endswith("+08:00")
    assert resource == {
        "mchid": merchant.held["mchid"],
        "transaction_id": paid["transaction_id"],
        "out_trade_no": "RC00000001",
        "refund_id": accepted["refund_id"],
        "out_refund_no": "RF1",
        "refund_status": "SUCCESS",
        "user_received_account": "支付用户零钱",
        "amount": {"total": 100, "refund": 30, "payer_total": 100, "payer_refund": 30},
    }
    status, queried = merchant.query_refund("RF1")
    assert (status, queried["status"], queried["amount"]) == (200, "SUCCESS", accepted["amount"])
    assert merchant.query("RC00000001")[1]["trade_state"] == "REFUND"


def test_the_transaction_number_serves_as_well(merchant: Merchant) -> None:
    paid = merchant.paid("RC00000001")
    status, text = merchant.sdk.refund(
        out_refund_no="RF1",
        transaction_id=paid["transaction_id"],
        amount={"refund": 1, "total": 100, "currency": "CNY"},
    )
    assert (status, json.loads(text)["out_trade_no"]) == (200, "RC00000001")


def test_without_an_address_there_is_no_notice(merchant: Merchant) -> None:
    merchant.paid("RC00000001")
    merchant.receiver.next()
    merchant.refund("RF1", "RC00000001", 100, 100, notify_url=None)
    merchant.wait_refund("RF1", "SUCCESS")
    assert merchant.receiver.is_silent(0.3)


def test_one_number_refunds_once(merchant: Merchant) -> None:
    merchant.paid("RC00000001", 100)
    _, first = merchant.refund("RF1", "RC00000001", 60, 100)
    merchant.wait_refund("RF1", "SUCCESS")
    status, again = merchant.refund("RF1", "RC00000001", 60, 100)
    assert (status, again["refund_id"], again["status"]) == (200, first["refund_id"], "SUCCESS")
    status, other = merchant.refund("RF1", "RC00000001", 40, 100)
    assert (status, other["code"]) == (400, "INVALID_REQUEST")
    assert [row["amount_fen"] for row in merchant.books()["refunds"]] == [60]


def test_many_refunds_never_exceed_what_was_paid(merchant: Merchant) -> None:
    merchant.paid("RC00000001", 100)
    for count, (amount, expected) in enumerate([(60, 200), (41, 400), (40, 200), (1, 400)]):
        assert merchant.refund(f"RF{count}", "RC00000001", amount, 100)[0] == expected
    assert [row["amount_fen"] for row in merchant.books()["refunds"]] == [60, 40]


def test_at_most_fifty_refunds_of_one_order(merchant: Merchant) -> None:
    merchant.paid("RC00000001", 100)
    statuses = [merchant.refund(f"RF{count}", "RC00000001", 1, 100)[0] for count in range(51)]
    assert statuses == [200] * 50 + [400]
    assert len(merchant.books()["refunds"]) == 50


def test_what_is_not_paid_is_not_refunded(merchant: Merchant) -> None:
    merchant.native("RC00000001")
    assert merchant.refund("RF1", "RC00000001", 1, 100)[1]["code"] == "INVALID_REQUEST"
    assert merchant.refund("RF1", "RC00000002", 1, 100)[1]["code"] == "RESOURCE_NOT_EXISTS"
    assert merchant.refund("RF1", "RC00000002", 1, 100)[0] == 404
    status, answer = merchant.query_refund("RF1")
    assert (status, answer["code"]) == (404, "RESOURCE_NOT_EXISTS")
    assert merchant.books()["refunds"] == []


def test_the_total_must_be_what_was_paid(merchant: Merchant) -> None:
    merchant.paid("RC00000001", 100)
    assert merchant.refund("RF1", "RC00000001", 1, 101)[1]["code"] == "INVALID_REQUEST"
    assert merchant.books()["refunds"] == []


@pytest.mark.parametrize("number", ["", "R" * 65, "R 1", "R#1"])
def test_a_refund_number_not_of_the_documented_form_is_refused(merchant: Merchant, number: str) -> None:
    merchant.paid("RC00000001")
    body = {"out_refund_no": number, "out_trade_no": "RC00000001", "amount": {"refund": 1, "total": 100}}
    answer = merchant.request("POST", "/v3/refund/domestic/refunds", json.dumps(body).encode())
    assert (answer.status_code, answer.json()["code"]) == (400, "PARAM_ERROR")
    assert merchant.books()["refunds"] == []


def test_exactly_one_payment_number_is_named(merchant: Merchant) -> None:
    paid = merchant.paid("RC00000001")
    for numbers in ({}, {"transaction_id": paid["transaction_id"], "out_trade_no": "RC00000001"}):
        body = {"out_refund_no": "RF1", "amount": {"refund": 1, "total": 100}, **numbers}
        answer = merchant.request("POST", "/v3/refund/domestic/refunds", json.dumps(body).encode())
        assert answer.json()["code"] == "PARAM_ERROR"
    assert merchant.books()["refunds"] == []


@pytest.mark.parametrize("state", ["ABNORMAL", "CLOSED"])
def test_faults_end_refunds_badly(merchant: Merchant, state: str) -> None:
    merchant.faults({"fault": f"refund_{state.lower()}", "attempt_no": "RC00000001", "times": 1})
    merchant.paid("RC00000001", 100)
    merchant.receiver.next()
    assert merchant.refund("RF1", "RC00000001", 100, 100)[1]["status"] == "PROCESSING"
    opened = merchant.open(merchant.receiver.next())
    assert (opened["event_type"], opened["resource"]["refund_status"]) == (f"REFUND.{state}", state)
    assert "success_time" not in opened["resource"]
    assert merchant.query_refund("RF1")[1]["status"] == state
    # A closed refund gives the money free for another one, an abnormal one still holds it.
    status, _ = merchant.refund("RF2", "RC00000001", 100, 100)
    assert status == (200 if state == "CLOSED" else 400)


def test_a_refund_notice_is_resent(merchant: Merchant) -> None:
    merchant.paid("RC00000001")
    merchant.receiver.next()
    merchant.refund("RF1", "RC00000001", 40, 100)
    first = merchant.open(merchant.receiver.next())
    merchant.control("POST", "notices/resend", {"attempt_no": "RC00000001", "refund_no": "RF1"})
    assert merchant.open(merchant.receiver.next()) == first
    body = {"attempt_no": "RC00000001", "refund_no": "RF1", "tamper": "amount"}
    merchant.control("POST", "notices/resend", body)
    other = merchant.open(merchant.receiver.next())
    assert other["resource"]["amount"] == {"total": 100, "refund": 41, "payer_total": 100, "payer_refund": 41}

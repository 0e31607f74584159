"""商家转账 with the real SDK: the states, the notice, the person's page, what the faults do, strictness."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.contract.simulator.merchant import Merchant

PATH = "/v3/fund-app/mch-transfer/transfer-bills"


def test_a_transfer_is_confirmed_paid_and_notified(merchant: Merchant) -> None:
    status, answer = merchant.transfer("WD1", 200_000, user_name="张三")
    assert (status, answer["state"], answer["out_bill_no"]) == (200, "WAIT_USER_CONFIRM", "WD1")
    assert len(answer["transfer_bill_no"]) == 40
    status, queried = merchant.query_transfer("WD1")
    assert (status, queried["state"], queried["mch_id"]) == (200, "WAIT_USER_CONFIRM", merchant.held["mchid"])
    assert "package_info" not in queried
    assert merchant.receiver.received.empty()
    assert merchant.confirm(answer["package_info"])["state"] in ("PROCESSING", "SUCCESS")
    paid = merchant.wait_transfer("WD1", "SUCCESS")
    received = merchant.receiver.next()
    opened = merchant.open(received)
    assert (opened["event_type"], received.path) == ("MCHTRANSFER.BILL.FINISHED", "/notify/wechat/payout")
    raw = json.loads(received.body)["resource"]
    assert (raw["original_type"], raw["associated_data"]) == ("mch_payment", "")
    assert opened["resource"] == {
        "mchid": merchant.held["mchid"],
        "out_bill_no": "WD1",
        "transfer_bill_no": answer["transfer_bill_no"],
        "state": "SUCCESS",
        "transfer_amount": 200_000,
        "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
        "create_time": answer["create_time"],
        "update_time": paid["update_time"],
    }
    (row,) = merchant.books()["payouts"]
    assert (row["payout_no"], row["amount_fen"], row["state"]) == ("WD1", 200_000, "SUCCESS")
    assert merchant.confirm(answer["package_info"], status=409)


def test_the_same_request_pays_once_and_gives_the_package_again(merchant: Merchant) -> None:
    first = merchant.transfer("WD1", 200_000, user_name="张三")
    assert merchant.transfer("WD1", 200_000, user_name="张三") == first  # the name is encrypted anew
    status, other = merchant.transfer("WD1", 200_001, user_name="张三")
    assert (status, other["code"]) == (400, "INVALID_REQUEST")
    merchant.confirm(first[1]["package_info"])
    merchant.wait_transfer("WD1", "SUCCESS")
    status, again = merchant.transfer("WD1", 200_000, user_name="张三")
    assert (status, again["state"], "package_info" in again) == (200, "SUCCESS", False)
    assert [row["amount_fen"] for row in merchant.books()["payouts"]] == [200_000]


def test_cancelling_before_and_after_the_confirmation(merchant: Merchant) -> None:
    merchant.transfer("WD1")
    status, answer = merchant.cancel_transfer("WD1")
    assert (status, answer["state"]) == (200, "CANCELING")
    merchant.wait_transfer("WD1", "CANCELLED")
    assert merchant.open(merchant.receiver.next())["resource"]["state"] == "CANCELLED"
    assert merchant.cancel_transfer("WD1")[1]["state"] == "CANCELLED"
    _, placed = merchant.transfer("WD2")
    merchant.confirm(placed["package_info"])
    merchant.wait_transfer("WD2", "SUCCESS")
    status, refused = merchant.cancel_transfer("WD2")
    assert (status, refused["code"]) == (400, "INVALID_REQUEST")
    assert merchant.cancel_transfer("WD3")[1]["code"] == "NOT_FOUND"


def test_unconfirmed_for_a_day_it_fails_for_good(merchant: Merchant) -> None:
    _, placed = merchant.transfer("WD1")
    merchant.control("POST", "clock", {"offset_seconds": 24 * 3600 + 1})
    # Signatures are a day apart now, so the books are asked.
    received = merchant.receiver.next()
    merchant.control("POST", "clock", {"offset_seconds": 0})
    assert json.loads(received.body)["event_type"] == "MCHTRANSFER.BILL.FINISHED"
    failed = merchant.wait_transfer("WD1", "FAIL")
    assert failed["fail_reason"] == "OVERDUE_CLOSE"
    merchant.confirm(placed["package_info"], status=409)


@pytest.mark.parametrize(
    ("result", "state", "reason"),
    [
        ("success", "SUCCESS", None),
        ("failed", "FAIL", "PAYEE_ACCOUNT_ABNORMAL"),
        ("expired", "FAIL", "OVERDUE_CLOSE"),
        ("cancelled", "CANCELLED", None),
    ],
)
def test_tests_may_command_the_end(merchant: Merchant, result: str, state: str, reason: str | None) -> None:
    merchant.transfer("WD1")
    merchant.control("POST", "payouts/WD1", {"result": result})
    answer = merchant.query_transfer("WD1")[1]
    assert (answer["state"], answer.get("fail_reason")) == (state, reason)
    assert merchant.open(merchant.receiver.next())["resource"]["state"] == state
    merchant.control("POST", "payouts/WD1", {"result": "failed"}, status=409)
    merchant.control("POST", "payouts/WD1", {"result": "melted"}, status=400)
    merchant.control("POST", "payouts/WD2", {"result": "success"}, status=404)


def test_what_was_paid_may_come_back(merchant: Merchant) -> None:
    merchant.transfer("WD1")
    merchant.control("POST", "payouts/WD1", {"result": "returned"}, status=409)
    merchant.control("POST", "payouts/WD1", {"result": "success"})
    merchant.control("POST", "payouts/WD1", {"result": "returned"})
    answer = merchant.query_transfer("WD1")[1]
    assert (answer["state"], answer["fail_reason"]) == ("FAIL", "RETURNED")
    states = {merchant.open(merchant.receiver.next())["resource"]["state"] for _ in range(2)}
    assert states == {"SUCCESS", "FAIL"}


class TestFaults:
    def test_refused_stores_nothing(self, merchant: Merchant) -> None:
        merchant.faults({"fault": "payout_refused", "times": 1})
        assert merchant.transfer("WD1")[1]["code"] == "INVALID_REQUEST"
        assert merchant.query_transfer("WD1")[1]["code"] == "NOT_FOUND"
        assert merchant.transfer("WD1")[0] == 200
        assert merchant.control("GET", "faults")["rules"][0]["hits"] == 1

    def test_no_money(self, merchant: Merchant) -> None:
        merchant.faults({"fault": "payout_not_enough", "attempt_no": "WD1"})
        status, answer = merchant.transfer("WD1")
        assert (status, answer["code"]) == (403, "NOT_ENOUGH")
        merchant.faults()
        assert merchant.transfer("WD2", 10_000_000_000, user_name="张三")[0] == 200  # all there is
        assert merchant.transfer("WD3")[1]["code"] == "NOT_ENOUGH"
        assert [row["payout_no"] for row in merchant.books()["payouts"]] == ["WD2"]

    @pytest.mark.parametrize(
        ("fault", "states"), [("payout_failed", ["FAIL"]), ("payout_returned", ["SUCCESS", "FAIL"])]
    )
    def test_bad_ends_after_the_confirmation(self, merchant: Merchant, fault: str, states: list[str]) -> None:
        merchant.faults({"fault": fault})
        merchant.confirm(merchant.transfer("WD1")[1]["package_info"])
        told = [merchant.open(merchant.receiver.next())["resource"]["state"] for _ in states]
        assert told == states
        assert merchant.query_transfer("WD1")[1]["state"] == "FAIL"

    @pytest.mark.parametrize("fault", ["system_error_but_done", "unknown_code_but_done"])
    def test_an_error_that_was_none(self, merchant: Merchant, fault: str) -> None:
        merchant.faults({"fault": fault, "operation": "transfer", "times": 1})
        assert merchant.transfer("WD1")[0] in (400, 500)
        assert merchant.query_transfer("WD1")[1]["state"] == "WAIT_USER_CONFIRM"
        assert merchant.transfer("WD1")[1]["package_info"]

    @pytest.mark.parametrize("fault", ["system_error_not_done", "unknown_code_not_done", "timeout_before_effect"])
    def test_an_error_that_was_one(self, merchant: Merchant, fault: str) -> None:
        merchant.faults({"fault": fault, "operation": "transfer", "delay_seconds": 0.01})
        assert merchant.transfer("WD1")[0] in (400, 500)
        assert merchant.query_transfer("WD1")[1]["code"] == "NOT_FOUND"

    def test_a_script_strikes_call_by_call(self, merchant: Merchant) -> None:
        script = ["system_error_not_done", None, "unknown_code_but_done"]
        merchant.faults({"script": script, "operation": "transfer"})
        statuses = [merchant.transfer(f"WD{count}")[0] for count in range(5)]
        assert statuses == [500, 200, 400, 200, 200]
        (rule,) = merchant.control("GET", "faults")["rules"]
        assert (rule["script"], rule["draws"], rule["hits"]) == (script, 5, 2)
        assert [row["payout_no"] for row in merchant.books()["payouts"]] == ["WD1", "WD2", "WD3", "WD4"]

    @pytest.mark.parametrize(
        "rule",
        [
            {"script": []},
            {"script": [None]},
            {"script": ["no_such_fault"]},
            {"script": ["payout_failed", "notice_never"]},
            {"script": ["payout_failed"], "fault": "payout_failed"},
            {"script": ["payout_failed"], "rate": 0.5},
            {"script": "payout_failed"},
            {"script": [1]},
        ],
    )
    def test_a_script_that_cannot_be_meant_is_refused(self, merchant: Merchant, rule: dict[str, Any]) -> None:
        merchant.control("PUT", "faults", {"rules": [rule], "seed": 1}, status=400)

    def test_a_notice_is_resent_and_tampered_with(self, merchant: Merchant) -> None:
        merchant.transfer("WD1")
        merchant.control("POST", "payouts/WD1", {"result": "success"})
        first = merchant.open(merchant.receiver.next())
        merchant.control("POST", "notices/resend", {"attempt_no": "WD1"})
        assert merchant.open(merchant.receiver.next()) == first
        merchant.control("POST", "notices/resend", {"attempt_no": "WD1", "tamper": "amount"})
        assert merchant.open(merchant.receiver.next())["resource"]["transfer_amount"] == 101


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"out_bill_no": "WD-1"}, "PARAM_ERROR"),
        ({"out_bill_no": "W" * 33}, "PARAM_ERROR"),
        ({"transfer_amount": 9}, "PARAM_ERROR"),
        ({"transfer_amount": 100.0}, "PARAM_ERROR"),
        ({"transfer_amount": 200_000}, "PARAM_ERROR"),
        ({"transfer_remark": "提" * 33}, "PARAM_ERROR"),
        ({"openid": ""}, "PARAM_ERROR"),
        ({"user_name": "not encrypted"}, "PARAM_ERROR"),
        ({"notify_url": "http://example.com/"}, "PARAM_ERROR"),
        ({"transfer_scene_report_infos": []}, "PARAM_ERROR"),
        ({"transfer_scene_report_infos": None}, "PARAM_ERROR"),
        ({"transfer_scene_id": "1000"}, "INVALID_REQUEST"),
        ({"appid": "wxother"}, "APPID_MCHID_NOT_MATCH"),
    ],
)
def test_requests_not_of_the_documented_form_are_refused(
    merchant: Merchant, changes: dict[str, Any], code: str
) -> None:
    body = {
        "appid": merchant.held["appid"],
        "out_bill_no": "WD1",
        "transfer_scene_id": merchant.held["transfer_scene_id"],
        "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
        "transfer_amount": 100,
        "transfer_remark": "提现",
        "transfer_scene_report_infos": merchant.held["transfer_scene_report_infos"],
        **changes,
    }
    answer = merchant.request("POST", PATH, json.dumps(body).encode())
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    merchant.assert_signed(answer)
    assert merchant.books()["payouts"] == []


def test_the_person_confirms_on_a_page(merchant: Merchant) -> None:
    package = merchant.transfer("WD1", 12_34)[1]["package_info"]
    listed = requests.get(merchant.url, timeout=5).text
    assert "待确认收款" in listed
    assert "WD1" in listed
    page = requests.get(f"{merchant.url}/transfer", params={"package": package}, timeout=5)
    assert page.status_code == 200
    assert "¥12.34" in page.text
    later = {"package": package, "action": "decline"}
    assert "没有收款" in requests.post(f"{merchant.url}/transfer", data=later, timeout=5).text
    assert merchant.query_transfer("WD1")[1]["state"] == "WAIT_USER_CONFIRM"
    done = requests.post(f"{merchant.url}/transfer", data={"package": package, "action": "confirm"}, timeout=5)
    assert "已确认收款" in done.text
    merchant.wait_transfer("WD1", "SUCCESS")
    again = requests.post(f"{merchant.url}/transfer", data={"package": package, "action": "confirm"}, timeout=5)
    assert again.status_code == 409
    assert requests.get(f"{merchant.url}/transfer", params={"package": "x"}, timeout=5).status_code == 404


def test_another_merchants_package_opens_nothing(merchant: Merchant) -> None:
    package = merchant.transfer("WD1")[1]["package_info"]
    payment = {"kind": "confirm", "mchId": "1900000000", "appId": merchant.held["appid"], "package": package}
    merchant.control("POST", "pay", {"payment": payment}, status=400)
    merchant.confirm("nothing", status=404)
    assert merchant.query_transfer("WD1")[1]["state"] == "WAIT_USER_CONFIRM"

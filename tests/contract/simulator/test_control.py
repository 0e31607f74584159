"""The control endpoints: faults of answers, books, clock, and what they refuse."""

from __future__ import annotations

import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.contract.simulator.merchant import Merchant

BEIJING = dt.timezone(dt.timedelta(hours=8))


def test_health(merchant: Merchant) -> None:
    assert requests.get(f"{merchant.url}/healthz", timeout=5).status_code == 200


def test_fault_bad_signature_is_seen_by_the_sdk(merchant: Merchant) -> None:
    merchant.faults({"fault": "response_bad_signature", "operation": "native"})
    with pytest.raises(Exception, match="failed to verify the signature"):
        merchant.native("RC00000001")
    assert merchant.query("RC00000001")[1]["trade_state"] == "NOTPAY"


def test_fault_error_but_done(merchant: Merchant) -> None:
    merchant.paid("RC00000001")
    merchant.faults({"fault": "system_error_but_done", "operation": "refund", "times": 1})
    status, answer = merchant.refund("RF1", "RC00000001", 100, 100)
    assert (status, answer["code"]) == (500, "SYSTEM_ERROR")
    assert [row["amount_fen"] for row in merchant.books()["refunds"]] == [100]
    assert merchant.refund("RF1", "RC00000001", 100, 100)[0] == 200
    assert len(merchant.books()["refunds"]) == 1


def test_fault_error_and_not_done(merchant: Merchant) -> None:
    merchant.faults({"fault": "system_error_not_done", "attempt_no": "RC00000001"})
    assert merchant.native("RC00000001")[0] == 500
    assert merchant.books()["payments"] == []
    assert merchant.native("RC00000002")[0] == 200


def test_fault_timeout_after_effect(merchant: Merchant) -> None:
    merchant.native("RC00000001")
    merchant.faults({"fault": "timeout_after_effect", "operation": "close", "delay_seconds": 30})
    merchant.sdk._core._timeout = (3, 0.3)
    with pytest.raises(requests.ReadTimeout):
        merchant.close("RC00000001")
    assert merchant.query("RC00000001")[1]["trade_state"] == "CLOSED"


def test_a_delayed_answer_does_not_hold_up_the_stop(merchant: Merchant, simulator: Any) -> None:
    merchant.faults({"fault": "timeout_after_effect", "delay_seconds": 30})
    merchant.sdk._core._timeout = (3, 0.2)
    with pytest.raises(requests.ReadTimeout):
        merchant.native("RC00000001")
    before = time.monotonic()
    simulator.stop()
    assert time.monotonic() - before < 2


def decisions(merchant: Merchant, seed: int) -> list[int]:
    merchant.faults({"fault": "system_error_not_done", "rate": 0.5, "operation": "query"}, seed=seed)
    return [merchant.query("RC00000001")[0] for _ in range(24)]


def test_the_same_seed_fails_alike(merchant: Merchant) -> None:
    first = decisions(merchant, 1)
    assert set(first) == {500, 404}
    assert decisions(merchant, 1) == first
    assert decisions(merchant, 2) != first


def test_rules_are_shown_and_removed(merchant: Merchant) -> None:
    rule = {"fault": "notice_late", "rate": 0.25, "channel": "wechat", "operation": "payment_notice", "times": 3}
    answer = merchant.control("PUT", "faults", {"rules": [rule], "seed": 5})
    shown = merchant.control("GET", "faults")
    assert answer == shown
    assert shown["seed"] == "5"
    assert rule.items() <= shown["rules"][0].items()
    assert (shown["rules"][0]["draws"], shown["rules"][0]["hits"]) == (0, 0)
    assert merchant.control("DELETE", "faults") == {"rules": [], "seed": "0"}
    merchant.paid("RC00000001")
    merchant.receiver.next()


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"fault": "unknown"},
        {"fault": ["notice_late"]},
        {"fault": "notice_late", "rate": 1.5},
        {"fault": "notice_late", "rate": True},
        {"fault": "notice_late", "channel": "alipay2"},
        {"fault": "notice_late", "channel": 5},
        {"fault": "notice_late", "operation": "unknown"},
        {"fault": "notice_late", "times": 0},
        {"fault": "notice_late", "delay_seconds": -1},
        {"fault": "notice_late", "unknown": 1},
        {"fault": "notice_tampered", "tamper": "colour"},
        "notice_late",
    ],
)
def test_a_rule_that_is_not_understood_changes_nothing(merchant: Merchant, rule: Any) -> None:
    merchant.faults({"fault": "notice_late"})
    before = merchant.control("GET", "faults")
    message = merchant.control("PUT", "faults", {"rules": [{"fault": "notice_never"}, rule]}, status=400)["message"]
    assert message.startswith("rules[1]: ")
    assert merchant.control("GET", "faults") == before


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "pay", None, 400),
        ("POST", "pay", [], 400),
        ("POST", "pay", {}, 400),
        ("POST", "pay", {"payment": "weixin://"}, 400),
        ("POST", "pay", {"payment": {"kind": "none"}}, 400),
        ("POST", "pay", {"payment": {"kind": "code_url", "code_url": 5}}, 400),
        ("POST", "pay", {"payment": {"kind": "code_url", "code_url": "weixin://wxpay/bizpayurl?pr=a"}, "x": 1}, 400),
        ("POST", "notices/resend", {}, 400),
        ("POST", "notices/resend", {"attempt_no": "RC00000001", "times": 0}, 400),
        ("POST", "notices/resend", {"attempt_no": "RC00000001", "tamper": "colour"}, 400),
        ("POST", "notices/resend", {"attempt_no": "RC00000001", "tamper": ["stale"]}, 400),
        ("POST", "notices/resend", {"attempt_no": "RC00000001"}, 409),
        ("POST", "notices/resend", {"attempt_no": "RC00000002"}, 404),
        ("PUT", "faults", {"rules": {}}, 400),
        ("PUT", "faults", {"rules": [], "seed": 1.5}, 400),
        ("POST", "clock", {}, 400),
        ("POST", "clock", {"offset_seconds": "1"}, 400),
        ("POST", "clock", {"offset_seconds": True}, 400),
        ("GET", "books?day=22.11.2026", None, 400),
        ("GET", "unknown", None, 404),
        ("GET", "pay", None, 405),
    ],
)
def test_bad_input_is_refused_with_a_message(
    merchant: Merchant, method: str, path: str, body: Any, status: int
) -> None:
    merchant.native("RC00000001")
    before = merchant.books()
    assert merchant.control(method, path, body, status=status)["message"]
    assert merchant.books() == before


@pytest.mark.parametrize("amount_fen", [0, -1, 1.5, "100", True])
def test_an_amount_that_is_not_fen_pays_nothing(merchant: Merchant, amount_fen: Any) -> None:
    _, answer = merchant.native("RC00000001")
    merchant.pay(answer["code_url"], status=400, amount_fen=amount_fen)
    assert merchant.query("RC00000001")[1]["trade_state"] == "NOTPAY"


def test_books_by_day(merchant: Merchant) -> None:
    today = dt.datetime.now(tz=BEIJING).date()
    paid = merchant.paid("RC00000001", 100)
    merchant.native("RC00000002", 50)
    merchant.refund("RF1", "RC00000001", 30, 100)
    merchant.wait_refund("RF1", "SUCCESS")
    _, answer = merchant.native("RC00000003", 70)
    merchant.control("POST", "clock", {"offset_seconds": -86_400})
    merchant.pay(answer["code_url"])
    merchant.control("POST", "clock", {"offset_seconds": 0})
    books = merchant.books(f"?day={today}")
    assert books["payments"][0].pop("paid_at").startswith(str(today))
    assert books["payments"] == [
        {
            "attempt_no": "RC00000001",
            "channel": "wechat",
            "amount_fen": 100,
            "state": "SUCCESS",
            "transaction_id": paid["transaction_id"],
        },
        {
            "attempt_no": "RC00000002",
            "channel": "wechat",
            "amount_fen": 50,
            "state": "NOTPAY",
            "transaction_id": None,
            "paid_at": None,
        },
    ]
    assert books["refunds"] == [
        {
            "refund_no": "RF1",
            "attempt_no": "RC00000001",
            "channel": "wechat",
            "amount_fen": 30,
            "state": "SUCCESS",
        }
    ]
    assert books["payouts"] == []
    assert books["totals"] == {
        "paid_count": 1,
        "paid_fen": 100,
        "refunded_count": 1,
        "refunded_fen": 30,
        "paid_out_count": 0,
        "paid_out_fen": 0,
    }
    yesterday = merchant.books(f"?day={today - dt.timedelta(days=1)}")
    assert [row["attempt_no"] for row in yesterday["payments"]] == ["RC00000003"]
    assert merchant.books()["totals"]["paid_fen"] == 170


def test_many_people_pay_at_once(merchant: Merchant) -> None:
    _, answer = merchant.native("RC00000001")
    payment = {"payment": {"kind": "code_url", "code_url": answer["code_url"]}}

    def pay(_: int) -> int:
        return requests.post(f"{merchant.url}/_sim/pay", json=payment, timeout=10).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(pay, range(16)))
    assert sorted(statuses) == [200] + [409] * 15
    merchant.receiver.next()
    assert merchant.receiver.is_silent(0.3)

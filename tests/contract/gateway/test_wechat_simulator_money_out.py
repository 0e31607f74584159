"""Payouts and bills: the adapter with the real SDK against the simulator, over HTTP only."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from foundation import clock
from gateway.adapters.wechat import WechatAdapter
from gateway.ports import BillKind, BillRowKind, BillState, NoticeKind, Outcome, PayoutRequest, Result
from tests.contract.gateway.test_wechat_simulator import (
    PATIENCE_SECONDS,
    Receiver,
    Simulator,
    fresh_number,
    pay,
    prepay_request,
    set_faults,
)

BILLS_AHEAD_SECONDS = 2 * 86_400
"""By the bill office's clock it is the day after tomorrow: today's bill is there."""


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    running = Simulator.start(tmp_path)
    yield running
    running.handle.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def adapter(simulator: Simulator) -> WechatAdapter:
    return simulator.adapter()


def control(simulator: Simulator, path: str, body: dict[str, Any]) -> Any:
    answer = requests.post(f"{simulator.url}/_sim/{path}", json=body, timeout=5)
    assert answer.status_code == 200, answer.text
    return answer.json()


def books(simulator: Simulator) -> list[tuple[str, str]]:
    found = requests.get(f"{simulator.url}/_sim/books", timeout=5).json()["payouts"]
    return [(row["payout_no"], row["state"]) for row in found]


def payout(number: str, receiver: Receiver, **changes: Any) -> PayoutRequest:
    return PayoutRequest(
        **{
            "payout_no": number,
            "amount_fen": 250_000,
            "payee_account": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
            "payee_name": "张三",
            "remark": "提现",
            "notify_url": receiver.url,
            "is_first": True,
            **changes,
        }
    )


def wait_final(adapter: WechatAdapter, number: str) -> Result:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (result := adapter.query_payout(payout_no=number)).outcome not in (Outcome.SUCCESS, Outcome.FAILED):
        assert time.monotonic() < deadline, result
        time.sleep(0.02)
    return result


def test_a_payout_from_request_to_notice(adapter: WechatAdapter, simulator: Simulator, receiver: Receiver) -> None:
    number = fresh_number("WD")
    asked = adapter.pay_out(payout(number, receiver))
    assert (asked.outcome, asked.code) == (Outcome.PENDING, "wait_user_confirm")
    assert adapter.pay_out(payout(number, receiver, is_first=False)).payment == asked.payment
    control(simulator, "pay", {"payment": dict(asked.payment or {})})
    paid = wait_final(adapter, number)
    assert (paid.outcome, paid.amount_fen, paid.provider_no) == (Outcome.SUCCESS, 250_000, asked.provider_no)
    ((headers, body),) = receiver.wait(1)
    fact = adapter.read_notice(headers=headers, body=body, now=clock.now())
    assert (fact.kind, fact.number, fact.result) == (NoticeKind.PAYOUT, number, paid)


@pytest.mark.parametrize("fault", ["system_error_but_done", "unknown_code_but_done", "response_malformed"])
def test_an_error_of_what_was_done_is_unknown_and_one_payout(
    adapter: WechatAdapter, simulator: Simulator, receiver: Receiver, fault: str
) -> None:
    set_faults(simulator.url, {"fault": fault, "operation": "transfer", "times": 1})
    number = fresh_number("WD")
    assert adapter.pay_out(payout(number, receiver)).outcome is Outcome.UNKNOWN
    assert adapter.query_payout(payout_no=number).code == "wait_user_confirm"
    assert adapter.pay_out(payout(number, receiver, is_first=False)).payment is not None
    assert books(simulator) == [(number, "WAITING")]


@pytest.mark.parametrize(("fault", "count"), [("timeout_after_effect", 1), ("timeout_before_effect", 0)])
def test_a_time_out_before_and_after_the_effect(
    adapter: WechatAdapter, simulator: Simulator, receiver: Receiver, fault: str, count: int
) -> None:
    set_faults(simulator.url, {"fault": fault, "operation": "transfer", "times": 1, "delay_seconds": 2})
    number = fresh_number("WD")
    result = adapter.pay_out(payout(number, receiver))
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, "timeout")
    asked = adapter.query_payout(payout_no=number)
    assert asked.code == ("wait_user_confirm" if count else "not_found")
    assert len(books(simulator)) == count


def test_a_refusal_a_failure_a_return_and_an_expiry(
    adapter: WechatAdapter, simulator: Simulator, receiver: Receiver
) -> None:
    set_faults(simulator.url, {"fault": "payout_refused", "times": 1})
    refused = adapter.pay_out(payout(fresh_number("WD"), receiver))
    assert (refused.outcome, refused.code) == (Outcome.FAILED, "invalid_request")
    assert books(simulator) == []
    for results, expected in (
        (["failed"], "payee_account_abnormal"),
        (["success", "returned"], "returned"),
        (["expired"], "expired"),
    ):
        number = fresh_number("WD")
        adapter.pay_out(payout(number, receiver))
        for result in results:
            control(simulator, f"payouts/{number}", {"result": result})
        ended = wait_final(adapter, number)
        assert (ended.outcome, ended.code) == (Outcome.FAILED, expected)


def test_cancelling(adapter: WechatAdapter, receiver: Receiver) -> None:
    number = fresh_number("WD")
    adapter.pay_out(payout(number, receiver))
    cancelling = adapter.cancel_payout(payout_no=number)
    assert (cancelling.outcome, cancelling.code) == (Outcome.PENDING, "canceling")
    cancelled = wait_final(adapter, number)
    assert (cancelled.outcome, cancelled.code) == (Outcome.FAILED, "cancelled")
    again = adapter.cancel_payout(payout_no=number)
    assert (again.outcome, again.code) == (Outcome.FAILED, "cancelled")


def test_bills_tell_the_day(adapter: WechatAdapter, simulator: Simulator, receiver: Receiver) -> None:
    today = clock.now().astimezone(clock.BUSINESS_ZONE).date()
    assert adapter.download_bill(day=today, kind=BillKind.TRADE).code == "invalid_request"
    control(simulator, "clock", {"bill_offset_seconds": BILLS_AHEAD_SECONDS})
    assert adapter.download_bill(day=today, kind=BillKind.TRADE).state is BillState.NO_BILL
    recharge, number = fresh_number("RC"), fresh_number("WD")
    pay(simulator.url, adapter.prepay(prepay_request(recharge, receiver)))
    adapter.pay_out(payout(number, receiver))
    control(simulator, f"payouts/{number}", {"result": "success"})
    trades = adapter.download_bill(day=today, kind=BillKind.TRADE)
    assert (trades.state, trades.is_checked) == (BillState.READY, True)
    read = adapter.read_bill(kind=BillKind.TRADE, content=trades.content)
    assert [(row.kind, row.number) for row in read.rows] == [(BillRowKind.PAYMENT, recharge)]
    assert read.problems == ()
    flow = adapter.download_bill(day=today, kind=BillKind.FUND_FLOW)
    moved = adapter.read_bill(kind=BillKind.FUND_FLOW, content=flow.content)
    assert [(row.kind, row.number, row.is_incoming) for row in moved.rows] == [
        (BillRowKind.PAYMENT, recharge, True),
        (BillRowKind.PAYOUT, number, False),
    ]
    assert moved.rows[1].amount_fen == 250_000
    assert moved.problems == ()


@pytest.mark.parametrize(
    ("fault", "state", "code"),
    [
        ("bill_not_ready", BillState.NOT_READY, "statement_creating"),
        ("bill_empty", BillState.NO_BILL, "no_statement_exist"),
        ("bill_wrong_hash", BillState.UNKNOWN, "hash_mismatch"),
        ("response_bad_signature", BillState.UNKNOWN, "answer_unverified"),
        ("unknown_code_not_done", BillState.UNKNOWN, "mch_policy_20261123"),
    ],
)
def test_bill_faults(
    adapter: WechatAdapter, simulator: Simulator, receiver: Receiver, fault: str, state: BillState, code: str
) -> None:
    pay(simulator.url, adapter.prepay(prepay_request(fresh_number("RC"), receiver)))
    control(simulator, "clock", {"bill_offset_seconds": BILLS_AHEAD_SECONDS})
    set_faults(simulator.url, {"fault": fault, "operation": "trade_bill"})
    today: dt.date = clock.now().astimezone(clock.BUSINESS_ZONE).date()
    bill = adapter.download_bill(day=today, kind=BillKind.TRADE)
    assert (bill.state, bill.code) == (state, code)

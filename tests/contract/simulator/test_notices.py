"""Notices as the real SDK reads them, forged ones, retries, restarts and every notice fault."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from simulator import server
from tests.contract.simulator.merchant import Merchant, Received, Receiver

SIGNTEST = "WECHATPAY/SIGNTEST/"


def number(merchant: Merchant, received: Received) -> str:
    """Which attempt a genuine notice is about."""
    return merchant.open(received)["resource"]["out_trade_no"]


def test_a_payment_is_notified_in_full(merchant: Merchant) -> None:
    paid = merchant.paid("RC00000001", 888, attach="附加")
    received = merchant.receiver.next()
    assert received.path == "/notify/wechat"
    assert received.headers["Content-Type"] == "application/json"
    assert abs(int(received.headers["Wechatpay-Timestamp"]) - time.time()) < 5
    opened = merchant.open(received)
    resource = opened.pop("resource")
    success_time = resource.pop("success_time")
    assert success_time.endswith("+08:00")
    assert resource == {
        "appid": merchant.held["appid"],
        "mchid": merchant.held["mchid"],
        "out_trade_no": "RC00000001",
        "transaction_id": paid["transaction_id"],
        "trade_type": "NATIVE",
        "trade_state": "SUCCESS",
        "trade_state_desc": "支付成功",
        "bank_type": "OTHERS",
        "attach": "附加",
        "payer": {"openid": "oSimulatedPayer0000000000001"},
        "amount": {"total": 888, "payer_total": 888, "currency": "CNY", "payer_currency": "CNY"},
    }
    assert set(opened) == {"id", "create_time", "resource_type", "event_type", "summary"}
    assert (opened["resource_type"], opened["event_type"]) == ("encrypt-resource", "TRANSACTION.SUCCESS")
    sealed = json.loads(received.body)["resource"]
    assert (sealed["original_type"], sealed["algorithm"]) == ("transaction", "AEAD_AES_256_GCM")
    assert (sealed["associated_data"], len(sealed["nonce"])) == ("transaction", 12)
    assert merchant.receiver.is_silent(0.3)


def test_a_resent_notice_is_the_same_message_sealed_anew(merchant: Merchant) -> None:
    merchant.paid("RC00000001")
    first = merchant.receiver.next()
    answer = merchant.control("POST", "notices/resend", {"attempt_no": "RC00000001", "times": 2})
    assert answer == {"deliveries": [{"status": 204, "body": ""}] * 2}
    again = [merchant.receiver.next(), merchant.receiver.next()]
    assert [merchant.open(each) for each in again] == [merchant.open(first)] * 2
    assert len({each.headers["Wechatpay-Nonce"] for each in (first, *again)}) == 3
    assert len({each.body for each in (first, *again)}) == 3


def test_the_answer_of_the_merchant_is_reported(merchant: Merchant) -> None:
    merchant.paid("RC00000001")
    merchant.receiver.next()
    merchant.receiver.statuses = [401]
    answer = merchant.control("POST", "notices/resend", {"attempt_no": "RC00000001"})
    assert answer["deliveries"][0]["status"] == 401


def resend(merchant: Merchant, tamper: str) -> Received:
    merchant.control("POST", "notices/resend", {"attempt_no": "RC00000001", "tamper": tamper})
    return merchant.receiver.next()


def test_forged_and_cut_notices_are_refused_by_the_sdk(merchant: Merchant) -> None:
    merchant.paid("RC00000001")
    merchant.receiver.next()
    assert merchant.open(resend(merchant, "signature")) is None
    cut = resend(merchant, "truncate")
    assert merchant.open(cut) is None
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut.body)


def test_a_notice_of_another_amount_is_validly_signed(merchant: Merchant) -> None:
    merchant.paid("RC00000001", 100)
    genuine = merchant.open(merchant.receiver.next())
    other = merchant.open(resend(merchant, "amount"))
    assert (other["resource"]["amount"]["total"], other["resource"]["amount"]["payer_total"]) == (101, 101)
    assert other["id"] == genuine["id"]
    assert merchant.query("RC00000001")[1]["amount"]["total"] == 100


def test_a_stale_notice_is_taken_by_the_sdk(merchant: Merchant) -> None:
    """The gap of the SDK that an adapter has to close: valid but old."""
    merchant.paid("RC00000001")
    genuine = merchant.open(merchant.receiver.next())
    stale = resend(merchant, "stale")
    assert time.time() - int(stale.headers["Wechatpay-Timestamp"]) > 300
    assert merchant.open(stale) == genuine


def test_another_key_opens_nothing(merchant: Merchant) -> None:
    merchant.paid("RC00000001")
    received = merchant.receiver.next()
    merchant.sdk._core._apiv3_key = "0" * 32
    assert merchant.open(received) is None


def test_refused_notices_are_tried_again_on_the_schedule(merchant: Merchant) -> None:
    """15 s, 15 s, 30 s at scale 0.01; the third try is taken."""
    merchant.receiver.statuses = [500, 302]
    merchant.paid("RC00000001")
    tries = [merchant.receiver.next() for _ in range(3)]
    assert len({merchant.open(each)["id"] for each in tries}) == 1
    assert tries[1].at - tries[0].at >= 0.15
    assert tries[2].at - tries[1].at >= 0.15
    assert merchant.receiver.is_silent(0.5)


def test_an_answer_after_the_limit_counts_as_none(merchant: Merchant) -> None:
    merchant.receiver.delay_seconds = 0.8
    merchant.paid("RC00000001")
    merchant.receiver.next()
    merchant.receiver.delay_seconds = 0.0
    merchant.receiver.next()
    assert merchant.receiver.is_silent(0.5)


def test_tries_end_with_the_schedule(directory: Path, receiver: Receiver) -> None:
    handle = server.start(directory=directory, notice_retry_scale=0.0)
    merchant = Merchant(directory=directory, url=handle.url, receiver=receiver)
    receiver.statuses = [500] * 100
    merchant.paid("RC00000001")
    for _ in range(16):
        receiver.next()
    assert receiver.is_silent(0.3)
    handle.stop()


def test_a_restart_loses_nothing(directory: Path, receiver: Receiver) -> None:
    first = server.start(directory=directory, notice_retry_scale=0.05)
    merchant = Merchant(directory=directory, url=first.url, receiver=receiver)
    merchant.control("POST", "clock", {"offset_seconds": 5})
    merchant.faults({"fault": "refund_closed", "attempt_no": "RC00000009"}, seed=7)
    receiver.statuses = [500]
    paid = merchant.paid("RC00000001")
    receiver.next()
    books, rules = merchant.books(), merchant.control("GET", "faults")
    first.stop()
    second = server.start(directory=directory, notice_retry_scale=0.05)
    merchant = Merchant(directory=directory, url=second.url, receiver=receiver)
    received = receiver.next()
    assert merchant.open(received)["resource"]["transaction_id"] == paid["transaction_id"]
    assert merchant.books() == books
    assert merchant.control("GET", "faults") == rules
    assert merchant.control("GET", "clock")["offset_seconds"] == 5
    second.stop()


def test_a_refund_under_way_survives_a_restart(directory: Path, receiver: Receiver) -> None:
    first = server.start(directory=directory, refund_delay_seconds=0.6)
    merchant = Merchant(directory=directory, url=first.url, receiver=receiver)
    merchant.paid("RC00000001")
    receiver.next()
    assert merchant.refund("RF1", "RC00000001", 40, 100)[1]["status"] == "PROCESSING"
    first.stop()
    second = server.start(directory=directory)
    merchant = Merchant(directory=directory, url=second.url, receiver=receiver)
    assert merchant.open(receiver.next())["event_type"] == "REFUND.SUCCESS"
    assert merchant.query_refund("RF1")[1]["status"] == "SUCCESS"
    second.stop()


def test_two_simulators_do_not_share_a_directory(simulator: server.Handle, directory: Path) -> None:
    with pytest.raises(server.DirectoryInUse):
        server.start(directory=directory)


def test_fault_never(merchant: Merchant) -> None:
    merchant.faults({"fault": "notice_never", "channel": "wechat"})
    merchant.paid("RC00000001")
    assert merchant.receiver.is_silent(0.4)
    assert merchant.query("RC00000001")[1]["trade_state"] == "SUCCESS"
    merchant.control("POST", "notices/resend", {"attempt_no": "RC00000001"})
    assert number(merchant, merchant.receiver.next()) == "RC00000001"


def test_fault_duplicate(merchant: Merchant) -> None:
    merchant.faults({"fault": "notice_duplicate", "copies": 2})
    merchant.paid("RC00000001")
    opened = [merchant.open(merchant.receiver.next()) for _ in range(3)]
    assert opened[0] == opened[1] == opened[2]
    assert merchant.receiver.is_silent(0.3)


def test_fault_late(merchant: Merchant) -> None:
    merchant.faults({"fault": "notice_late", "delay_seconds": 0.6})
    before = time.monotonic()
    merchant.paid("RC00000001")
    assert merchant.receiver.next().at - before >= 0.6


def test_fault_out_of_order(merchant: Merchant) -> None:
    merchant.faults({"fault": "notice_out_of_order"})
    merchant.paid("RC00000001")
    assert merchant.receiver.is_silent(0.3)
    merchant.paid("RC00000002")
    order = [number(merchant, merchant.receiver.next()) for _ in range(2)]
    assert order == ["RC00000002", "RC00000001"]


def test_fault_out_of_order_does_not_wait_for_ever(merchant: Merchant) -> None:
    merchant.faults({"fault": "notice_out_of_order", "delay_seconds": 0.3})
    merchant.paid("RC00000001")
    assert number(merchant, merchant.receiver.next()) == "RC00000001"


@pytest.mark.parametrize("tamper", ["signature", "truncate"])
def test_fault_tampered_comes_before_the_genuine_one(merchant: Merchant, tamper: str) -> None:
    merchant.faults({"fault": "notice_tampered", "tamper": tamper})
    merchant.receiver.statuses = [401]
    merchant.paid("RC00000001")
    assert merchant.open(merchant.receiver.next()) is None
    assert number(merchant, merchant.receiver.next()) == "RC00000001"
    assert merchant.receiver.is_silent(0.3)


def test_fault_stale_comes_before_the_genuine_one(merchant: Merchant) -> None:
    merchant.faults({"fault": "notice_stale"})
    merchant.paid("RC00000001")
    stale, genuine = merchant.receiver.next(), merchant.receiver.next()
    assert int(genuine.headers["Wechatpay-Timestamp"]) - int(stale.headers["Wechatpay-Timestamp"]) > 300
    assert merchant.open(stale) == merchant.open(genuine)


def test_fault_signtest_probes_first(merchant: Merchant) -> None:
    merchant.faults({"fault": "notice_signtest"})
    merchant.paid("RC00000001")
    probe, genuine = merchant.receiver.next(), merchant.receiver.next()
    assert probe.headers["Wechatpay-Signature"].startswith(SIGNTEST)
    assert merchant.open(probe) is None
    assert not genuine.headers["Wechatpay-Signature"].startswith(SIGNTEST)
    assert number(merchant, genuine) == "RC00000001"

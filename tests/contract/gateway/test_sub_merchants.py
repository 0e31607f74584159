"""Payments into a merchant's own account, adapters against the simulator: theirs is told from ours in every call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from foundation import clock
from gateway.adapters.alipay import AlipayAdapter, AlipayConfig
from gateway.adapters.wechat import WechatAdapter, WechatConfig
from gateway.ports import NoticeInvalid, NoticeKind, Outcome, Receiver, Result
from simulator.wechat import bill_files
from tests.contract.gateway import test_alipay_simulator as alipay_side
from tests.contract.gateway import test_wechat_simulator as wechat_side
from tests.contract.gateway.test_wechat_simulator import Simulator, fresh_number, pay, set_faults

SHOP, OTHER = Receiver(account_no="1900009999", appid="wx" + "b" * 16), Receiver(account_no="1900008888")
SELLER = "2088123412341234"


@dataclass
class Known:
    """Whose account an attempt is for, as the table would say."""

    rows: dict[str, Receiver] = field(default_factory=dict)

    def __call__(self, attempt_no: str) -> Receiver | None:
        return self.rows.get(attempt_no)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    running = Simulator.start(tmp_path_factory.mktemp("simulator"))
    yield running
    running.handle.stop()


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def wechat(simulator: Simulator, known: Known) -> WechatAdapter:
    set_faults(simulator.url)
    config = WechatConfig(
        base_url=simulator.url,
        credentials_file=str(simulator.directory / "credentials.json"),
        connect_timeout_seconds=1.0,
        read_timeout_seconds=2.0,
    )
    return WechatAdapter(config, known)


@pytest.fixture
def alipay(simulator: Simulator, known: Known) -> AlipayAdapter:
    set_faults(simulator.url)
    config = AlipayConfig(
        gateway_url=f"{simulator.url}/gateway.do",
        credentials_file=str(simulator.directory / "alipay.json"),
        timeout_seconds=2.0,
    )
    return AlipayAdapter(config, known)


@pytest.fixture
def wechat_notices() -> Iterator[wechat_side.Receiver]:
    made = wechat_side.Receiver()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def alipay_notices() -> Iterator[alipay_side.Receiver]:
    made = alipay_side.Receiver()
    made.start()
    yield made
    made.stop()


def begun(wechat: WechatAdapter, known: Known, notices: wechat_side.Receiver, **changes: Any) -> tuple[str, Result]:
    number = fresh_number("CO")
    known.rows[number] = SHOP
    return number, wechat.prepay(wechat_side.prepay_request(number, notices, **changes))


@pytest.mark.parametrize(
    ("scene", "more"),
    [("native", {}), ("jsapi", {"payer_id": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}), ("h5", {"payer_ip": "192.0.2.7"})],
)
def test_wechat_from_prepay_to_notice_and_refund(
    simulator: Simulator,
    wechat: WechatAdapter,
    known: Known,
    wechat_notices: wechat_side.Receiver,
    scene: str,
    more: dict[str, Any],
) -> None:
    number, prepared = begun(wechat, known, wechat_notices, scene=scene, **more)
    assert prepared.outcome is Outcome.SUCCESS, prepared
    assert wechat.query(attempt_no=number).outcome is Outcome.PENDING
    pay(simulator.url, prepared)
    headers, body = wechat_notices.wait(1)[0]
    told = wechat.read_notice(headers=headers, body=body, now=clock.now())
    assert (told.kind, told.number, told.result.amount_fen) == (NoticeKind.PAYMENT, number, 8888)
    assert wechat.query(attempt_no=number).amount_fen == 8888
    refund_no = fresh_number("RF")
    asked = wechat.refund(wechat_side.refund_request(number, refund_no, wechat_notices))
    assert asked.outcome in (Outcome.PENDING, Outcome.SUCCESS)
    headers, body = wechat_notices.wait(2)[1]
    back = wechat.read_notice(headers=headers, body=body, now=clock.now())
    assert (back.kind, back.number, back.result.amount_fen) == (NoticeKind.REFUND, refund_no, 3000)
    assert wechat.query_refund(refund_no=refund_no, attempt_no=number).outcome is Outcome.SUCCESS


def test_wechat_closes_an_unpaid_one(wechat: WechatAdapter, known: Known, wechat_notices: wechat_side.Receiver) -> None:
    number, _ = begun(wechat, known, wechat_notices)
    assert wechat.close(attempt_no=number).outcome is Outcome.SUCCESS
    assert (wechat.query(attempt_no=number).outcome, wechat.query(attempt_no=number).code) == (Outcome.FAILED, "closed")


@pytest.mark.parametrize("mistaken", [None, OTHER])
def test_wechat_of_another_account_is_believed_by_nobody(
    simulator: Simulator,
    wechat: WechatAdapter,
    known: Known,
    wechat_notices: wechat_side.Receiver,
    mistaken: Receiver | None,
) -> None:
    number, prepared = begun(wechat, known, wechat_notices)
    pay(simulator.url, prepared)
    headers, body = wechat_notices.wait(1)[0]
    known.rows = {} if mistaken is None else {number: mistaken}
    with pytest.raises(NoticeInvalid, match="mchid_mismatch"):
        wechat.read_notice(headers=headers, body=body, now=clock.now())
    asked = wechat.query(attempt_no=number)
    assert (asked.outcome, asked.code) == (Outcome.UNKNOWN, "not_found")
    refused = wechat.refund(wechat_side.refund_request(number, fresh_number("RF"), wechat_notices))
    assert refused.outcome is Outcome.UNKNOWN


def test_wechat_of_ours_is_not_taken_for_a_shops(
    simulator: Simulator, wechat: WechatAdapter, known: Known, wechat_notices: wechat_side.Receiver
) -> None:
    number = fresh_number()
    pay(simulator.url, wechat.prepay(wechat_side.prepay_request(number, wechat_notices)))
    headers, body = wechat_notices.wait(1)[0]
    known.rows[number] = SHOP
    with pytest.raises(NoticeInvalid, match="sp_mchid_mismatch"):
        wechat.read_notice(headers=headers, body=body, now=clock.now())


@pytest.mark.parametrize("scene", ["native", "h5"])
def test_alipay_names_the_seller(
    simulator: Simulator,
    alipay: AlipayAdapter,
    known: Known,
    alipay_notices: alipay_side.Receiver,
    scene: str,
) -> None:
    number = fresh_number("CO")
    known.rows[number] = Receiver(account_no=SELLER)
    alipay_side.pay(simulator.url, alipay.prepay(alipay_side.prepay_request(number, alipay_notices, scene=scene)))
    body = alipay_notices.wait(1)[0]
    assert f"seller_id={SELLER}".encode() in body
    told = alipay.read_notice(headers={}, body=body, now=clock.now())
    assert (told.kind, told.number, told.result.amount_fen) == (NoticeKind.PAYMENT, number, 8888)
    assert alipay.query(attempt_no=number).amount_fen == 8888
    assert alipay.refund(alipay_side.refund_request(number, fresh_number("RF"), 3000)).outcome is Outcome.SUCCESS
    for mistaken in ({}, {number: Receiver(account_no="2088000000000000")}):
        known.rows = dict(mistaken)
        with pytest.raises(NoticeInvalid, match="seller_id_mismatch"):
            alipay.read_notice(headers={}, body=body, now=clock.now())


def test_a_shops_money_is_in_no_bill_of_ours(
    tmp_path: Path, known: Known, wechat_notices: wechat_side.Receiver
) -> None:
    simulator = Simulator.start(tmp_path)
    try:
        config = WechatConfig(
            base_url=simulator.url,
            credentials_file=str(tmp_path / "credentials.json"),
            connect_timeout_seconds=1.0,
            read_timeout_seconds=2.0,
        )
        adapter = WechatAdapter(config, known)
        own = fresh_number()
        pay(simulator.url, adapter.prepay(wechat_side.prepay_request(own, wechat_notices)))
        shops, prepared = begun(adapter, known, wechat_notices)
        pay(simulator.url, prepared)
        day = clock.business_date(clock.now())
        for kind in ("ALL", "FUND_FLOW"):
            text = bill_files.write(world=simulator.handle.world, channel_name="wechat", kind=kind, day=day).decode()
            assert (own in text, shops in text) == (True, False), kind
    finally:
        simulator.handle.stop()


def test_the_other_directions_faults_strike_partners_too(
    simulator: Simulator, wechat: WechatAdapter, known: Known, wechat_notices: wechat_side.Receiver
) -> None:
    """A rule for "native" means a service provider's as well."""
    set_faults(simulator.url, {"fault": "system_error_not_done", "operation": "native", "rate": 1.0})
    number, prepared = begun(wechat, known, wechat_notices)
    assert prepared.outcome is Outcome.UNKNOWN
    set_faults(simulator.url)
    assert wechat.query(attempt_no=number).code == "not_found"

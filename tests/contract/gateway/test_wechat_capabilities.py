"""Which channel can do what: a missing capability is refused before anything is sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from gateway import registry
from gateway.adapters.wechat import WechatAdapter
from gateway.adapters.wechat_legacy import WechatLegacyAdapter
from gateway.ports import (
    BillKind,
    BillSource,
    CardVerification,
    CardVerifier,
    NoticeReader,
    PaymentChannel,
    Payout,
    PayoutCancel,
    PayoutQuery,
    PayoutRequest,
)
from gateway.services import calls
from simulator import credentials
from simulator.wechat import legacy_keys
from tests.contract.gateway.provider import Provider, Reply, transfer_data

REQUEST = PayoutRequest(
    payout_no="WD1",
    amount_fen=100,
    payee_account="oU",
    payee_name="",
    remark="提现",
    notify_url="https://example.com/n",
)


@pytest.fixture(scope="module")
def legacy_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("legacy")
    credentials.initialise(directory=directory)
    legacy_keys.initialise(directory=directory, mchid="1900000001", appid="wx0123456789abcdef")
    return directory


@pytest.fixture(autouse=True)
def configured(provider: Provider, legacy_directory: Path) -> Iterator[None]:
    wechat = {
        "base_url": provider.url,
        "credentials_file": str(provider.credentials_file),
        "connect_timeout_seconds": 1.0,
        "read_timeout_seconds": 1.0,
    }
    legacy = {"base_url": "https://127.0.0.1:1", "credentials_file": str(legacy_directory / "wechat_legacy.json")}
    with override_settings(WECHAT=wechat, WECHAT_LEGACY=legacy):
        yield


def refused(call: Callable[[], Any]) -> dict[str, Any]:
    with pytest.raises(registry.ChannelUnavailable) as caught:
        call()
    assert (caught.value.code, caught.value.http_status) == ("channel_unavailable", 422)
    return caught.value.details


def test_wechat_can_do_all_but_verify_cards() -> None:
    for capability in (PaymentChannel, Payout, PayoutQuery, PayoutCancel, BillSource, NoticeReader):
        assert isinstance(registry.capable("wechat", capability), WechatAdapter)
    lacking = refused(lambda: registry.capable("wechat", CardVerifier))
    assert lacking == {"channel": "wechat", "capability": "CardVerifier"}


def test_the_legacy_channel_pays_out_and_nothing_else(provider: Provider) -> None:
    assert isinstance(registry.capable("wechat_legacy", Payout), WechatLegacyAdapter)
    assert isinstance(registry.capable("wechat_legacy", PayoutQuery), WechatLegacyAdapter)
    assert refused(lambda: registry.adapter("wechat_legacy"))["capability"] == "PaymentChannel"
    assert refused(lambda: calls.cancel_payout(channel="wechat_legacy", payout_no="WD1"))["capability"] == (
        "PayoutCancel"
    )
    assert refused(lambda: registry.answers("wechat_legacy")) == {"channel": "wechat_legacy"}
    assert calls.list_bill_kinds(channel="wechat_legacy") == frozenset()
    bill = refused(lambda: calls.download_bill(channel="wechat_legacy", day=dt.date(2026, 11, 22), kind=BillKind.TRADE))
    assert bill == {"channel": "wechat_legacy", "capability": "BillSource"}
    assert provider.seen == []


def test_the_switch_of_the_legacy_channel_is_its_credentials() -> None:
    with override_settings(WECHAT_LEGACY={"base_url": "https://127.0.0.1:1", "credentials_file": ""}):
        assert refused(lambda: calls.pay_out(channel="wechat_legacy", request=REQUEST)) == {"channel": "wechat_legacy"}


def test_production_takes_the_official_address_only() -> None:
    with override_settings(ENVIRONMENT="production"), pytest.raises(registry.ChannelMisconfigured):
        calls.pay_out(channel="wechat_legacy", request=REQUEST)


def test_an_unknown_channel_is_refused_by_every_call(provider: Provider) -> None:
    day = dt.date(2026, 11, 22)
    verification = CardVerification(verification_no="CV1", card_no="6222", holder_name="张三")
    for call in (
        lambda: calls.pay_out(channel="paypal", request=REQUEST),
        lambda: calls.query_payout(channel="paypal", payout_no="WD1"),
        lambda: calls.cancel_payout(channel="paypal", payout_no="WD1"),
        lambda: calls.list_bill_kinds(channel="paypal"),
        lambda: calls.download_bill(channel="paypal", day=day, kind=BillKind.TRADE),
        lambda: calls.read_bill(channel="paypal", kind=BillKind.TRADE, content=b""),
        lambda: calls.verify_card(channel="paypal", request=verification),
    ):
        assert refused(call) == {"channel": "paypal"}
    assert provider.seen == []


def test_calls_reach_the_adapter(provider: Provider) -> None:
    provider.reply = Reply(data=transfer_data(out_bill_no="WD1"))
    assert calls.query_payout(channel="wechat", payout_no="WD1").amount_fen == 5000
    assert calls.list_bill_kinds(channel="wechat") == frozenset(BillKind)
    assert [seen.path for seen in provider.seen] == ["/v3/fund-app/mch-transfer/transfer-bills/out-bill-no/WD1"]

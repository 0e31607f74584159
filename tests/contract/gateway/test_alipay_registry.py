"""The channel `alipay`: when its adapter is built, and the guard of production's address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings

from gateway import registry
from gateway.adapters.alipay import AlipayAdapter
from gateway.ports import BillKind
from gateway.services import calls, notices
from tests.contract.gateway.alipay_provider import AlipayProvider

OFFICIAL = "https://openapi.alipay.com/gateway.do"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlipayProvider]:
    made = AlipayProvider.create(tmp_path_factory.mktemp("alipay"))
    made.start()
    yield made
    made.stop()


def alipay(provider: AlipayProvider, **changes: Any) -> dict[str, Any]:
    return {
        "gateway_url": f"{provider.url}/gateway.do",
        "credentials_file": str(provider.credentials_file),
        "timeout_seconds": 1.0,
        **changes,
    }


def test_an_adapter_is_built_once_per_configuration_and_without_the_network(provider: AlipayProvider) -> None:
    with override_settings(ALIPAY=alipay(provider)):
        first = registry.adapter("alipay")
        assert isinstance(first, AlipayAdapter)
        assert registry.adapter("alipay") is first
        assert calls.list_bill_kinds(channel="alipay") == {BillKind.TRADE, BillKind.FUND_FLOW}
    with override_settings(ALIPAY=alipay(provider, timeout_seconds=2.0)):
        assert registry.adapter("alipay") is not first
    assert provider.seen == []


def test_without_credentials_there_is_no_channel_but_its_answers_are_known(provider: AlipayProvider) -> None:
    with override_settings(ALIPAY=alipay(provider, credentials_file="")):
        with pytest.raises(registry.ChannelUnavailable):
            registry.adapter("alipay")
        assert notices.success_answer("alipay").body == b"success"
        assert notices.failure_answer("alipay", "x").body == b"fail"


@pytest.mark.parametrize("content", ["", "[]", "{}", "not json", '{"app_id": "", "seller_id": "1"}'])
def test_unreadable_credentials_are_our_fault(provider: AlipayProvider, tmp_path: Any, content: str) -> None:
    file = tmp_path / "alipay.json"
    file.write_text(content)
    for path in (file, tmp_path / "missing.json"):
        with (
            override_settings(ALIPAY=alipay(provider, credentials_file=str(path))),
            pytest.raises(registry.ChannelMisconfigured) as caught,
        ):
            registry.adapter("alipay")
        assert caught.value.details == {"channel": "alipay", "problem": "credentials unreadable"}


@pytest.mark.parametrize(
    "gateway_url",
    [
        "http://127.0.0.1:8900/gateway.do",
        "http://openapi.alipay.com/gateway.do",
        "https://openapi-sandbox.dl.alipaydev.com/gateway.do",
        "https://openapi.alipay.com.example.com/gateway.do",
        "https://openapi.alipay.com/",
    ],
)
def test_production_refuses_any_address_but_the_official_one(provider: AlipayProvider, gateway_url: str) -> None:
    with override_settings(ENVIRONMENT="production", ALIPAY=alipay(provider, gateway_url=gateway_url)):
        with pytest.raises(registry.ChannelMisconfigured):
            registry.adapter("alipay")
        assert "gateway.E001" in [problem.id for problem in run_checks(tags=["security"])]
    assert provider.seen == []


def test_production_takes_the_official_address(provider: AlipayProvider) -> None:
    with override_settings(ENVIRONMENT="production", ALIPAY=alipay(provider, gateway_url=OFFICIAL)):
        assert isinstance(registry.adapter("alipay"), AlipayAdapter)

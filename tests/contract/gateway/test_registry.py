"""Which channels exist, when their adapters are built, and the guard of production's address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings

from gateway import registry
from gateway.adapters.wechat import WechatAdapter
from tests.contract.gateway.provider import Provider

OFFICIAL = "https://api.mch.weixin.qq.com"


def wechat(provider: Provider, **changes: Any) -> dict[str, Any]:
    return {
        "base_url": provider.url,
        "credentials_file": str(provider.credentials_file),
        "connect_timeout_seconds": 1.0,
        "read_timeout_seconds": 1.0,
        **changes,
    }


@pytest.mark.parametrize("channel", ["wallet", "", "WECHAT", "Alipay"])
def test_a_channel_that_does_not_exist_is_refused(provider: Provider, channel: str) -> None:
    with override_settings(WECHAT=wechat(provider)):
        for ask in (registry.adapter, registry.answers):
            with pytest.raises(registry.ChannelUnavailable) as caught:
                ask(channel)
            assert (caught.value.code, caught.value.http_status) == ("channel_unavailable", 422)


def test_a_channel_without_credentials_is_refused(provider: Provider) -> None:
    with override_settings(WECHAT=wechat(provider, credentials_file="")), pytest.raises(registry.ChannelUnavailable):
        registry.adapter("wechat")


def test_an_adapter_is_built_once_per_configuration_and_without_the_network(provider: Provider) -> None:
    with override_settings(WECHAT=wechat(provider)):
        first = registry.adapter("wechat")
        assert isinstance(first, WechatAdapter)
        assert registry.adapter("wechat") is first
    with override_settings(WECHAT=wechat(provider, read_timeout_seconds=2.0)):
        assert registry.adapter("wechat") is not first
    assert provider.seen == []


def refused_configuration(provider: Provider, credentials_file: Path) -> dict[str, Any]:
    """The details of the refusal to build an adapter from this file."""
    configured = override_settings(WECHAT=wechat(provider, credentials_file=str(credentials_file)))
    with configured, pytest.raises(registry.ChannelMisconfigured) as caught:
        registry.adapter("wechat")
    assert provider.seen == []
    return caught.value.details


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"mchid": "1"}', "not json"])
def test_unreadable_credentials_are_our_fault(provider: Provider, tmp_path: Path, content: str) -> None:
    file = tmp_path / "credentials.json"
    file.write_text(content, encoding="utf-8")
    assert refused_configuration(provider, file) == {"channel": "wechat", "problem": "credentials unreadable"}


@pytest.mark.parametrize(
    ("merchant", "platform", "apiv3_key"),
    [
        ("no key", None, None),
        (None, "no key", None),
        ("", None, None),
        (None, "", None),
        (None, None, "short"),
        (None, None, ""),
    ],
)
def test_an_unusable_key_is_our_fault_and_nothing_is_fetched(
    provider: Provider, tmp_path: Path, merchant: str | None, platform: str | None, apiv3_key: str | None
) -> None:
    data = json.loads(provider.credentials_file.read_text(encoding="utf-8"))
    if apiv3_key is not None:
        data["apiv3_key"] = apiv3_key
    for name, text in (("merchant.pem", merchant), ("platform.pem", platform)):
        original = (provider.directory / name).read_text(encoding="ascii")
        (tmp_path / name).write_text(original if text is None else text, encoding="ascii")
    file = tmp_path / "credentials.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    assert refused_configuration(provider, file) == {"channel": "wechat", "problem": "credentials unreadable"}


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:8900",
        "http://api.mch.weixin.qq.com",
        "https://api.mch.weixin.qq.com.example.com",
        "https://api.mch.weixin.qq.com/",
    ],
)
def test_production_refuses_any_address_but_the_official_one(provider: Provider, base_url: str) -> None:
    with override_settings(
        ENVIRONMENT="production", WECHAT=wechat(provider, base_url=base_url), WECHAT_OFFICIAL_BASE_URL=OFFICIAL
    ):
        with pytest.raises(registry.ChannelMisconfigured):
            registry.adapter("wechat")
        assert "gateway.E001" in [problem.id for problem in run_checks(tags=["security"])]
    assert provider.seen == []


def test_production_takes_the_official_address_and_development_any(provider: Provider) -> None:
    with override_settings(ENVIRONMENT="production", WECHAT=wechat(provider, base_url=OFFICIAL)):
        assert registry.adapter("wechat") is not None
        assert "gateway.E001" not in [problem.id for problem in run_checks(tags=["security"])]
    with override_settings(ENVIRONMENT="dev", WECHAT=wechat(provider)):
        assert "gateway.E001" not in [problem.id for problem in run_checks(tags=["security"])]

"""Channel code → adapter, built on first use and kept for the life of the process.

Its credentials are the stored ones (gateway.vault) where there are any, else the file of the settings. New ones are
another adapter: rotation needs no restart.

Also the guard that production talks to the official addresses only: as a system check, and when an adapter is built.
A new channel is one more row of `_CHANNELS` (docs/ADDING_A_PROVIDER.md).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from foundation import clock
from foundation.crypto import CannotDecrypt, KeysUnusable
from foundation.errors import Broken, Rejected
from gateway import selectors, vault
from gateway.adapters.alipay import AlipayAdapter, AlipayConfig
from gateway.adapters.kuaiqian import KuaiqianAdapter, KuaiqianConfig
from gateway.adapters.wechat import WechatAdapter, WechatConfig
from gateway.adapters.wechat_legacy import WechatLegacyAdapter, WechatLegacyConfig
from gateway.ports import NoticeReader, PaymentChannel

ALIPAY = "alipay"
KUAIQIAN = "kuaiqian"
WECHAT = "wechat"
WECHAT_LEGACY = "wechat_legacy"
"""Payouts only, for merchants who still have 企业付款. Its own code, so that a payout is queried where it was sent."""


class ChannelUnavailable(Rejected):
    """There is no such channel, it is not set up here, or it cannot do what was asked (`capability`)."""

    code = "channel_unavailable"
    http_status = 422
    message_en = "This payment channel is not available."
    message_zh = "该支付渠道不可用。"


class ChannelMisconfigured(Broken):
    """The channel's settings must not be used: not the official address in production, unreadable credentials."""

    code = "channel_misconfigured"


@dataclass(frozen=True, kw_only=True)
class _Channel:
    """`credentials_file`: that of the settings, or "". `address_problem`: why its address must not be used, or "".

    `build`: of a credentials file; OSError or ValueError for unusable ones. `answers`: who words the answers to its
    notices, None for a channel that takes no payments.
    """

    credentials_file: Callable[[], str]
    address_problem: Callable[[], str]
    build: Callable[[str], object]
    answers: type[NoticeReader] | None


def adapter(channel: str) -> PaymentChannel:
    """The channel's adapter, for payments. Raises ChannelUnavailable for an unknown or unconfigured one, or one that
    takes no payments; ChannelMisconfigured."""
    made: PaymentChannel = capable(channel, PaymentChannel)
    return made


def capable(channel: str, capability: Any) -> Any:
    """The channel's adapter, which implements the protocol `capability` of gateway.ports.

    Raises ChannelUnavailable, with the name of what is missing, when it does not. Not typed by the protocol as mypy
    takes no abstract class for type[T]: annotate the variable that takes the answer.
    """
    made = _built(channel)
    if not isinstance(made, capability):
        raise ChannelUnavailable({"channel": channel, "capability": capability.__name__})
    return made


def answers(channel: str) -> type[NoticeReader]:
    """Who words the answers to a channel's notices; needs no credentials. Raises ChannelUnavailable if unknown."""
    found = _CHANNELS.get(channel)
    if found is None or found.answers is None:
        raise ChannelUnavailable({"channel": channel})
    return found.answers


def address_problems() -> list[str]:
    """Why configured addresses must not be used; empty when all may."""
    return [problem for channel in _CHANNELS.values() if (problem := channel.address_problem())]


def check_addresses(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """System check gateway.E001: a simulator can never be used in production by mistake."""
    return [Error(problem, id="gateway.E001") for problem in address_problems()]


def codes() -> tuple[str, ...]:
    """Every channel there is an adapter for, set up or not."""
    return tuple(sorted(_CHANNELS))


def payment_channels() -> tuple[str, ...]:
    """The channels that take payments and have credentials, by code."""
    now = clock.now()
    return tuple(
        code
        for code, channel in sorted(_CHANNELS.items())
        if channel.answers is not None
        and (channel.credentials_file() or selectors.list_active_credentials(channel=code, now=now))
    )


def try_credentials(channel: str, contents: Mapping[str, str]) -> None:
    """Builds an adapter of these files (name → text) and forgets it; no network.

    Raises ChannelUnavailable for an unknown channel, OSError or ValueError for unusable credentials.
    """
    found = _CHANNELS.get(channel)
    if found is None:
        raise ChannelUnavailable({"channel": channel})
    found.build(vault.write_files(contents))


def _built(channel: str) -> object:
    found = _CHANNELS.get(channel)
    if found is None:
        raise ChannelUnavailable({"channel": channel})
    try:
        credentials_file = vault.credentials_file(channel=channel, now=clock.now()) or found.credentials_file()
        if not credentials_file:
            raise ChannelUnavailable({"channel": channel})
        problem = found.address_problem()
        if problem:
            raise ChannelMisconfigured({"channel": channel, "problem": problem})
        return found.build(credentials_file)
    except (OSError, ValueError, CannotDecrypt, KeysUnusable) as error:
        raise ChannelMisconfigured({"channel": channel, "problem": "credentials unreadable"}) from error


def _unofficial(name: str, address: str, official: str) -> str:
    is_production = getattr(settings, "ENVIRONMENT", "") == "production"
    return f"{name}'s address in production must be {official}" if is_production and address != official else ""


def _build_wechat(credentials_file: str) -> WechatAdapter:
    return _wechat(
        WechatConfig(
            base_url=settings.WECHAT["base_url"],
            credentials_file=credentials_file,
            connect_timeout_seconds=settings.WECHAT["connect_timeout_seconds"],
            read_timeout_seconds=settings.WECHAT["read_timeout_seconds"],
        )
    )


@functools.lru_cache(maxsize=8)
def _wechat(config: WechatConfig) -> WechatAdapter:
    return WechatAdapter(config, selectors.find_receiver)


def _build_wechat_legacy(credentials_file: str) -> WechatLegacyAdapter:
    return _wechat_legacy(
        WechatLegacyConfig(
            base_url=settings.WECHAT_LEGACY["base_url"],
            credentials_file=credentials_file,
            connect_timeout_seconds=settings.WECHAT["connect_timeout_seconds"],
            read_timeout_seconds=settings.WECHAT["read_timeout_seconds"],
        )
    )


@functools.lru_cache(maxsize=8)
def _wechat_legacy(config: WechatLegacyConfig) -> WechatLegacyAdapter:
    return WechatLegacyAdapter(config)


def _build_alipay(credentials_file: str) -> AlipayAdapter:
    return _alipay(
        AlipayConfig(
            gateway_url=settings.ALIPAY["gateway_url"],
            credentials_file=credentials_file,
            timeout_seconds=settings.ALIPAY["timeout_seconds"],
        )
    )


@functools.lru_cache(maxsize=8)
def _alipay(config: AlipayConfig) -> AlipayAdapter:
    return AlipayAdapter(config, selectors.find_receiver)


def _build_kuaiqian(credentials_file: str) -> KuaiqianAdapter:
    return _kuaiqian(
        KuaiqianConfig(
            base_url=settings.KUAIQIAN["base_url"],
            card_base_url=settings.KUAIQIAN["card_base_url"],
            credentials_file=credentials_file,
            redirect_url=settings.KUAIQIAN["redirect_url"],
            connect_timeout_seconds=settings.KUAIQIAN["connect_timeout_seconds"],
            read_timeout_seconds=settings.KUAIQIAN["read_timeout_seconds"],
        )
    )


@functools.lru_cache(maxsize=8)
def _kuaiqian(config: KuaiqianConfig) -> KuaiqianAdapter:
    return KuaiqianAdapter(config)


_CHANNELS: Mapping[str, _Channel] = {
    ALIPAY: _Channel(
        credentials_file=lambda: settings.ALIPAY["credentials_file"],
        address_problem=lambda: _unofficial(
            "Alipay", settings.ALIPAY["gateway_url"], settings.ALIPAY_OFFICIAL_GATEWAY_URL
        ),
        build=_build_alipay,
        answers=AlipayAdapter,
    ),
    KUAIQIAN: _Channel(
        credentials_file=lambda: settings.KUAIQIAN["credentials_file"],
        address_problem=lambda: (
            _unofficial("99bill", settings.KUAIQIAN["base_url"], settings.KUAIQIAN_OFFICIAL_BASE_URL)
            or _unofficial("99bill", settings.KUAIQIAN["card_base_url"], settings.KUAIQIAN_OFFICIAL_CARD_BASE_URL)
        ),
        build=_build_kuaiqian,
        answers=KuaiqianAdapter,
    ),
    WECHAT: _Channel(
        credentials_file=lambda: settings.WECHAT["credentials_file"],
        address_problem=lambda: _unofficial("WeChat", settings.WECHAT["base_url"], settings.WECHAT_OFFICIAL_BASE_URL),
        build=_build_wechat,
        answers=WechatAdapter,
    ),
    WECHAT_LEGACY: _Channel(
        credentials_file=lambda: settings.WECHAT_LEGACY["credentials_file"],
        address_problem=lambda: _unofficial(
            "WeChat v2", settings.WECHAT_LEGACY["base_url"], settings.WECHAT_OFFICIAL_BASE_URL
        ),
        build=_build_wechat_legacy,
        answers=None,
    ),
}

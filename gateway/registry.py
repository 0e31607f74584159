"""Channel code → adapter, built on first use and kept for the life of the process.

Also the guard that production talks to the official address only: as a system check, and when an adapter is built.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from foundation.errors import Broken, Rejected
from gateway.adapters.wechat import WechatAdapter, WechatConfig
from gateway.ports import NoticeReader, PaymentChannel

WECHAT = "wechat"


class ChannelUnavailable(Rejected):
    """There is no such channel, or it is not set up here."""

    code = "channel_unavailable"
    http_status = 422
    message_en = "This payment channel is not available."
    message_zh = "该支付渠道不可用。"


class ChannelMisconfigured(Broken):
    """The channel's settings must not be used: not the official address in production, unreadable credentials."""

    code = "channel_misconfigured"


def adapter(channel: str) -> PaymentChannel:
    """The channel's adapter. Raises ChannelUnavailable for an unknown or unconfigured one, ChannelMisconfigured."""
    if channel != WECHAT or not settings.WECHAT["credentials_file"]:
        raise ChannelUnavailable({"channel": channel})
    problem = address_problem()
    if problem:
        raise ChannelMisconfigured({"channel": channel, "problem": problem})
    config = WechatConfig(
        base_url=settings.WECHAT["base_url"],
        credentials_file=settings.WECHAT["credentials_file"],
        connect_timeout_seconds=settings.WECHAT["connect_timeout_seconds"],
        read_timeout_seconds=settings.WECHAT["read_timeout_seconds"],
    )
    try:
        return _wechat(config)
    except (OSError, ValueError) as error:
        raise ChannelMisconfigured({"channel": channel, "problem": "credentials unreadable"}) from error


@functools.lru_cache(maxsize=8)
def _wechat(config: WechatConfig) -> WechatAdapter:
    return WechatAdapter(config)


def answers(channel: str) -> type[NoticeReader]:
    """Who words the answers to a channel's notices; needs no credentials. Raises ChannelUnavailable if unknown."""
    if channel != WECHAT:
        raise ChannelUnavailable({"channel": channel})
    return WechatAdapter


def address_problem() -> str:
    """Why the configured address must not be used, or ""."""
    is_production = getattr(settings, "ENVIRONMENT", "") == "production"
    if is_production and settings.WECHAT["base_url"] != settings.WECHAT_OFFICIAL_BASE_URL:
        return f"WeChat's address in production must be {settings.WECHAT_OFFICIAL_BASE_URL}"
    return ""


def check_addresses(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """System check gateway.E001: a simulator can never be used in production by mistake."""
    problem = address_problem()
    return [Error(problem, id="gateway.E001")] if problem else []

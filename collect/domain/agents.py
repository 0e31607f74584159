"""Which app the payer scanned with, by its user agent. A hint for what to show; nothing is decided by it."""

from __future__ import annotations

from collect.domain.rules import ALIPAY, WECHAT

_MARKS = (("micromessenger", WECHAT), ("alipayclient", ALIPAY))


def channel_of(user_agent: str) -> str:
    """wechat, alipay, or "" for any other browser: there the payer chooses."""
    text = user_agent.lower()
    found = {channel for mark, channel in _MARKS if mark in text}
    return found.pop() if len(found) == 1 else ""

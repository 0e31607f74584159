"""Who pays, as far as a wallet tells it without asking him: for businesses whose pages stand inside of WeChat."""

from __future__ import annotations

from gateway.services import openids
from gateway.services.openids import OpenidUnknown as OpenidUnknown


def is_set_up() -> bool:
    """Whether WeChat can be asked for the payer's openid."""
    return openids.is_set_up()


def ask_address(*, return_url: str, state: str) -> str:
    """Where the payer's WeChat is sent, and comes back from to `return_url` with `code` and `state`."""
    return openids.authorize_url(return_url=return_url, state=state)


def openid_of(*, code: str) -> str:
    """The openid of who came back with `code`, which serves once. Raises OpenidUnknown."""
    return openids.exchange(code=code)

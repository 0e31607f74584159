"""Composes notices: stamps and signs the parameters, and falsifies them when a fault asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from simulator.alipay import wire, words
from simulator.books import Notice
from simulator.world import OutgoingMessage, World

STALE_SECONDS = 2 * 86_400
"""How old a stale message says it is; longer than Alipay repeats a notice."""
FORGED = frozenset({"signature", "signtest"})


def compose(*, world: World, notice: Notice, mode: str) -> OutgoingMessage:
    """`mode`: genuine, signtest, signature, amount, stale or truncate. `notify_time` is new at each call."""
    key = world.credentials.alipay.alipay_private_key
    sent_at = world.clock.seconds() - (STALE_SECONDS if mode == "stale" else 0)
    parameters = {
        **(_with_other_amount(notice.content) if mode == "amount" else notice.content),
        "notify_id": notice.notice_id,
        "notify_time": words.time(sent_at),
    }
    message = wire.notice_text(parameters)
    signature = wire.sign(key=key, message="another message" if mode in FORGED else message)
    body = urlencode({**parameters, "sign_type": wire.SIGN_TYPE, "sign": signature}).encode("ascii")
    return OutgoingMessage(
        method="POST",
        url=notice.url,
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "User-Agent": "Mozilla/4.0"},
        body=body[: len(body) // 2] if mode == "truncate" else body,
    )


def _with_other_amount(content: Mapping[str, str]) -> dict[str, str]:
    """One fen more, wherever the message says how much moved."""
    name = "refund_fee" if "refund_fee" in content else "total_amount"
    yuan, _, rest = content[name].partition(".")
    return {**content, name: words.yuan(int(yuan) * 100 + int(rest) + 1)}

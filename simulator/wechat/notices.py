"""Composes notices: encrypts the content, signs the body, and falsifies either when a fault asks for it."""

from __future__ import annotations

import copy
import json
import secrets
import string
from collections.abc import Mapping
from typing import Any

from simulator.books import Notice
from simulator.clock import rfc3339
from simulator.wechat import wire
from simulator.world import OutgoingMessage, World

ALGORITHM = "AEAD_AES_256_GCM"
STALE_SECONDS = 2 * wire.WINDOW_SECONDS
"""How old a stale message says it is."""
NONCE_LENGTH = 12
_NONCE_LETTERS = string.ascii_letters + string.digits
SUMMARIES = {
    "TRANSACTION.SUCCESS": "支付成功",
    "REFUND.SUCCESS": "退款成功",
    "REFUND.ABNORMAL": "退款异常",
    "REFUND.CLOSED": "退款关闭",
    "MCHTRANSFER.BILL.FINISHED": "商家转账单据终态通知",
}
ORIGINAL_TYPES = {"TRANSACTION": "transaction", "REFUND": "refund", "MCHTRANSFER": "mch_payment"}
"""By the first word of the event."""


def compose(*, world: World, notice: Notice, mode: str) -> OutgoingMessage:
    """`mode`: genuine, signtest, signature, amount, stale or truncate. Nonces and timestamp are new at each call."""
    content = _with_other_amount(notice.content) if mode == "amount" else notice.content
    body = _body(world=world, notice=notice, content=content)
    timestamp = int(world.clock.seconds()) - (STALE_SECONDS if mode == "stale" else 0)
    key = world.credentials.platform_private_key
    headers = wire.sealed_headers(
        key=key, serial=world.credentials.platform_public_key_id, timestamp=timestamp, body=body
    )
    if mode == "signature":
        headers["Wechatpay-Signature"] = wire.sign(key=key, message=b"another message")
    elif mode == "signtest":
        headers["Wechatpay-Signature"] = wire.SIGNTEST_PREFIX + headers["Wechatpay-Signature"]
    return OutgoingMessage(
        method="POST",
        url=notice.url,
        headers={"Content-Type": "application/json", "Accept": "*/*", "User-Agent": "Mozilla/4.0", **headers},
        body=body[: len(body) // 2] if mode == "truncate" else body,
    )


def _body(*, world: World, notice: Notice, content: Mapping[str, Any]) -> bytes:
    original_type = ORIGINAL_TYPES[notice.event.partition(".")[0]]
    associated_data = "" if original_type == "mch_payment" else original_type
    nonce = "".join(secrets.choice(_NONCE_LETTERS) for _ in range(NONCE_LENGTH))
    plain = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    envelope = {
        "id": notice.notice_id,
        "create_time": rfc3339(notice.created_at),
        "resource_type": "encrypt-resource",
        "event_type": notice.event,
        "summary": SUMMARIES[notice.event],
        "resource": {
            "original_type": original_type,
            "algorithm": ALGORITHM,
            "ciphertext": wire.encrypt_resource(
                apiv3_key=world.credentials.apiv3_key, nonce=nonce, associated_data=associated_data, plain=plain
            ),
            "associated_data": associated_data,
            "nonce": nonce,
        },
    }
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()


def _with_other_amount(content: Mapping[str, Any]) -> dict[str, Any]:
    """One fen more, wherever the message says how much moved."""
    changed = copy.deepcopy(dict(content))
    if "transfer_amount" in changed:
        changed["transfer_amount"] += 1
        return changed
    amount = changed["amount"]
    for name in ("refund", "payer_refund") if "refund" in amount else ("total", "payer_total"):
        amount[name] += 1
    return changed

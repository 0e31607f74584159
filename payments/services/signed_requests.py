"""Checks requests that business backends signed. Source: design api.md ("Business backends").

Redis: `payments:nonce:<product id>:<SHA-256 of the nonce>` → "1", alive for NONCE_SECONDS.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re

import redis.exceptions

from foundation import redis as shared_redis
from foundation.errors import Busy, Rejected
from payments.domain import signing
from payments.domain.signing import SignedMessage
from payments.models import BusinessApp
from payments.services import businesses

NONCE_SECONDS = 2 * signing.WINDOW_SECONDS + 10
"""A time stamp may lie a window ahead and is then good for two windows."""
_PRODUCT_ID = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
NOBODY = "0" * 64
"""Stands for the secret of an app that does not exist, so that its refusal takes as long."""


class SignatureInvalid(Rejected):
    """Whatever was wrong: app, time, nonce or signature. It never says which."""

    code = "signature_invalid"
    http_status = 401
    message_en = "The signature is not valid."
    message_zh = "签名无效。"


def authenticate(*, product_id: str, message: SignedMessage, signature: str, now: dt.datetime) -> BusinessApp:
    """The active app that signed `message`; its nonce is used up by this.

    Raises SignatureInvalid, and Busy while Redis cannot tell whether the nonce was used: nothing passes unchecked.
    Whoever cannot sign uses up no nonce.
    """
    app = _find(product_id)
    secrets = businesses.valid_secrets(app, now=now) if app is not None else [NOBODY]
    is_right = signing.is_signed(secrets=secrets, message=message, signature=signature)
    is_fresh = signing.is_fresh(timestamp=message.timestamp, nonce=message.nonce, now=now)
    if app is None or not (is_right and is_fresh) or not _use_nonce(app.product_id, message.nonce):
        raise SignatureInvalid()
    return app


def _find(product_id: str) -> BusinessApp | None:
    if not _PRODUCT_ID.fullmatch(product_id):
        return None
    return BusinessApp.objects.filter(product_id=product_id, is_active=True).first()


def _use_nonce(product_id: str, nonce: str) -> bool:
    key = f"payments:nonce:{product_id}:{hashlib.sha256(nonce.encode()).hexdigest()}"
    try:
        return bool(shared_redis.client().set(key, "1", nx=True, ex=NONCE_SECONDS))
    except redis.exceptions.RedisError as error:
        raise Busy({"reason": "nonces cannot be checked"}) from error

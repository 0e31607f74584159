"""How a business backend and we sign requests to each other, both ways alike.

Source: design api.md ("Business backends"): hex HMAC-SHA256 with the secret over method, path with query, time stamp,
nonce and the hex SHA-256 of the body, joined by line feeds.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

APP_HEADER = "X-Pay-App"
TIMESTAMP_HEADER = "X-Pay-Timestamp"
NONCE_HEADER = "X-Pay-Nonce"
SIGNATURE_HEADER = "X-Pay-Signature"
WINDOW_SECONDS = 300
"""How far the sender's clock may be from ours, to either side."""
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_NONCE = re.compile(r"[\x21-\x7e]{8,64}")


@dataclass(frozen=True, kw_only=True)
class SignedMessage:
    """What a signature covers. `target` is the request target as sent: the path, with `?` and query where there is one.

    `timestamp` and `nonce` are the header texts themselves, not yet judged.
    """

    method: str
    target: str
    timestamp: str
    nonce: str
    body: bytes


def sign(*, secret: str, message: SignedMessage) -> str:
    """The 64 lower-case hex characters of X-Pay-Signature."""
    text = "\n".join(
        [
            message.method.upper(),
            message.target,
            message.timestamp,
            message.nonce,
            hashlib.sha256(message.body).hexdigest(),
        ]
    )
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def is_signed(*, secrets: Sequence[str], message: SignedMessage, signature: str) -> bool:
    """True when one of the secrets made the signature; every secret is tried, each compared in constant time."""
    given = signature.encode("utf-8", "surrogateescape")
    matches = [hmac.compare_digest(sign(secret=secret, message=message).encode(), given) for secret in secrets]
    return any(matches)


def is_fresh(*, timestamp: str, nonce: str, now: dt.datetime) -> bool:
    """True for a well-formed nonce (8 to 64 visible ASCII characters) and a time within WINDOW_SECONDS of `now`."""
    if not _TIMESTAMP.fullmatch(timestamp) or not _NONCE.fullmatch(nonce):
        return False
    return abs(int(timestamp) - now.timestamp()) <= WINDOW_SECONDS

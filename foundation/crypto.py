"""Encryption of single values that stay in the database, and look-ups of what is encrypted.

AES-256-GCM. Text form `v1:<kid>:<base64 of nonce + ciphertext + tag>`; associated data is "table.column", so that a
value copied into another column does not open. Keys come from the settings or the environment, never from a database:
`PAYSYS_ENCRYPTION_KEYS="2026:<64 hex digits>,2027:<64 hex digits>"`. All of them open, the last one closes: rotation is
one more key at the end, then `rotated` on every row, then the old key goes. Source: design `admin.md`, "encryption".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from foundation.errors import Broken

VERSION = "v1"
KEY_BYTES = 32
NONCE_BYTES = 12
"""Of GCM; random, which is safe for far more values than one key will ever close (2^32)."""
TAG_BYTES = 16
VARIABLE = "PAYSYS_ENCRYPTION_KEYS"


class KeysUnusable(Broken):
    """No key is set up, or one is malformed."""

    code = "encryption_keys_unusable"


class CannotDecrypt(Broken):
    """Not of our form, closed with a key that is not in the ring, meant for another column, or changed since."""

    code = "cannot_decrypt"


def encrypt(text: str, *, column: str) -> str:
    """`text` closed with the newest key for `column` ("table.column"). Never twice the same. Raises KeysUnusable."""
    keys = key_ring()
    kid = next(reversed(keys))
    nonce = os.urandom(NONCE_BYTES)
    closed = AESGCM(keys[kid]).encrypt(nonce, text.encode(), column.encode())
    return f"{VERSION}:{kid}:{base64.b64encode(nonce + closed).decode()}"


def decrypt(stored: str, *, column: str) -> str:
    """What `encrypt` closed for the same column. Raises CannotDecrypt (which names no content) and KeysUnusable."""
    version, _, rest = stored.partition(":")
    kid, _, encoded = rest.partition(":")
    key = key_ring().get(kid)
    if version != VERSION or key is None:
        raise CannotDecrypt({"column": column, "kid": kid[:32], "reason": "no such version or key"})
    try:
        blob = base64.b64decode(encoded, validate=True)
        if len(blob) < NONCE_BYTES + TAG_BYTES:
            raise CannotDecrypt({"column": column, "kid": kid, "reason": "too short"})
        return AESGCM(key).decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], column.encode()).decode()
    except (binascii.Error, InvalidTag, UnicodeDecodeError) as error:
        raise CannotDecrypt({"column": column, "kid": kid, "reason": "changed, or of another column"}) from error


def key_id(stored: str) -> str:
    """The id of the key that closed a value; "" for text of another form."""
    parts = stored.split(":")
    return parts[1] if len(parts) == 3 and parts[0] == VERSION else ""


def rotated(stored: str, *, column: str) -> str:
    """The same value closed with the newest key; unchanged when it is already. Raises as `decrypt`."""
    if key_id(stored) == next(reversed(key_ring())):
        return stored
    return encrypt(decrypt(stored, column=column), column=column)


def blind_index(text: str, *, column: str) -> str:
    """64 hex digits that are equal for equal text of one column: to find and compare without opening.

    Keyed (by the oldest key of the ring, so that it survives one more key), or short values could be guessed. When the
    oldest key goes, indexes are to be written anew.
    """
    keys = key_ring()
    key = hmac.digest(keys[next(iter(keys))], b"blind index " + column.encode(), "sha256")
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def key_ring() -> dict[str, bytes]:
    """Key id → key in the order of age. Outside of production a key made of SECRET_KEY stands in for none.

    Raises KeysUnusable: malformed, or none in production.
    """
    configured = getattr(settings, "ENCRYPTION_KEYS", None)
    keys: dict[str, bytes] = dict(configured) if configured else _parsed(os.environ.get(VARIABLE, ""))
    if not keys and getattr(settings, "ENVIRONMENT", "") != "production":
        keys = {"dev": hashlib.sha256(b"encryption " + settings.SECRET_KEY.encode()).digest()}
    if not keys or any(len(key) != KEY_BYTES or not kid or ":" in kid for kid, key in keys.items()):
        raise KeysUnusable({"variable": VARIABLE})
    return keys


def _parsed(text: str) -> dict[str, bytes]:
    try:
        return {
            kid.strip(): bytes.fromhex(key)
            for kid, _, key in (part.partition(":") for part in text.split(",") if part.strip())
        }
    except ValueError as error:
        raise KeysUnusable({"variable": VARIABLE}) from error

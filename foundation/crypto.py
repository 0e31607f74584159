"""Encryption of single values that stay in the database, and look-ups of what is encrypted.

AES-256-GCM. Text form `v1:<kid>:<base64 of nonce + ciphertext + tag>`; associated data is "table.column", so that a
value copied into another column does not open. Keys come from the environment or from files, never from a database:
`PAYSYS_ENCRYPTION_KEYS="2026:<64 hex digits>,2027:<64 hex digits>"`, or one such pair on each line of the file that
`PAYSYS_ENCRYPTION_KEYS_FILE` names, which nobody but its owner may read. All of them open, the last one closes. Blind
indexes have keys of their own in the same two forms (`PAYSYS_BLIND_INDEX_KEYS`): all of them find, the last one writes.
How a key is changed: docs/SECURITY.md. Source: design `admin.md`, "encryption".
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import os
import re
import stat
from pathlib import Path

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
INDEX_VARIABLE = "PAYSYS_BLIND_INDEX_KEYS"
FILE_SUFFIX = "_FILE"

_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,12}", re.ASCII)
"""Short, for it stands in every closed value."""


class KeysUnusable(Broken):
    """No key is set up, or one is malformed, or the file with the keys can be read by others."""

    code = "encryption_keys_unusable"


class CannotDecrypt(Broken):
    """Not of our form, closed with a key that is not in the ring, meant for another column, or changed since."""

    code = "cannot_decrypt"


def encrypt(text: str, *, column: str) -> str:
    """`text` closed with the newest key for `column` ("table.column"). Never twice the same. Raises KeysUnusable."""
    return encrypt_bytes(text.encode(), column=column)


def decrypt(stored: str, *, column: str) -> str:
    """What `encrypt` closed for the same column. Raises CannotDecrypt (which names no content) and KeysUnusable."""
    try:
        return decrypt_bytes(stored, column=column).decode()
    except UnicodeDecodeError as error:
        raise CannotDecrypt({"column": column, "kid": key_id(stored), "reason": "not text"}) from error


def encrypt_bytes(content: bytes, *, column: str) -> str:
    """As `encrypt`, for content that is no text."""
    return _close(key_ring(), content, column)


def decrypt_bytes(stored: str, *, column: str) -> bytes:
    """What `encrypt_bytes` closed for the same column. Raises as `decrypt`."""
    return _open(key_ring(), stored, column)


def _close(keys: dict[str, bytes], content: bytes, column: str) -> str:
    kid = next(reversed(keys))
    nonce = os.urandom(NONCE_BYTES)
    closed = _cipher(keys[kid]).encrypt(nonce, content, column.encode())
    return f"{VERSION}:{kid}:{base64.b64encode(nonce + closed).decode()}"


def _open(keys: dict[str, bytes], stored: str, column: str) -> bytes:
    version, _, rest = stored.partition(":")
    kid, _, encoded = rest.partition(":")
    key = keys.get(kid)
    if version != VERSION or key is None:
        raise CannotDecrypt({"column": column, "kid": kid[:32], "reason": "no such version or key"})
    try:
        blob = base64.b64decode(encoded, validate=True)
        if len(blob) < NONCE_BYTES + TAG_BYTES:
            raise CannotDecrypt({"column": column, "kid": kid, "reason": "too short"})
        return _cipher(key).decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], column.encode())
    except (binascii.Error, ValueError, InvalidTag) as error:
        raise CannotDecrypt({"column": column, "kid": kid, "reason": "changed, or of another column"}) from error


def key_id(stored: str) -> str:
    """The id of the key that closed a value; "" for text of another form."""
    parts = stored.split(":")
    return parts[1] if len(parts) == 3 and parts[0] == VERSION else ""


def rotated(stored: str, *, column: str) -> str:
    """The same value closed with the newest key; unchanged when it is already. Raises as `decrypt`."""
    keys = key_ring()
    if key_id(stored) == next(reversed(keys)):
        return stored
    return _close(keys, _open(keys, stored, column), column)


def blind_index(text: str, *, column: str) -> str:
    """64 hex digits that are equal for equal text of one column: what is written. Keyed, or short values are guessed.

    To look something up use `blind_indexes`: while an index key is being changed, rows bear either key's.
    """
    return blind_indexes(text, column=column)[0]


def blind_indexes(text: str, *, column: str) -> list[str]:
    """The blind indexes that `text` may stand under, one for each index key, the one that is written first."""
    keys = [_index_key(key, column) for key in reversed(list(index_ring().values()))]
    return [hmac.digest(key, text.encode(), "sha256").hex() for key in keys]


def key_ring() -> dict[str, bytes]:
    """Key id → key in the order of age. Outside of production a key made of SECRET_KEY stands in for none.

    Raises KeysUnusable: malformed, or none in production.
    """
    keys = _configured("ENCRYPTION_KEYS", VARIABLE)
    if not keys and getattr(settings, "ENVIRONMENT", "") != "production":
        keys = {"dev": hashlib.sha256(b"encryption " + settings.SECRET_KEY.encode()).digest()}
    return _sound(keys, VARIABLE)


def index_ring() -> dict[str, bytes]:
    """Key id → key of blind indexes in the order of age. Where none is set up it is the oldest encryption key."""
    keys = _configured("BLIND_INDEX_KEYS", INDEX_VARIABLE)
    if not keys:
        kid, key = next(iter(key_ring().items()))
        keys = {kid: key}
    return _sound(keys, INDEX_VARIABLE)


def newest_key_id() -> str:
    """The id of the key that closes."""
    return next(reversed(key_ring()))


def has_own_index_keys() -> bool:
    """Whether blind indexes have keys of their own, so that an encryption key can go without them."""
    return bool(_configured("BLIND_INDEX_KEYS", INDEX_VARIABLE))


@functools.lru_cache(maxsize=16)
def _cipher(key: bytes) -> AESGCM:
    """Making one costs as much as closing a short value. It is stateless, so threads may share it."""
    return AESGCM(key)


@functools.lru_cache(maxsize=64)
def _index_key(key: bytes, column: str) -> bytes:
    return hmac.digest(key, b"blind index " + column.encode(), "sha256")


def _configured(setting: str, variable: str) -> dict[str, bytes]:
    """From the settings (tests), else from the file, else from the variable; {} for none."""
    configured = getattr(settings, setting, None)
    if configured:
        return dict(configured)
    path = os.environ.get(variable + FILE_SUFFIX, "")
    if path:
        return _from_file(path, variable)
    return dict(_parsed(os.environ.get(variable, ""), variable))


def _from_file(path: str, variable: str) -> dict[str, bytes]:
    """Looked at on every call, so that a changed file counts at once and one opened to others stops everything."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid not in (0, os.geteuid()):
            raise KeysUnusable({"variable": variable + FILE_SUFFIX, "problem": "readable by others than its owner"})
        return dict(_read(path, variable, (found.st_mtime_ns, found.st_size, found.st_ino)))
    except OSError as error:
        raise KeysUnusable({"variable": variable + FILE_SUFFIX, "problem": "cannot be read"}) from error


@functools.lru_cache(maxsize=8)
def _read(path: str, variable: str, _version: tuple[int, int, int]) -> dict[str, bytes]:
    lines = (line.partition("#")[0] for line in Path(path).read_text(encoding="ascii", errors="replace").splitlines())
    keys = _parsed(",".join(lines), variable)
    if not keys:
        raise KeysUnusable({"variable": variable + FILE_SUFFIX, "problem": "no key in it"})
    return keys


@functools.lru_cache(maxsize=8)
def _parsed(text: str, variable: str) -> dict[str, bytes]:
    """Callers copy it. Cached: while all rows are closed anew the same text is asked for ten times a row."""
    pairs = [part.partition(":") for part in text.split(",") if part.strip()]
    try:
        keys = {kid.strip(): bytes.fromhex(key) for kid, _, key in pairs}
    except ValueError as error:
        raise KeysUnusable({"variable": variable}) from error
    if len(keys) != len(pairs):
        raise KeysUnusable({"variable": variable, "problem": "two keys of one id"})
    return keys


def _sound(keys: dict[str, bytes], variable: str) -> dict[str, bytes]:
    if not keys or any(len(key) != KEY_BYTES or not _KEY_ID.fullmatch(kid) for kid, key in keys.items()):
        raise KeysUnusable({"variable": variable})
    return keys

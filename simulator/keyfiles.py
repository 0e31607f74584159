"""RSA keys in files of mode 0600, made once and never overwritten."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

KEY_BITS = 2048
"""WECHATPAY2-SHA256-RSA2048 and RSA2."""


def load_private(path: Path) -> RSAPrivateKey:
    """OSError or ValueError when there is no such key."""
    # Checking the numbers of a key takes longer than the whole start; these are keys that we made.
    key = load_pem_private_key(path.read_bytes(), password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError(f"{path.name} is not an RSA key")
    return key


def load_public(path: Path) -> RSAPublicKey:
    """OSError or ValueError when there is no such key."""
    key = load_pem_public_key(path.read_bytes())
    if not isinstance(key, RSAPublicKey):
        raise ValueError(f"{path.name} is not an RSA key")
    return key


def make_pair(*, private_file: Path, public_file: Path) -> None:
    """What is missing of the two; safe to repeat after a crash in the middle."""
    if private_file.exists():
        key = load_private(private_file)
    else:
        key = generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        write_new(private_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if not public_file.exists():
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_new(public_file, public)


def write_new(path: Path, content: bytes) -> None:
    """The whole file or none: written beside it, then linked to the name if that is still free."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        os.link(beside, path)
    finally:
        beside.unlink()

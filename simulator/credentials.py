"""Keys and numbers that the simulated provider and its one merchant share, kept in a directory.

`credentials.json` is what the merchant's side reads; key files are named relative to it. All files have mode 0600.
"""

from __future__ import annotations

import json
import os
import secrets
import string
from dataclasses import asdict, dataclass
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

FILE_NAME = "credentials.json"
KEY_BITS = 2048
"""WECHATPAY2-SHA256-RSA2048."""
APIV3_KEY_LENGTH = 32
"""Characters, i.e. bytes of an AES-256 key."""


class CredentialsMissing(Exception):
    """The directory has no readable credentials; `python -m simulator init` makes them."""


@dataclass(frozen=True, kw_only=True)
class CredentialsFile:
    """The fields of `credentials.json`, in this order."""

    mchid: str
    appid: str
    merchant_serial_no: str
    merchant_private_key_file: str
    merchant_public_key_file: str
    apiv3_key: str
    platform_public_key_id: str
    platform_public_key_file: str
    platform_private_key_file: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Credentials:
    """What the provider's side works with; never printed."""

    mchid: str
    appid: str
    merchant_serial_no: str
    merchant_public_key: RSAPublicKey
    apiv3_key: str
    platform_public_key_id: str
    platform_private_key: RSAPrivateKey


def initialise(*, directory: Path) -> Path:
    """Makes what is missing and returns the path of `credentials.json`; what exists is never overwritten.

    Safe to repeat, also after a crash in the middle: the JSON file is written last, all at once.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = directory / FILE_NAME
    if target.exists():
        return target
    numbers = "".join(secrets.choice(string.digits) for _ in range(8))
    letters = string.ascii_letters + string.digits
    content = CredentialsFile(
        mchid=f"19{numbers}",
        appid=f"wx{secrets.token_hex(8)}",
        merchant_serial_no=secrets.token_hex(20).upper(),
        merchant_private_key_file="merchant_private_key.pem",
        merchant_public_key_file="merchant_public_key.pem",
        apiv3_key="".join(secrets.choice(letters) for _ in range(APIV3_KEY_LENGTH)),
        platform_public_key_id=f"PUB_KEY_ID_0119{numbers}{secrets.randbelow(10**16):016d}",
        platform_public_key_file="platform_public_key.pem",
        platform_private_key_file="platform_private_key.pem",
    )
    for private_name, public_name in (
        (content.merchant_private_key_file, content.merchant_public_key_file),
        (content.platform_private_key_file, content.platform_public_key_file),
    ):
        _make_pair(private_file=directory / private_name, public_file=directory / public_name)
    _write_new(target, (json.dumps(asdict(content), indent=2) + "\n").encode("ascii"))
    return target


def load(*, directory: Path) -> Credentials:
    """Reads the files; CredentialsMissing when one is missing or not of the documented form."""
    path = directory / FILE_NAME
    try:
        content = CredentialsFile(**json.loads(path.read_text(encoding="utf-8")))
        merchant_public_key = load_pem_public_key((directory / content.merchant_public_key_file).read_bytes())
        platform_private_key = _load_private(directory / content.platform_private_key_file)
    except (OSError, ValueError, TypeError) as error:
        raise CredentialsMissing(f"{path}: {error}; run: python -m simulator init --directory {directory}") from error
    if not isinstance(merchant_public_key, RSAPublicKey):
        raise CredentialsMissing(f"{content.merchant_public_key_file} is not an RSA key")
    return Credentials(
        mchid=content.mchid,
        appid=content.appid,
        merchant_serial_no=content.merchant_serial_no,
        merchant_public_key=merchant_public_key,
        apiv3_key=content.apiv3_key,
        platform_public_key_id=content.platform_public_key_id,
        platform_private_key=platform_private_key,
    )


def _load_private(path: Path) -> RSAPrivateKey:
    # Checking the numbers of a key takes longer than the whole start; these are keys that we made.
    key = load_pem_private_key(path.read_bytes(), password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError(f"{path.name} is not an RSA key")
    return key


def _make_pair(*, private_file: Path, public_file: Path) -> None:
    if private_file.exists():
        key = _load_private(private_file)
    else:
        key = generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        _write_new(private_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if not public_file.exists():
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _write_new(public_file, public)


def _write_new(path: Path, content: bytes) -> None:
    """The whole file or none: written beside it, then linked to the name if that is still free."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        os.link(beside, path)
    finally:
        beside.unlink()

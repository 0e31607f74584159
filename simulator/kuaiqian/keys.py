"""Keys and numbers that 99bill and its one merchant share; `kuaiqian.json` is what the merchant's side reads."""

from __future__ import annotations

import json
import secrets
import string
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from simulator.keyfiles import load_private, load_public, make_pair, write_new

FILE_NAME = "kuaiqian.json"
KEY_LENGTH = 16
"""Characters of an MD5 key, upper-case letters and digits."""


@dataclass(frozen=True, kw_only=True)
class KuaiqianFile:
    """The fields of `kuaiqian.json`, in this order; files are named relative to it.

    `sign_type`: "4" PKI, "1" MD5; `hash` (gateway, queries, refunds) and `payout_hash`: sha256 or sha1.
    """

    member_code: str
    sign_type: str
    hash: str
    payout_hash: str
    gateway_key: str
    query_key: str
    refund_key: str
    merchant_private_key_file: str
    merchant_public_key_file: str
    platform_public_key_file: str
    platform_private_key_file: str
    card_merchant_id: str
    card_terminal_id: str
    card_password: str


@dataclass(frozen=True, kw_only=True, repr=False)
class KuaiqianCredentials:
    """What the provider's side works with; never printed."""

    member_code: str
    is_pki: bool
    hash_name: str
    payout_hash_name: str
    gateway_key: str
    query_key: str
    refund_key: str
    merchant_public_key: RSAPublicKey
    platform_private_key: RSAPrivateKey
    card_merchant_id: str
    card_terminal_id: str
    card_password: str

    @property
    def account_id(self) -> str:
        """merchantAcctId."""
        return f"{self.member_code}01"


def initialise(*, directory: Path) -> Path:
    """Makes what is missing and returns the path of `kuaiqian.json`; what exists is never overwritten.

    Safe to repeat, also after a crash in the middle: the JSON file is written last, all at once.
    """
    target = directory / FILE_NAME
    if target.exists():
        return target
    content = KuaiqianFile(
        member_code="100" + _digits(8),
        sign_type="4",
        hash="sha256",
        payout_hash="sha1",
        gateway_key=_key(),
        query_key=_key(),
        refund_key=_key(),
        merchant_private_key_file="kuaiqian_merchant_private_key.pem",
        merchant_public_key_file="kuaiqian_merchant_public_key.pem",
        platform_public_key_file="kuaiqian_platform_public_key.pem",
        platform_private_key_file="kuaiqian_platform_private_key.pem",
        card_merchant_id="8" + _digits(14),
        card_terminal_id=_digits(8),
        card_password=_key(),
    )
    for private_name, public_name in (
        (content.merchant_private_key_file, content.merchant_public_key_file),
        (content.platform_private_key_file, content.platform_public_key_file),
    ):
        make_pair(private_file=directory / private_name, public_file=directory / public_name)
    write_new(target, (json.dumps(asdict(content), indent=2) + "\n").encode("ascii"))
    return target


def load(*, directory: Path) -> KuaiqianCredentials:
    """OSError, ValueError or TypeError when a file is missing or not of the documented form."""
    content = KuaiqianFile(**json.loads((directory / FILE_NAME).read_text(encoding="utf-8")))
    if content.sign_type not in ("1", "4") or not {content.hash, content.payout_hash} <= {"sha1", "sha256"}:
        raise ValueError(f"{FILE_NAME}: sign_type is 1 or 4, hashes are sha1 or sha256")
    return KuaiqianCredentials(
        member_code=content.member_code,
        is_pki=content.sign_type == "4",
        hash_name=content.hash,
        payout_hash_name=content.payout_hash,
        gateway_key=content.gateway_key,
        query_key=content.query_key,
        refund_key=content.refund_key,
        merchant_public_key=load_public(directory / content.merchant_public_key_file),
        platform_private_key=load_private(directory / content.platform_private_key_file),
        card_merchant_id=content.card_merchant_id,
        card_terminal_id=content.card_terminal_id,
        card_password=content.card_password,
    )


def _digits(count: int) -> str:
    return "".join(secrets.choice(string.digits) for _ in range(count))


def _key() -> str:
    return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(KEY_LENGTH))

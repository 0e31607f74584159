"""Settings and secrets of one 99bill merchant."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from gateway.adapters.kuaiqian import signing

SIGN_PKI = "4"
"""`signType` of the gateway's request; the queries call the same thing "2"."""
SIGN_MD5 = "1"


@dataclass(frozen=True, kw_only=True)
class KuaiqianConfig:
    """`credentials_file`: JSON with the keys of Credentials; key files are named relative to it.

    `redirect_url`: where 99bill sends the payer's browser when it is done; part of the answer to each notice.
    """

    base_url: str
    card_base_url: str
    credentials_file: str
    redirect_url: str
    connect_timeout_seconds: float
    read_timeout_seconds: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Credentials:
    """One merchant's secrets; never printed.

    `sign_type`: "4" (PKI) or "1" (MD5), of gateway, queries and refunds; `hash_name` and `payout_hash_name`: sha256 or
    sha1, of PKI. `gateway_key`, `query_key`, `refund_key`: 99bill's keys for MD5 (the query key goes into PKI strings
    too). `card_*`: of bank-card verification, all empty where it was not contracted; `card_certificate_file`: the
    client certificate of its two-way TLS, "" only towards the simulator.
    """

    member_code: str
    sign_type: str
    hash_name: str
    payout_hash_name: str
    gateway_key: str
    query_key: str
    refund_key: str
    merchant_private_key: RSAPrivateKey
    platform_public_key: RSAPublicKey
    card_merchant_id: str
    card_terminal_id: str
    card_password: str
    card_certificate_file: str

    @property
    def account_id(self) -> str:
        """merchantAcctId: the RMB account of the member."""
        return f"{self.member_code}01"

    @property
    def is_pki(self) -> bool:
        return self.sign_type == SIGN_PKI


def read_credentials(credentials_file: str) -> Credentials:
    """Reads the JSON file and the key files; OSError or ValueError when something is missing or unusable."""
    path = Path(credentials_file)
    data = json.loads(path.read_text(encoding="utf-8"))
    try:
        certificate = str(data.get("card_certificate_file", ""))
        credentials = Credentials(
            member_code=str(data["member_code"]),
            sign_type=str(data.get("sign_type", SIGN_PKI)),
            hash_name=str(data.get("hash", "sha256")),
            payout_hash_name=str(data.get("payout_hash", "sha1")),
            gateway_key=str(data.get("gateway_key", "")),
            query_key=str(data["query_key"]),
            refund_key=str(data.get("refund_key", "")),
            merchant_private_key=_private_key(path.parent / data["merchant_private_key_file"]),
            platform_public_key=_public_key(path.parent / data["platform_public_key_file"]),
            card_merchant_id=str(data.get("card_merchant_id", "")),
            card_terminal_id=str(data.get("card_terminal_id", "")),
            card_password=str(data.get("card_password", "")),
            card_certificate_file=str(path.parent / certificate) if certificate else "",
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} lacks {error}") from error
    _check(credentials, path.name)
    return credentials


def _check(credentials: Credentials, name: str) -> None:
    if not (credentials.member_code.isascii() and credentials.member_code.isdigit()) or not credentials.query_key:
        raise ValueError(f"{name}: member_code must be digits and query_key must not be empty")
    if credentials.sign_type not in (SIGN_PKI, SIGN_MD5):
        raise ValueError(f"{name}: sign_type must be 4 (PKI) or 1 (MD5)")
    if not {credentials.hash_name, credentials.payout_hash_name} <= set(signing.HASHES):
        raise ValueError(f"{name}: hashes must be sha256 or sha1")
    if credentials.card_certificate_file and not Path(credentials.card_certificate_file).is_file():
        raise ValueError(f"{name}: card_certificate_file is not there")
    if not credentials.is_pki and not (credentials.gateway_key and credentials.refund_key):
        raise ValueError(f"{name}: MD5 needs gateway_key and refund_key")


def _private_key(path: Path) -> RSAPrivateKey:
    """PEM. 99bill gives PKCS#12: `openssl pkcs12 -nodes -nocerts` makes PEM of it."""
    key: Any = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError(f"{path.name} is no RSA key")
    return key


def _public_key(path: Path) -> RSAPublicKey:
    """99bill's certificate, or the bare public key, in PEM."""
    content = path.read_bytes()
    is_certificate = b"BEGIN CERTIFICATE" in content
    key: Any = x509.load_pem_x509_certificate(content).public_key() if is_certificate else load_pem_public_key(content)
    if not isinstance(key, RSAPublicKey):
        raise ValueError(f"{path.name} is no RSA key")
    return key

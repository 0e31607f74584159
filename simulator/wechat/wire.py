"""Signatures and encryption of WeChat Pay v3. Pure: bytes in, bytes out.

Request: `METHOD\\nPATH?QUERY\\nTIMESTAMP\\nNONCE\\nBODY\\n`; answer and notice: `TIMESTAMP\\nNONCE\\nBODY\\n`; RSA
PKCS#1 v1.5 with SHA-256, base64. Resource: AES-256-GCM, the tag behind the ciphertext, base64.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

SCHEME = "WECHATPAY2-SHA256-RSA2048"
WINDOW_SECONDS = 300
"""A request whose timestamp is this far from our clock, or further, is refused."""
SIGNTEST_PREFIX = "WECHATPAY/SIGNTEST/"
_FIELDS = frozenset({"mchid", "nonce_str", "signature", "timestamp", "serial_no"})
_FIELD = re.compile(r'\s*([a-z_]+)="([^"]*)"\s*', re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_NONCE = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)


class AuthorizationInvalid(Exception):
    """The header is not of the documented form."""


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """The parts of an Authorization header."""

    mchid: str
    nonce_str: str
    signature: str
    timestamp: int
    serial_no: str


def read_authorization(header: str) -> Authorization:
    """Parts in any order, each once; AuthorizationInvalid."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme != SCHEME:
        raise AuthorizationInvalid(f"scheme must be {SCHEME}")
    values: dict[str, str] = {}
    for part in rest.split(","):
        match = _FIELD.fullmatch(part)
        if match is None or match[1] in values:
            raise AuthorizationInvalid('not a list of name="value"')
        values[match[1]] = match[2]
    if set(values) != _FIELDS:
        raise AuthorizationInvalid(f"must have exactly: {', '.join(sorted(_FIELDS))}")
    if not _TIMESTAMP.fullmatch(values["timestamp"]) or not _NONCE.fullmatch(values["nonce_str"]):
        raise AuthorizationInvalid("timestamp or nonce_str is not of the documented form")
    return Authorization(
        mchid=values["mchid"],
        nonce_str=values["nonce_str"],
        signature=values["signature"],
        timestamp=int(values["timestamp"]),
        serial_no=values["serial_no"],
    )


def request_message(*, method: str, target: str, timestamp: int, nonce: str, body: bytes) -> bytes:
    """`target`: raw path and query as they were sent, without the host."""
    return f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"


def answer_message(*, timestamp: int, nonce: str, body: bytes) -> bytes:
    """Of answers and notices."""
    return f"{timestamp}\n{nonce}\n".encode() + body + b"\n"


def sign(*, key: RSAPrivateKey, message: bytes) -> str:
    return base64.b64encode(key.sign(message, PKCS1v15(), SHA256())).decode("ascii")


def is_signed(*, key: RSAPublicKey, message: bytes, signature: str) -> bool:
    """False for whatever is not base64 of the right signature."""
    try:
        key.verify(base64.b64decode(signature, validate=True), message, PKCS1v15(), SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def sealed_headers(*, key: RSAPrivateKey, serial: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers by which the merchant verifies `body`."""
    nonce = secrets.token_hex(16)
    message = answer_message(timestamp=timestamp, nonce=nonce, body=body)
    return {
        "Wechatpay-Timestamp": str(timestamp),
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Signature": sign(key=key, message=message),
        "Wechatpay-Serial": serial,
        "Wechatpay-Signature-Type": SCHEME,
        "Request-ID": f"08{secrets.token_hex(20).upper()}-0",
    }


def decrypt_field(*, key: RSAPrivateKey, sealed: str) -> str:
    """A field that the merchant encrypted with our public key: RSA-OAEP with SHA-1, base64. ValueError."""
    plain = key.decrypt(base64.b64decode(sealed, validate=True), OAEP(MGF1(SHA1()), SHA1(), None))  # noqa: S303
    return plain.decode("utf-8")


def encrypt_resource(*, apiv3_key: str, nonce: str, associated_data: str, plain: bytes) -> str:
    """`nonce`: 12 ASCII characters, never used twice with one key."""
    sealed = AESGCM(apiv3_key.encode("ascii")).encrypt(nonce.encode("ascii"), plain, associated_data.encode())
    return base64.b64encode(sealed).decode("ascii")

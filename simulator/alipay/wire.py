"""Signatures and forms of Alipay. Pure: text in, text out.

Request: every parameter with a value except `sign`, sorted, `k=v&k=v`, values not URL-encoded; notice: without
`sign_type`, too; answer: the raw text of the `<method>_response` node. RSA2: PKCS#1 v1.5 with SHA-256, base64.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

SIGN_TYPE = "RSA2"


def signed_text(parameters: Mapping[str, str], *, without: frozenset[str]) -> str:
    return "&".join(f"{name}={value}" for name, value in sorted(parameters.items()) if value and name not in without)


def request_text(parameters: Mapping[str, str]) -> str:
    return signed_text(parameters, without=frozenset({"sign"}))


def notice_text(parameters: Mapping[str, str]) -> str:
    return signed_text(parameters, without=frozenset({"sign", "sign_type"}))


def sign(*, key: RSAPrivateKey, message: str) -> str:
    return base64.b64encode(key.sign(message.encode(), PKCS1v15(), SHA256())).decode("ascii")


def is_signed(*, key: RSAPublicKey, message: str, signature: str) -> bool:
    """False for whatever is not base64 of the right signature."""
    try:
        key.verify(base64.b64decode(signature, validate=True), message.encode(), PKCS1v15(), SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def answer_body(*, node: str, content: Mapping[str, Any], key: RSAPrivateKey, cert_sn: str, is_forged: bool) -> str:
    """The whole answer; slashes are escaped as Alipay does, so that only the raw text verifies."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
    signature = sign(key=key, message="another message" if is_forged else text)
    certificate = f'"alipay_cert_sn":"{cert_sn}",' if cert_sn else ""
    return f'{{"{node}":{text},{certificate}"sign":"{signature}"}}'


def unsigned_body(*, content: Mapping[str, Any]) -> str:
    """What the gateway says before it knows who asks."""
    return json.dumps({"error_response": content}, ensure_ascii=False, separators=(",", ":"))

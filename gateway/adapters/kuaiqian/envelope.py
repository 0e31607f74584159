"""The sealed part of pay-to-bank messages: `sealDataType`.

signedData: base64(RSA PKCS#1 v1.5 signature of the plain XML by the sender) · encryptedData: base64(AES-128-CBC, zero
IV, PKCS#7 padding, under a random key of 16 characters, of the plain XML) · digitalEnvelope: base64(RSA PKCS#1 v1.5
encryption of that key for the receiver) · originalData: empty. It is no CMS, whatever the demos call it. The key is new
for each message, which is what makes the zero IV harmless. Every failure to open raises the same exception, so that a
sender cannot use us as a decryption oracle.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import string
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from gateway.adapters.kuaiqian import markup, signing
from gateway.adapters.kuaiqian.markup import MarkupInvalid, Node

KEY_LENGTH = 16
_IV = bytes(16)
_LETTERS = string.ascii_letters + string.digits


class EnvelopeInvalid(Exception):
    """Not sealed for us by the one who should have."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Keys:
    """`own` signs and opens, `other` verifies and seals. `hash_name`: of the signature."""

    own: RSAPrivateKey
    other: RSAPublicKey
    hash_name: str


def seal(*, keys: Keys, plain: bytes) -> str:
    """The `sealDataType` element."""
    session_key = "".join(secrets.choice(_LETTERS) for _ in range(KEY_LENGTH)).encode("ascii")
    padder = PKCS7(128).padder()
    encryptor = Cipher(AES(session_key), CBC(_IV)).encryptor()
    encrypted = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    return markup.element(
        "sealDataType",
        markup.texts(
            {
                "originalData": "",
                "signedData": signing.sign_rsa(key=keys.own, hash_name=keys.hash_name, content=plain),
                "encryptedData": base64.b64encode(encrypted).decode("ascii"),
                "digitalEnvelope": base64.b64encode(keys.other.encrypt(session_key, PKCS1v15())).decode("ascii"),
            }
        ),
    )


def unseal(*, keys: Keys, sealed: Node) -> bytes:
    """The plain bytes of a `sealDataType`, verified. Raises EnvelopeInvalid."""
    try:
        session_key = keys.own.decrypt(_decode(sealed.value("digitalEnvelope")), PKCS1v15())
        decryptor = Cipher(AES(session_key), CBC(_IV)).decryptor()
        padded = decryptor.update(_decode(sealed.value("encryptedData"))) + decryptor.finalize()
        unpadder = PKCS7(128).unpadder()
        plain = unpadder.update(padded) + unpadder.finalize()
        signature = sealed.value("signedData")
    except (ValueError, MarkupInvalid) as error:
        raise EnvelopeInvalid from error
    if not signing.is_signed_rsa(key=keys.other, hash_name=keys.hash_name, content=plain, signature=signature):
        raise EnvelopeInvalid
    return plain


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error

"""Signatures, sealing and XML of 99bill. Pure: bytes and texts in and out.

Strings: `k=v` joined with `&`, empty values skipped, values as they are, in the documented order. Sealing: RSA
signature of the plain XML, AES-128-CBC with a zero IV under a random key, the key encrypted with RSA PKCS#1 v1.5.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.padding import PKCS7

DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
SEAL_PARTS = ("originalData", "signedData", "encryptedData", "digitalEnvelope")
_IV = bytes(16)


class Unreadable(Exception):
    """Not XML as documented, or not sealed by the merchant."""


def text_of(fields: Mapping[str, str], order: Iterable[str]) -> str:
    """The string to sign."""
    return "&".join(f"{name}={fields[name]}" for name in order if fields.get(name))


def md5(text: str) -> str:
    """Upper-case hex."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest().upper()


def sign(*, key: RSAPrivateKey, hash_name: str, content: bytes) -> str:
    return base64.b64encode(key.sign(content, PKCS1v15(), _hash(hash_name))).decode("ascii")


def is_signed(*, key: RSAPublicKey, hash_name: str, content: bytes, signature: str) -> bool:
    """False for whatever is not base64 of the right signature."""
    try:
        key.verify(base64.b64decode(signature, validate=True), content, PKCS1v15(), _hash(hash_name))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _hash(name: str) -> SHA1 | SHA256:
    return SHA1() if name == "sha1" else SHA256()  # noqa: S303 - 99bill's older contracts


# --- Sealing ----------------------------------------------------------------------------------------------------------


def seal(*, own: RSAPrivateKey, other: RSAPublicKey, hash_name: str, plain: bytes, signed: bytes | None = None) -> str:
    """A `sealDataType` element. `signed`: what is signed in the place of `plain`, to forge."""
    letters = string.ascii_letters + string.digits
    session_key = "".join(secrets.choice(letters) for _ in range(16)).encode("ascii")
    padder, encryptor = PKCS7(128).padder(), Cipher(AES(session_key), CBC(_IV)).encryptor()
    encrypted = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    values = (
        "",
        sign(key=own, hash_name=hash_name, content=plain if signed is None else signed),
        base64.b64encode(encrypted).decode("ascii"),
        base64.b64encode(other.encrypt(session_key, PKCS1v15())).decode("ascii"),
    )
    return element("sealDataType", *(leaf(name, value) for name, value in zip(SEAL_PARTS, values, strict=True)))


def unseal(*, own: RSAPrivateKey, other: RSAPublicKey, hash_name: str, sealed: Element) -> bytes:
    """What was sealed; Unreadable for a wrong signature, too."""
    parts = leaves(sealed, SEAL_PARTS)
    try:
        session_key = own.decrypt(base64.b64decode(parts["digitalEnvelope"], validate=True), PKCS1v15())
        decryptor, unpadder = Cipher(AES(session_key), CBC(_IV)).decryptor(), PKCS7(128).unpadder()
        padded = decryptor.update(base64.b64decode(parts["encryptedData"], validate=True)) + decryptor.finalize()
        plain = unpadder.update(padded) + unpadder.finalize()
    except ValueError as error:
        raise Unreadable("the envelope does not open") from error
    if not is_signed(key=other, hash_name=hash_name, content=plain, signature=parts["signedData"]):
        raise Unreadable("wrong signature")
    return plain


# --- XML --------------------------------------------------------------------------------------------------------------


@dataclass
class Element:
    """Name (with `namespace ` before it where it has one), text, children in order."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)


def parse(content: bytes) -> Element:
    """The root; Unreadable for anything with a document type, too."""
    stack = [Element("")]

    def start(name: str, attributes: dict[str, str]) -> None:
        made = Element(name)
        stack[-1].children.append(made)
        stack.append(made)

    def data(text: str) -> None:
        stack[-1].text += text

    def refuse(*_: Any) -> None:
        raise Unreadable("no document type is allowed")

    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: stack.pop()
    parser.CharacterDataHandler = data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise Unreadable("not well-formed XML") from error
    return stack[0].children[0]


def only(parent: Element, *names: str) -> list[Element]:
    """The children, which must be exactly these in this order."""
    if [child.name for child in parent.children] != list(names):
        raise Unreadable(f"{parent.name} must hold {', '.join(names)}")
    return parent.children


def leaves(parent: Element, names: Sequence[str], *, optional: Iterable[str] = ()) -> dict[str, str]:
    """Texts of the children, which must come in the order of `names`; those of `optional` may be left out."""
    given = [child.name for child in parent.children]
    left_out = set(optional) - set(given)
    if given != [name for name in names if name not in left_out]:
        raise Unreadable(f"{parent.name} must hold {', '.join(names)} in this order")
    found = {child.name: child.text for child in parent.children}
    return {name: found.get(name, "") for name in names}


def element(name: str, *children: str, attributes: str = "") -> str:
    return f"<{name}{attributes}>{''.join(children)}</{name}>"


def leaf(name: str, text: str) -> str:
    return element(name, escape(text))


def leaves_of(fields: Mapping[str, str]) -> str:
    return "".join(leaf(name, text) for name, text in fields.items())

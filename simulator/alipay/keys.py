"""Keys, certificates and numbers that Alipay and its one merchant share; `alipay.json` is what the merchant reads.

A certificate's number is the MD5 (hex) of its issuer's name and its serial number, as Alipay defines `app_cert_sn`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import secrets
import string
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from simulator.keyfiles import KEY_BITS, load_private, load_public, make_pair, write_new

FILE_NAME = "alipay.json"
VALID_FROM = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
VALID_UNTIL = dt.datetime(2049, 12, 31, tzinfo=dt.UTC)


@dataclass(frozen=True, kw_only=True)
class AlipayFile:
    """The fields of `alipay.json`, in this order; files are named relative to it."""

    app_id: str
    seller_id: str
    app_private_key_file: str
    app_public_key_file: str
    alipay_public_key_file: str
    alipay_private_key_file: str
    app_certificate_file: str
    alipay_certificate_file: str
    alipay_root_certificate_file: str


@dataclass(frozen=True, kw_only=True, repr=False)
class AlipayCredentials:
    """What the provider's side works with; never printed."""

    app_id: str
    seller_id: str
    app_public_key: RSAPublicKey
    alipay_private_key: RSAPrivateKey
    app_cert_sn: str
    alipay_cert_sn: str
    alipay_root_cert_sn: str


def initialise(*, directory: Path) -> Path:
    """Makes what is missing and returns the path of `alipay.json`; what exists is never overwritten.

    Safe to repeat, also after a crash in the middle: the JSON file is written last, all at once.
    """
    target = directory / FILE_NAME
    if target.exists():
        return target
    content = AlipayFile(
        app_id="2021" + _digits(12),
        seller_id="2088" + _digits(12),
        app_private_key_file="alipay_app_private_key.pem",
        app_public_key_file="alipay_app_public_key.pem",
        alipay_public_key_file="alipay_public_key.pem",
        alipay_private_key_file="alipay_private_key.pem",
        app_certificate_file="alipay_app_certificate.pem",
        alipay_certificate_file="alipay_certificate.pem",
        alipay_root_certificate_file="alipay_root_certificate.pem",
    )
    for private_name, public_name in (
        (content.app_private_key_file, content.app_public_key_file),
        (content.alipay_private_key_file, content.alipay_public_key_file),
    ):
        make_pair(private_file=directory / private_name, public_file=directory / public_name)
    _make_certificates(directory, content)
    write_new(target, (json.dumps(asdict(content), indent=2) + "\n").encode("ascii"))
    return target


def load(*, directory: Path) -> AlipayCredentials:
    """OSError, ValueError or TypeError when a file is missing or not of the documented form."""
    content = AlipayFile(**json.loads((directory / FILE_NAME).read_text(encoding="utf-8")))
    return AlipayCredentials(
        app_id=content.app_id,
        seller_id=content.seller_id,
        app_public_key=load_public(directory / content.app_public_key_file),
        alipay_private_key=load_private(directory / content.alipay_private_key_file),
        app_cert_sn=_certificate_number(directory / content.app_certificate_file),
        alipay_cert_sn=_certificate_number(directory / content.alipay_certificate_file),
        alipay_root_cert_sn=_certificate_number(directory / content.alipay_root_certificate_file),
    )


def _digits(count: int) -> str:
    return "".join(secrets.choice(string.digits) for _ in range(count))


def _make_certificates(directory: Path, content: AlipayFile) -> None:
    """All three anew unless all are there: they only fit together. The authority's key is thrown away."""
    files = (content.app_certificate_file, content.alipay_certificate_file, content.alipay_root_certificate_file)
    paths = [directory / name for name in files]
    if all(path.exists() for path in paths):
        return
    for path in paths:
        path.unlink(missing_ok=True)
    authority = generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    root = _name("Simulated Root Authority")
    subjects = (
        (paths[0], _name("Simulated Merchant"), load_public(directory / content.app_public_key_file)),
        (paths[1], _name("Simulated Alipay"), load_public(directory / content.alipay_public_key_file)),
        (paths[2], root, authority.public_key()),
    )
    for path, subject, key in subjects:
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(VALID_FROM)
            .not_valid_after(VALID_UNTIL)
            .sign(authority, SHA256())
        )
        write_new(path, made.public_bytes(Encoding.PEM))


def _name(common_name: str) -> x509.Name:
    parts = (
        (NameOID.COUNTRY_NAME, "CN"),
        (NameOID.ORGANIZATION_NAME, "Provider Simulator"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Development only"),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _certificate_number(path: Path) -> str:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    values = {attribute.oid: attribute.value for attribute in certificate.issuer}
    ordered = (
        ("CN", NameOID.COMMON_NAME),
        ("OU", NameOID.ORGANIZATIONAL_UNIT_NAME),
        ("O", NameOID.ORGANIZATION_NAME),
        ("C", NameOID.COUNTRY_NAME),
    )
    name = ",".join(f"{short}={values[oid]!s}" for short, oid in ordered)
    return hashlib.md5(f"{name}{certificate.serial_number}".encode()).hexdigest()  # noqa: S324 - Alipay's definition

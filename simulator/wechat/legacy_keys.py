"""Certificates and key of 企业付款 (v2): an authority, the provider's server, the merchant's client.

`wechat_legacy.json` is what the merchant's side reads; files are named relative to it. All have mode 0600.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import secrets
import string
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from simulator.keyfiles import KEY_BITS, write_new

FILE_NAME = "wechat_legacy.json"
LIFE = dt.timedelta(days=3650)
API_KEY_LENGTH = 32


@dataclass(frozen=True, kw_only=True, repr=False)
class LegacyKeys:
    """What the provider's side works with; never printed."""

    api_key: str
    authority_file: Path
    server_certificate_file: Path
    server_private_key_file: Path


def initialise(*, directory: Path, mchid: str, appid: str) -> LegacyKeys:
    """Makes all of it when the JSON file is missing; it is written last."""
    target = directory / FILE_NAME
    if not target.exists():
        for name in ("authority", "server", "client"):
            for part in ("certificate", "private_key"):
                (directory / f"legacy_{name}_{part}.pem").unlink(missing_ok=True)
        _make_certificates(directory)
        letters = string.ascii_letters + string.digits
        content = {
            "mchid": mchid,
            "appid": appid,
            "api_key": "".join(secrets.choice(letters) for _ in range(API_KEY_LENGTH)),
            "client_certificate_file": "legacy_client_certificate.pem",
            "client_private_key_file": "legacy_client_private_key.pem",
            "authority_file": "legacy_authority_certificate.pem",
            "caller_ip": "127.0.0.1",
        }
        write_new(target, (json.dumps(content, indent=2) + "\n").encode("ascii"))
    return LegacyKeys(
        api_key=json.loads(target.read_text(encoding="utf-8"))["api_key"],
        authority_file=directory / "legacy_authority_certificate.pem",
        server_certificate_file=directory / "legacy_server_certificate.pem",
        server_private_key_file=directory / "legacy_server_private_key.pem",
    )


def _make_certificates(directory: Path) -> None:
    authority_key = generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    authority = _certificate("Simulated authority", authority_key, signer=authority_key, issuer=None, usage=None)
    _write(directory, "authority", authority_key, authority)
    for name, usage in (("server", ExtendedKeyUsageOID.SERVER_AUTH), ("client", ExtendedKeyUsageOID.CLIENT_AUTH)):
        key = generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        made = _certificate(f"Simulated {name}", key, signer=authority_key, issuer=authority.subject, usage=usage)
        _write(directory, name, key, made)


def _certificate(
    name: str,
    key: RSAPrivateKey,
    *,
    signer: RSAPrivateKey,
    issuer: x509.Name | None,
    usage: x509.ObjectIdentifier | None,
) -> x509.Certificate:
    """The authority's own when `issuer` is None. The server's is good for this machine only."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(tz=dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if usage is None:
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    else:
        here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(here), critical=False)
    return builder.sign(signer, SHA256())


def _write(directory: Path, name: str, key: RSAPrivateKey, certificate: x509.Certificate) -> None:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_new(directory / f"legacy_{name}_private_key.pem", private)
    write_new(directory / f"legacy_{name}_certificate.pem", certificate.public_bytes(Encoding.PEM))

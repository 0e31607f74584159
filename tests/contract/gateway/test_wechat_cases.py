"""Published vectors of WeChat v3's cryptography, and our own, through the functions that the adapter relies on.

The shared folder is not part of the repository: its cases are added where it exists, our own vectors always run.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from wechatpayv3.utils import build_authorization, load_private_key, rsa_verify

from gateway.adapters.wechat import decrypt_resource
from gateway.ports import NoticeInvalid
from tests.contract.gateway.provider import pem_private, sign

SHARED = Path(__file__).resolve().parents[4] / "shared" / "cases" / "providers"

OWN_KEY = "paysys-own-vector-key-of-32-byte"
OWN_SIGNING: list[tuple[str, str, str]] = [
    ("GET", "/v3/pay/transactions/out-trade-no/RC0001?mchid=1900000001", ""),
    ("POST", "/v3/pay/transactions/native", '{"description": "充值 \\/ 88.88 元"}'),
    ("POST", "/v3/pay/transactions/out-trade-no/RC0001/close", '{"mchid": "1900000001"}'),
]


def shared_cases(prefix: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(SHARED.glob(f"{prefix}*.json"))]


def signing_vectors() -> list[Any]:
    vectors = [
        pytest.param(
            method, url, body, f"{method}\n{url}\n1700000000\nN0NCE\n{body}\n", "1700000000", "N0NCE", id=f"own-{n}"
        )
        for n, (method, url, body) in enumerate(OWN_SIGNING)
    ]
    for case in shared_cases("wx3_03"):
        given = case["input"]
        for number, (request, message) in enumerate(zip(given["requests"], case["expected"]["messages"], strict=True)):
            vectors.append(
                pytest.param(
                    request["method"],
                    request["canonical_url"],
                    request["body"],
                    message,
                    str(given["timestamp"]),
                    given["nonce_str"],
                    id=f"{case['id']}-{number}",
                )
            )
    for case in shared_cases("wx3_04"):
        given = case["input"]
        path = given["url"].removeprefix("https://api.mch.weixin.qq.com")
        vectors.append(
            pytest.param(
                given["method"],
                path,
                given["body"],
                case["expected"]["message"],
                str(given["timestamp"]),
                given["nonce_str"],
                id=case["id"],
            )
        )
    return vectors


@pytest.mark.parametrize(("method", "path", "body", "message", "timestamp", "nonce"), signing_vectors())
def test_the_signed_text_is_the_documented_one(
    method: str, path: str, body: str, message: str, timestamp: str, nonce: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    monkeypatch.setattr(time, "time", lambda: float(timestamp))
    header = build_authorization(
        path, method, "1900000001", "5157F0", load_private_key(pem_private(key)), data=body, nonce_str=nonce
    )
    scheme, _, rest = header.partition(" ")
    parts = dict(part.split("=", 1) for part in rest.split(","))
    assert scheme == "WECHATPAY2-SHA256-RSA2048"
    assert (parts["mchid"], parts["serial_no"]) == ('"1900000001"', '"5157F0"')
    assert (parts["timestamp"], parts["nonce_str"]) == (f'"{timestamp}"', f'"{nonce}"')
    key.public_key().verify(
        base64.b64decode(parts["signature"].strip('"')), message.encode(), padding.PKCS1v15(), hashes.SHA256()
    )


def sealed(plaintext: str, nonce: str, associated: str) -> str:
    return base64.b64encode(
        AESGCM(OWN_KEY.encode()).encrypt(nonce.encode(), plaintext.encode(), associated.encode())
    ).decode()


def decryption_vectors() -> list[Any]:
    vectors = [
        pytest.param(OWN_KEY, "abcdefghijkl", associated, text, sealed(text, "abcdefghijkl", associated), id=f"own-{n}")
        for n, (associated, text) in enumerate([("transaction", '{"a": "支付成功"}'), ("", "{}"), ("refund", "")])
    ]
    for case in shared_cases("wx3_06"):
        given = case["input"]
        vectors.append(
            pytest.param(
                given["key"],
                given["nonce"],
                given["associated_data"],
                given["plaintext"],
                case["expected"]["ciphertext"],
                id=case["id"],
            )
        )
    return vectors


@pytest.mark.parametrize(("key", "nonce", "associated", "plaintext", "ciphertext"), decryption_vectors())
def test_a_resource_decrypts_and_a_changed_one_does_not(
    key: str, nonce: str, associated: str, plaintext: str, ciphertext: str
) -> None:
    right = {"apiv3_key": key, "nonce": nonce, "associated_data": associated, "ciphertext": ciphertext}
    assert decrypt_resource(**right) == plaintext
    for change in (
        {"associated_data": f"bad-{associated}"},
        {"nonce": "bad-" + nonce[4:]},
        {"ciphertext": base64.b64encode(bytes(128)).decode()},
        {"apiv3_key": "x" * 32},
    ):
        with pytest.raises(NoticeInvalid, match="content_undecryptable"):
            decrypt_resource(**{**right, **change})


def malformed_vectors() -> list[Any]:
    good = sealed("{}", "abcdefghijkl", "transaction")
    vectors = [
        pytest.param(OWN_KEY, nonce, "transaction", ciphertext, id=f"own-{n}")
        for n, (nonce, ciphertext) in enumerate(
            [
                ("", good),
                ("1", good),
                ("abcdefghijklm", good),
                ("abcdefghijkl", ""),
                ("abcdefghijkl", "é"),
                ("é" * 6, good),
            ]
        )
    ]
    vectors.append(pytest.param("short key", "abcdefghijkl", "transaction", good, id="own-key"))
    for case in shared_cases("wx3_16"):
        given = case["input"]
        pairs = [(nonce, given["ciphertext_for_bad_nonces"]) for nonce in given["bad_nonces"]]
        pairs += [(given["good_nonce"], ciphertext) for ciphertext in given["bad_ciphertexts"]]
        vectors += [
            pytest.param(given["apiv3_key"], nonce, given["associated_data"], ciphertext, id=f"{case['id']}-{n}")
            for n, (nonce, ciphertext) in enumerate(pairs)
        ]
    return vectors


@pytest.mark.parametrize(("key", "nonce", "associated", "ciphertext"), malformed_vectors())
def test_malformed_resources_are_refused_without_a_crash(
    key: str, nonce: str, associated: str, ciphertext: str
) -> None:
    with pytest.raises(NoticeInvalid, match="content_undecryptable"):
        decrypt_resource(apiv3_key=key, nonce=nonce, associated_data=associated, ciphertext=ciphertext)


def test_our_own_signatures_verify_and_others_do_not() -> None:
    ours, other = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    body = '{"summary": "支付成功"}'
    signature = sign(ours, f"1700000000\nN0NCE\n{body}\n".encode())
    assert rsa_verify("1700000000", "N0NCE", body, signature, ours.public_key()) is True
    assert rsa_verify("1700000000", "N0NCE", body, signature, other.public_key()) is False
    assert rsa_verify("1700000001", "N0NCE", body, signature, ours.public_key()) is False
    assert rsa_verify("1700000000", "N0NCE", body + " ", signature, ours.public_key()) is False


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in shared_cases("wx3_13")] or ["own"])
def test_a_published_response_signature_verifies(case: Any) -> None:
    """The vector of a public SDK; where the folder is missing, the same check with a signature of our own."""
    if case == "own":
        test_our_own_signatures_verify_and_others_do_not()
        return
    headers, body = case["input"]["headers"], case["input"]["body"]
    certificate = x509.load_pem_x509_certificate(case["input"]["verify_certificate_pem"].encode())
    parts = (headers["Wechatpay-Timestamp"], headers["Wechatpay-Nonce"])
    signature = headers["Wechatpay-Signature"]
    assert rsa_verify(*parts, body, signature, certificate.public_key()) is case["expected"]["signature_valid"]
    assert rsa_verify(*parts, body.replace("prepay", "Prepay"), signature, certificate.public_key()) is False


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in shared_cases("wx3_08")] or ["own"])
def test_a_published_key_pair_verifies_only_its_own(case: Any) -> None:
    """RSA over a bare message is what the documents build on; checked with the library the adapter stands on."""
    if case == "own":
        test_our_own_signatures_verify_and_others_do_not()
        return
    given, expected = case["input"], case["expected"]
    certificate = x509.load_pem_x509_certificate(given["certificate_pem"].encode())
    other = serialization.load_pem_public_key(given["other_public_key_pem"].encode())
    assert f"{certificate.serial_number:X}" == expected["certificate_serial"]
    for key, is_right in (
        (certificate.public_key(), expected["verify_with_certificate"]),
        (other, expected["verify_with_other_public_key"]),
    ):
        assert isinstance(key, rsa.RSAPublicKey)
        assert _verifies(key, given["message"], given["signature"]) is is_right


def _verifies(key: rsa.RSAPublicKey, message: str, signature: str) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(base64.b64decode(signature), message.encode(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def test_every_shared_v3_case_is_used_by_a_test_here() -> None:
    """A new case in the folder must not pass unnoticed."""
    used = ("wx3_03", "wx3_04", "wx3_06", "wx3_08", "wx3_13", "wx3_16")
    assert [path.name for path in SHARED.glob("wx3_*.json") if not path.name.startswith(used)] == []

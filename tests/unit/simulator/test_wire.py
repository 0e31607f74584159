"""Signing and encryption against vectors of our own: the fixed one was computed from
the definition of GCM (AES blocks, GHASH by hand), not with the function under test."""

from __future__ import annotations

import base64

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from simulator.wechat import wire

KEY = "0123456789abcdefghijABCDEFGHIJ-_"


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


def test_what_is_signed_of_a_request() -> None:
    message = wire.request_message(
        method="GET", target="/v3/pay?mchid=1&a=%20", timestamp=1_700_000_000, nonce="abc", body=b""
    )
    assert message == b"GET\n/v3/pay?mchid=1&a=%20\n1700000000\nabc\n\n"
    message = wire.request_message(method="POST", target="/v3", timestamp=1, nonce="n", body='{"a":"元"}\n'.encode())
    assert message == b'POST\n/v3\n1\nn\n{"a":"\xe5\x85\x83"}\n\n'


def test_what_is_signed_of_an_answer() -> None:
    assert wire.answer_message(timestamp=1, nonce="n", body=b"") == b"1\nn\n\n"
    assert wire.answer_message(timestamp=1, nonce="n", body=b"{}") == b"1\nn\n{}\n"


def test_a_signature_holds_for_its_message_and_key_only(key: RSAPrivateKey) -> None:
    signature = wire.sign(key=key, message=b"message")
    assert len(base64.b64decode(signature)) == 256
    assert wire.is_signed(key=key.public_key(), message=b"message", signature=signature)
    assert not wire.is_signed(key=key.public_key(), message=b"messagf", signature=signature)
    stranger = generate_private_key(public_exponent=65537, key_size=2048)
    assert not wire.is_signed(key=stranger.public_key(), message=b"message", signature=signature)
    for broken in ("", "AAAA", "***", signature[:-4], signature + "\n", "签"):
        assert not wire.is_signed(key=key.public_key(), message=b"message", signature=broken)


def test_sealed_headers_fit_their_body(key: RSAPrivateKey) -> None:
    headers = wire.sealed_headers(key=key, serial="PUB_KEY_ID_1", timestamp=5, body=b"{}")
    message = f"5\n{headers['Wechatpay-Nonce']}\n{{}}\n".encode()
    assert wire.is_signed(key=key.public_key(), message=message, signature=headers["Wechatpay-Signature"])
    assert (headers["Wechatpay-Serial"], headers["Wechatpay-Timestamp"]) == ("PUB_KEY_ID_1", "5")


def test_an_authorization_is_read_in_any_order() -> None:
    header = 'WECHATPAY2-SHA256-RSA2048 serial_no="S1", timestamp="7",nonce_str="N",signature="a+/=",mchid="19"'
    assert wire.read_authorization(header) == wire.Authorization(
        mchid="19", nonce_str="N", signature="a+/=", timestamp=7, serial_no="S1"
    )


@pytest.mark.parametrize(
    "rest",
    [
        "",
        'mchid="19"',
        'mchid="19",nonce_str="N",signature="s",timestamp="7",serial_no="S",serial_no="S"',
        'mchid="19",nonce_str="N",signature="s",timestamp="7",serial_no="S",more="1"',
        'mchid=19,nonce_str="N",signature="s",timestamp="7",serial_no="S"',
        'mchid="19",nonce_str="",signature="s",timestamp="7",serial_no="S"',
        'mchid="19",nonce_str="N",signature="s",timestamp="-7",serial_no="S"',
        'mchid="19",nonce_str="N",signature="s",timestamp="٧",serial_no="S"',
    ],
)
def test_an_authorization_of_another_form_is_refused(rest: str) -> None:
    with pytest.raises(wire.AuthorizationInvalid):
        wire.read_authorization(f"WECHATPAY2-SHA256-RSA2048 {rest}")


def decrypt(sealed: str, *, nonce: str, associated_data: str) -> bytes:
    """GCM by its parts, not through the class that the simulator uses."""
    content = base64.b64decode(sealed)
    cipher = Cipher(algorithms.AES(KEY.encode()), modes.GCM(nonce.encode(), content[-16:])).decryptor()
    cipher.authenticate_additional_data(associated_data.encode())
    return cipher.update(content[:-16]) + cipher.finalize()


def test_a_resource_is_sealed_with_the_tag_behind() -> None:
    sealed = wire.encrypt_resource(apiv3_key=KEY, nonce="abcdefGHIJKL", associated_data="transaction", plain=b"{}")
    assert len(base64.b64decode(sealed)) == 2 + 16
    assert decrypt(sealed, nonce="abcdefGHIJKL", associated_data="transaction") == b"{}"
    for nonce, associated_data in (("abcdefGHIJKM", "transaction"), ("abcdefGHIJKL", "refund")):
        with pytest.raises(InvalidTag):
            decrypt(sealed, nonce=nonce, associated_data=associated_data)


def test_a_fixed_vector() -> None:
    sealed = wire.encrypt_resource(
        apiv3_key=KEY, nonce="nonce1234567", associated_data="refund", plain='{"金额":1}'.encode()
    )
    assert sealed == "i87oegHxCMrAbW/Zwx5jt035Y6dFHqIV4wVbxA=="

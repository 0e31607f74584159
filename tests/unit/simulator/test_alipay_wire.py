"""Texts that Alipay signs, and amounts and states in its words."""

from __future__ import annotations

import dataclasses
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from simulator.alipay import codes, fields, wire, words
from simulator.books import Order, Refund

KEY = generate_private_key(public_exponent=65537, key_size=2048)
ORDER = Order(
    channel="alipay",
    attempt_no="T1",
    code=f"{codes.QR_PREFIX}1",
    subject="充值",
    amount_fen=8888,
    paid_fen=8888,
    state="PAID",
    notify_url="",
    parameters={},
    transaction_id="2026",
    payer="p",
    created_at=1_700_000_000.0,
    expires_at=1_700_001_000.0,
    code_issued_at=1_700_000_000.0,
    paid_at=1_700_000_100.0,
)
REFUND = Refund(
    channel="alipay",
    refund_no="R1",
    refund_id="2027",
    attempt_no="T1",
    amount_fen=3000,
    state="SUCCESS",
    outcome="SUCCESS",
    settle_real_at=0.0,
    notify_url="",
    parameters={},
    created_at=1_700_000_200.0,
    finished_at=1_700_000_200.0,
)


def test_a_request_is_signed_with_sign_type_a_notice_without() -> None:
    parameters = {"b": "2 +", "a": "1", "sign": "x", "sign_type": "RSA2", "empty": ""}
    assert wire.request_text(parameters) == "a=1&b=2 +&sign_type=RSA2"
    assert wire.notice_text(parameters) == "a=1&b=2 +"


def test_a_signature_is_of_one_text_and_one_key() -> None:
    signature = wire.sign(key=KEY, message="a=支付")
    assert wire.is_signed(key=KEY.public_key(), message="a=支付", signature=signature)
    assert not wire.is_signed(key=KEY.public_key(), message="a=支付 ", signature=signature)
    other = generate_private_key(public_exponent=65537, key_size=2048).public_key()
    assert not wire.is_signed(key=other, message="a=支付", signature=signature)
    for odd in ("", "A", "签名", signature[:-1], f"{signature} "):
        assert not wire.is_signed(key=KEY.public_key(), message="a=支付", signature=odd)


def test_an_answer_is_json_with_the_signature_of_its_node() -> None:
    body = wire.answer_body(node="x_response", content={"u": "https://a/b"}, key=KEY, cert_sn="", is_forged=False)
    parsed = json.loads(body)
    assert parsed["x_response"] == {"u": "https://a/b"}
    assert wire.is_signed(key=KEY.public_key(), message='{"u":"https:\\/\\/a\\/b"}', signature=parsed["sign"])
    forged = wire.answer_body(node="x_response", content={}, key=KEY, cert_sn="", is_forged=True)
    assert not wire.is_signed(key=KEY.public_key(), message="{}", signature=json.loads(forged)["sign"])


@pytest.mark.parametrize(
    ("fen", "text"),
    [(0, "0.00"), (1, "0.01"), (-1, "-0.01"), (8888, "88.88"), (-3000, "-30.00"), (10**12, "10000000000.00")],
)
def test_yuan_are_exact(fen: int, text: str) -> None:
    assert words.yuan(fen) == text


@pytest.mark.parametrize(
    ("changes", "refunds", "status", "is_trade"),
    [
        ({}, [], "TRADE_SUCCESS", True),
        ({}, [REFUND], "TRADE_SUCCESS", True),
        ({}, [REFUND, dataclasses.replace(REFUND, amount_fen=5888)], "TRADE_CLOSED", True),
        ({}, [dataclasses.replace(REFUND, amount_fen=8888, state="CLOSED")], "TRADE_SUCCESS", True),
        ({"state": "OPEN"}, [], "WAIT_BUYER_PAY", True),
        ({"state": "OPEN", "payer": None}, [], "WAIT_BUYER_PAY", False),
        ({"state": "CLOSED", "payer": None}, [], "TRADE_CLOSED", False),
        ({"state": "OPEN", "payer": None, "code": f"{codes.CASHIER_PREFIX}1"}, [], "WAIT_BUYER_PAY", True),
    ],
)
def test_the_state_of_a_trade(changes: dict, refunds: list[Refund], status: str, is_trade: bool) -> None:
    order = dataclasses.replace(ORDER, **changes)
    assert (words.trade_status(order=order, refunds=refunds), words.is_trade(order)) == (status, is_trade)


@pytest.mark.parametrize(
    ("address", "is_right"),
    [
        ("https://pay.example.com/n", True),
        ("http://127.0.0.1:8000/n", True),
        ("http://localhost/n", True),
        ("http://pay.example.com/n", False),
        ("http://[bad", False),
        ("ftp://127.0.0.1/n", False),
        ("https://:443", False),
        ("", False),
    ],
)
def test_addresses_of_the_merchant(address: str, is_right: bool) -> None:
    assert fields.is_address(address) is is_right

"""Both directions: what the merchant signs is verified, what the provider answers is signed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from simulator import server
from tests.contract.simulator.merchant import Merchant, build_client

TARGET = "/v3/pay/transactions/native"


def body(merchant: Merchant) -> bytes:
    return json.dumps(
        {
            "appid": merchant.held["appid"],
            "mchid": merchant.held["mchid"],
            "description": "一",
            "out_trade_no": "RC00000001",
            "notify_url": "https://example.com/notify",
            "amount": {"total": 100},
        },
        ensure_ascii=False,
    ).encode()


def test_a_request_signed_by_hand_is_taken(merchant: Merchant) -> None:
    answer = merchant.request("POST", TARGET, body(merchant))
    assert answer.status_code == 200
    merchant.assert_signed(answer)


def test_another_key_is_refused(simulator: server.Handle, directory: Path, merchant: Merchant) -> None:
    pem = generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    stranger = build_client(directory, simulator.url, private_key=pem.decode())
    status, text = stranger.pay(
        description="x", out_trade_no="RC00000001", amount={"total": 1}, notify_url="https://example.com/n"
    )
    assert (status, json.loads(text)["code"]) == (401, "SIGN_ERROR")
    assert merchant.books()["payments"] == []


@pytest.mark.parametrize(
    "falsified",
    [
        {"signed_body": b"{}"},
        {"signed_target": "/v3/pay/transactions/jsapi"},
        {"age_seconds": 301},
        {"age_seconds": -301},
        {"mchid": "1900000000"},
        {"serial_no": "0" * 40},
        {"signature": "AAAA"},
        {"signature": "***"},
        {"timestamp": "now"},
        {"extra": "1"},
        {"authorization": "Bearer x"},
        {"authorization": "WECHATPAY2-SHA256-RSA2048 "},
        {"authorization": 'WECHATPAY2-SHA256-RSA2048 mchid="1",mchid="1"'},
    ],
)
def test_a_falsified_request_is_refused_by_a_signed_answer(merchant: Merchant, falsified: dict) -> None:
    answer = merchant.request("POST", TARGET, body(merchant), **falsified)
    assert (answer.status_code, answer.json()["code"]) == (401, "SIGN_ERROR")
    merchant.assert_signed(answer)
    assert merchant.books()["payments"] == []


def test_the_query_string_is_part_of_what_is_signed(merchant: Merchant) -> None:
    path = "/v3/pay/transactions/out-trade-no/RC00000001"
    target = f"{path}?mchid={merchant.held['mchid']}"
    assert merchant.request("GET", target).status_code == 404
    assert merchant.request("GET", target, signed_target=path).status_code == 401
    assert merchant.request("GET", f"{target}&a=%20b%2F").status_code == 404


def test_a_nonce_serves_once_and_only_the_merchant_can_use_it_up(merchant: Merchant) -> None:
    target = f"/v3/pay/transactions/out-trade-no/RC00000001?mchid={merchant.held['mchid']}"
    assert merchant.request("GET", target, nonce="nonce0001", signature="AAAA").status_code == 401
    assert merchant.request("GET", target, nonce="nonce0001").status_code == 404
    assert merchant.request("GET", target, nonce="nonce0001").status_code == 401


def test_a_shifted_clock_refuses_requests(merchant: Merchant) -> None:
    merchant.control("POST", "clock", {"offset_seconds": -302})
    assert merchant.native("RC00000001")[1]["code"] == "SIGN_ERROR"
    merchant.control("POST", "clock", {"offset_seconds": 0})
    assert merchant.native("RC00000001")[0] == 200


def test_errors_empty_answers_and_unknown_paths_are_signed(merchant: Merchant) -> None:
    merchant.native("RC00000001")
    close = json.dumps({"mchid": merchant.held["mchid"]}).encode()
    answers = [
        merchant.request("POST", TARGET, b"{}"),
        merchant.request("POST", "/v3/pay/transactions/out-trade-no/RC00000001/close", close),
        merchant.request("GET", "/v3/certificates"),
        merchant.request("DELETE", TARGET),
    ]
    assert [answer.status_code for answer in answers] == [400, 204, 404, 404]
    assert answers[1].content == b""
    for answer in answers:
        merchant.assert_signed(answer)


def test_the_check_of_answers_can_fail(merchant: Merchant) -> None:
    merchant.faults({"fault": "response_bad_signature"})
    answer = merchant.request("POST", TARGET, body(merchant))
    with pytest.raises(InvalidSignature):
        merchant.assert_signed(answer)

"""Published vectors of Alipay, and our own, through the adapter.

The shared folder is not part of the repository: its cases are added where it exists, our own vectors always run.
"""

from __future__ import annotations

import base64
import json
import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from alipay import AliPay
from alipay.exceptions import AliPayValidationError
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from foundation import clock
from gateway.adapters.alipay import client, fields, notices
from gateway.adapters.alipay.adapter import page_form
from gateway.adapters.alipay.client import Credentials
from gateway.ports import NoticeInvalid, NoticeKind, Outcome
from tests.contract.gateway.provider import pem_private, pem_public, sign

SHARED = Path(__file__).resolve().parents[4] / "shared" / "cases" / "providers"


def shared_case(case_id: str) -> Any:
    """None where the folder does not exist."""
    found = sorted(SHARED.glob(f"{case_id}_*.json"))
    return json.loads(found[0].read_text(encoding="utf-8")) if found else None


def sdk(public_key_pem: str, app_key: rsa.RSAPrivateKey | None = None) -> AliPay:
    own = app_key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return AliPay(
        appid="2021000000000001",
        app_private_key_string=pem_private(own),
        alipay_public_key_string=public_key_pem,
    )


def real_notice() -> tuple[AliPay, dict[str, str]]:
    """A notice with a plus sign in it: the published one, else one of our own."""
    case = shared_case("ali_01")
    if case is not None:
        certificate = x509.load_pem_x509_certificate(case["input"]["alipay_cert_pem"].encode())
        pem = certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        return sdk(pem), dict(case["input"]["params"])
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    parameters = {
        "app_id": "2021000000000001",
        "seller_id": "2088000000000001",
        "notify_type": "trade_status_sync",
        "notify_id": "20261123",
        "notify_time": "2026-11-23 10:00:10",
        "subject": "own+vector - 1",
        "out_trade_no": "RC1",
        "trade_no": "2026",
        "trade_status": "TRADE_SUCCESS",
        "total_amount": "0.01",
    }
    text = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))
    return sdk(pem_public(key)), {**parameters, "sign_type": "RSA2", "sign": sign(key, text.encode())}


def read(ali: AliPay, parameters: dict[str, str], *, seller_id: str = "") -> Any:
    credentials = Credentials(
        app_id=parameters["app_id"], seller_id=seller_id or parameters["seller_id"], app_private_key="unused"
    )
    sent_at = fields.moment(parameters["notify_time"], "notify_time")
    return notices.read(ali, credentials, body=urlencode(parameters).encode(), now=sent_at)


def test_a_real_notice_with_a_plus_sign_is_believed() -> None:
    ali, parameters = real_notice()
    assert "+" in parameters["subject"]
    fact = read(ali, parameters)
    assert (fact.kind, fact.number) == (NoticeKind.PAYMENT, parameters["out_trade_no"])
    assert (fact.result.outcome, fact.result.amount_fen) == (Outcome.SUCCESS, 1)
    assert fact.result.provider_no == parameters["trade_no"]


def test_the_real_notice_is_refused_when_anything_is_changed() -> None:
    ali, parameters = real_notice()
    changes: list[dict[str, str]] = [
        {**parameters, "subject": parameters["subject"].replace("+", " ")},
        {**parameters, "total_amount": "0.02"},
    ]
    kept = ("app_id", "seller_id", "notify_time")
    changes += [
        {name: value for name, value in parameters.items() if name != left_out}
        for left_out in parameters
        if left_out not in kept
    ]
    for changed in changes:
        with pytest.raises(NoticeInvalid):
            read(ali, changed)
    with pytest.raises(NoticeInvalid, match="seller_id_mismatch"):
        read(ali, parameters, seller_id="2088000000000000")


def test_sign_type_is_no_part_of_a_notices_signed_text() -> None:
    ali, parameters = real_notice()
    signature = parameters.pop("sign")
    assert client.is_signed(ali, parameters, signature), "the SDK leaves sign_type out"
    assert parameters["sign_type"] == "RSA2", "and must not take it out of our own copy"
    left_in = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))
    assert "&sign_type=RSA2&" in left_in
    assert ali._verify(left_in, signature) is False


def test_the_signed_text_of_a_notice_is_the_documented_one(monkeypatch: pytest.MonkeyPatch) -> None:
    case = shared_case("ali_08")
    if case is None:
        parameters = {"b": "大乐透2.1", "a": "2.00", "sign_type": "RSA2", "sign": "x", "refund_fee": "0.00"}
        expected = "a=2.00&b=大乐透2.1&refund_fee=0.00"
    else:
        parameters, expected = dict(case["input"]["params"]), case["expected"]["string_to_verify"]
    ali = real_notice()[0]
    texts: list[str] = []
    monkeypatch.setattr(ali, "_verify", lambda text, signature: bool(texts.append(text)))
    with pytest.raises(NoticeInvalid, match="signature_invalid"):
        notices.read(
            ali,
            Credentials(app_id="1", seller_id="2", app_private_key="unused"),
            body=urlencode(parameters).encode(),
            now=clock.now(),
        )
    assert texts == [expected]


def test_the_documents_sample_is_refused_with_any_key_we_hold() -> None:
    case = shared_case("ali_08")
    ali, own = real_notice()
    parameters = {**own, "sign": "QUJD"} if case is None else dict(case["input"]["params"])
    with pytest.raises(NoticeInvalid, match="signature_invalid"):
        read(ali, parameters)


def answer() -> tuple[AliPay, str, str, str]:
    """SDK, name of the node, its raw text, signature: the published answer, else one of our own."""
    case = shared_case("ali_06")
    if case is not None:
        key = "\n".join(textwrap.wrap(case["input"]["alipay_public_key_base64"], 64))
        pem = f"-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n"
        return sdk(pem), "alipay_trade_pay_response", case["input"]["response_node_text"], case["input"]["sign"]
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = '{"code":"10000","out_trade_no":"GZ201901301040361012","total_amount":"0.01"}'
    return sdk(pem_public(own)), "alipay_trade_pay_response", text, sign(own, text.encode())


def test_a_published_answer_verifies_and_a_changed_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    ali, node, text, signature = answer()
    bodies = [f'{{"{node}":{text},"sign":"{signature}"}}', f'{{"sign":"{signature}","{node}":{text}}}']

    class Body:
        def __init__(self, content: str) -> None:
            self.content = content

        def read(self) -> bytes:
            return self.content.encode()

    for body in bodies:
        monkeypatch.setattr("alipay.urlopen", lambda url, timeout, body=body: Body(body))
        data = client.ask(ali, "alipay.trade.pay", {})
        assert (data["code"], data["out_trade_no"], data["total_amount"]) == ("10000", "GZ201901301040361012", "0.01")
        changed = body.replace('"total_amount":"0.01"', '"total_amount":"0.02"')
        monkeypatch.setattr("alipay.urlopen", lambda url, timeout, body=changed: Body(body))
        with pytest.raises(client.NoAnswer) as caught:
            client.ask(ali, "alipay.trade.pay", {})
        assert isinstance(caught.value.__cause__, AliPayValidationError)


def test_a_page_is_the_documented_form() -> None:
    case = shared_case("ali_11")
    given = (
        case["input"]
        if case is not None
        else {
            "subject": "iPhone6 16G",
            "out_trade_no": "e5b5bd79",
            "total_amount": "0.10",
            "return_url": "https://shop.example.com",
            "notify_url": "https://pay.example.com/notify/alipay",
        }
    )
    app_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ali = sdk(pem_public(app_key), app_key)
    content = {name: given[name] for name in ("out_trade_no", "total_amount", "subject")}
    query = client.signed_query(
        ali,
        "alipay.trade.page.pay",
        {**content, "product_code": "FAST_INSTANT_TRADE_PAY"},
        notify_url=given["notify_url"],
        return_url=given["return_url"],
    )
    payment = page_form("https://openapi.alipay.com/gateway.do", query)
    fragments = (
        case["expected"]["contains"]
        if case is not None
        else ['<form name="punchout_form" method="post" action="https://openapi.alipay.com/gateway.do?']
    )
    assert [fragment for fragment in fragments if fragment not in payment["html"]] == []
    assert json.loads(payment["fields"]["biz_content"]) == {**content, "product_code": "FAST_INSTANT_TRADE_PAY"}


def test_every_shared_alipay_case_is_used_by_a_test_here() -> None:
    """A new case in the folder must not pass unnoticed."""
    used = ("ali_01", "ali_06", "ali_08", "ali_11")
    assert [path.name for path in SHARED.glob("ali_*.json") if not path.name.startswith(used)] == []


def test_our_own_signature_of_a_request_has_sign_type_in_it() -> None:
    """Unlike a notice: every parameter but `sign`."""
    from urllib.parse import parse_qsl

    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    app_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    sent = dict(
        parse_qsl(client.signed_query(sdk(pem_public(app_key), app_key), "alipay.trade.wap.pay", {"a": "支付"}))
    )
    text = "&".join(f"{name}={value}" for name, value in sorted(sent.items()) if name != "sign")
    assert "&sign_type=RSA2&" in text
    app_key.public_key().verify(base64.b64decode(sent["sign"]), text.encode(), padding.PKCS1v15(), hashes.SHA256())

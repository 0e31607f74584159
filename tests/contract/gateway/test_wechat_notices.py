"""Which notices the WeChat adapter believes, and why it refuses the others. Nothing but NoticeInvalid may come out."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.wechat import WechatAdapter
from gateway.ports import NoticeFact, NoticeInvalid, NoticeKind, Outcome, Result
from tests.contract.gateway.provider import Provider, refund_notice_data, transaction_data

NOW = dt.datetime(2026, 11, 23, 2, 0, 10, tzinfo=dt.UTC)


def refusal(adapter: WechatAdapter, headers: dict[str, str], body: bytes, now: dt.datetime = NOW) -> tuple[str, bool]:
    """The reason of the refusal and whether the signature was right; fails when the notice is believed."""
    with pytest.raises(NoticeInvalid) as caught:
        adapter.read_notice(headers=headers, body=body, now=now)
    return caught.value.reason, caught.value.is_signed


def test_a_paid_notice_becomes_a_fact(adapter: WechatAdapter, provider: Provider) -> None:
    headers, body = provider.notice(transaction_data(), event_id="EV-1", now=NOW)
    assert adapter.read_notice(headers=headers, body=body, now=NOW) == NoticeFact(
        event_id="EV-1",
        kind=NoticeKind.PAYMENT,
        number="RC100010001202611231000000010001",
        result=Result(
            outcome=Outcome.SUCCESS,
            message="支付成功",
            provider_no="4200001234202611231234567890",
            amount_fen=8888,
            happened_at=dt.datetime(2026, 11, 23, 2, 0, 5, tzinfo=dt.UTC),
        ),
    )


@pytest.mark.parametrize(
    ("event_type", "status", "outcome", "code"),
    [
        ("REFUND.SUCCESS", "SUCCESS", Outcome.SUCCESS, ""),
        ("REFUND.ABNORMAL", "ABNORMAL", Outcome.PENDING, "abnormal"),
        ("REFUND.CLOSED", "CLOSED", Outcome.FAILED, "closed"),
    ],
)
def test_a_refund_notice_becomes_a_fact(
    adapter: WechatAdapter, provider: Provider, event_type: str, status: str, outcome: Outcome, code: str
) -> None:
    headers, body = provider.notice(refund_notice_data(refund_status=status), event_type=event_type, now=NOW)
    fact = adapter.read_notice(headers=headers, body=body, now=NOW)
    assert (fact.kind, fact.number) == (NoticeKind.REFUND, "RX100010001202611231000000010002")
    assert (fact.result.outcome, fact.result.code, fact.result.amount_fen) == (outcome, code, 3000)


def test_header_names_may_come_in_any_case(adapter: WechatAdapter, provider: Provider) -> None:
    headers, body = provider.notice(transaction_data(), now=NOW)
    for change in (str.lower, str.upper):
        changed = {change(name): value for name, value in headers.items()}
        assert adapter.read_notice(headers=changed, body=body, now=NOW).result.amount_fen == 8888


def test_an_empty_associated_data_is_allowed(adapter: WechatAdapter, provider: Provider) -> None:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from tests.contract.gateway.provider import APIV3_KEY

    sealed = AESGCM(APIV3_KEY.encode()).encrypt(b"0123456789ab", json.dumps(transaction_data()).encode(), b"")
    resource = {"ciphertext": base64.b64encode(sealed).decode(), "nonce": "0123456789ab", "associated_data": ""}
    headers, body = provider.notice({}, now=NOW, resource=resource)
    assert adapter.read_notice(headers=headers, body=body, now=NOW).result.amount_fen == 8888


@pytest.mark.parametrize("age_seconds", [-299, 0, 299])
def test_within_the_window_a_notice_is_believed(adapter: WechatAdapter, provider: Provider, age_seconds: int) -> None:
    headers, body = provider.notice(transaction_data(), now=NOW - dt.timedelta(seconds=age_seconds))
    assert adapter.read_notice(headers=headers, body=body, now=NOW).result.outcome is Outcome.SUCCESS


@pytest.mark.parametrize("age_seconds", [-86_400, -300, 300, 301, 86_400])
def test_outside_of_the_window_a_right_signature_is_not_enough(
    adapter: WechatAdapter, provider: Provider, age_seconds: int
) -> None:
    headers, body = provider.notice(transaction_data(), now=NOW - dt.timedelta(seconds=age_seconds))
    assert refusal(adapter, headers, body) == ("stale", False)


@pytest.mark.parametrize(
    "name",
    [
        "Wechatpay-Timestamp",
        "Wechatpay-Nonce",
        "Wechatpay-Signature",
        "Wechatpay-Serial",
        "Wechatpay-Signature-Type",
    ],
)
def test_a_missing_header_is_refused(adapter: WechatAdapter, provider: Provider, name: str) -> None:
    headers, body = provider.notice(transaction_data(), now=NOW)
    missing = {key: value for key, value in headers.items() if key != name}
    assert refusal(adapter, missing, body) == ("headers_missing", False)
    assert refusal(adapter, {**headers, name: ""}, body) == ("headers_missing", False)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("Wechatpay-Signature", "WECHATPAY/SIGNTEST/abcdefghijklmnop==", "signature_probe"),
        ("Wechatpay-Signature", "WECHATPAY/SIGNTEST/", "signature_probe"),
        ("Wechatpay-Signature", "AAAA", "signature_invalid"),
        ("Wechatpay-Signature", "not base64 at all", "signature_invalid"),
        ("Wechatpay-Signature", "签名", "signature_invalid"),
        ("Wechatpay-Serial", "PUB_KEY_ID_0000000000000000000000000000", "serial_unknown"),
        ("Wechatpay-Serial", "5157F09EFDC096DE15EBE81A47057A7232F1B8E1", "serial_unknown"),
        ("Wechatpay-Signature-Type", "WECHATPAY2-SM2-WITH-SM3", "signature_type_unknown"),
        ("Wechatpay-Nonce", "another", "signature_invalid"),
        ("Wechatpay-Timestamp", "now", "timestamp_malformed"),
        ("Wechatpay-Timestamp", "-1", "timestamp_malformed"),
        ("Wechatpay-Timestamp", "1" * 5000, "timestamp_malformed"),
        ("Wechatpay-Timestamp", "１７３２３２３２３２", "timestamp_malformed"),
        ("Wechatpay-Timestamp", str(int(NOW.timestamp()) + 1), "signature_invalid"),
    ],
)
def test_a_changed_header_is_refused(
    adapter: WechatAdapter, provider: Provider, name: str, value: str, reason: str
) -> None:
    headers, body = provider.notice(transaction_data(), now=NOW)
    assert refusal(adapter, {**headers, name: value}, body) == (reason, False)
    assert provider.seen == [], "a forgery must not make us call out"


def test_the_probe_is_refused_also_when_the_rest_of_it_is_right(adapter: WechatAdapter, provider: Provider) -> None:
    headers, body = provider.notice(transaction_data(), now=NOW)
    headers["Wechatpay-Signature"] = "WECHATPAY/SIGNTEST/" + headers["Wechatpay-Signature"]
    assert refusal(adapter, headers, body) == ("signature_probe", False)


def test_another_key_is_a_forgery(adapter: WechatAdapter, provider: Provider) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    headers, body = provider.notice(transaction_data(), now=NOW, key=other)
    assert refusal(adapter, headers, body) == ("signature_invalid", False)
    headers, body = provider.notice(transaction_data(), now=NOW, key=provider.merchant_key)
    assert refusal(adapter, headers, body) == ("signature_invalid", False)


def test_every_truncation_and_any_changed_byte_is_refused(adapter: WechatAdapter, provider: Provider) -> None:
    headers, body = provider.notice(transaction_data(), now=NOW)
    for length in range(0, len(body), 29):
        assert refusal(adapter, headers, body[:length])[1] is False
    for place in range(0, len(body), 31):
        changed = bytearray(body)
        changed[place] ^= 1
        assert refusal(adapter, headers, bytes(changed))[1] is False
    assert refusal(adapter, headers, body + b" ") == ("signature_invalid", False)
    assert refusal(adapter, headers, body + b"\xff") == ("signature_malformed", False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mchid": "1900000002"}, "mchid_mismatch"),
        ({"appid": "wxffffffffffffffff"}, "appid_mismatch"),
        ({"mchid": 1900000001}, "mchid_mismatch"),
        ({"appid": None}, "appid_mismatch"),
        ({"amount": {"total": 8888, "currency": "USD"}}, "currency_mismatch"),
        ({"amount": {"total": 8888}}, "currency_mismatch"),
        ({"amount": {"total": "8888", "currency": "CNY"}}, "amount_malformed"),
        ({"amount": {"total": 8888.0, "currency": "CNY"}}, "amount_malformed"),
        ({"amount": [8888]}, "amount_missing"),
        ({"out_trade_no": "RC1/../x"}, "number_malformed"),
        ({"out_trade_no": None}, "out_trade_no_missing"),
        ({"trade_state": "REFUND"}, "state_unknown"),
        ({"success_time": "1"}, "time_malformed"),
    ],
)
def test_a_signed_payment_that_is_not_ours_or_not_as_documented_is_refused(
    adapter: WechatAdapter, provider: Provider, changes: dict[str, Any], reason: str
) -> None:
    headers, body = provider.notice(transaction_data(**changes), now=NOW)
    assert refusal(adapter, headers, body) == (reason, True)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mchid": "1900000002"}, "mchid_mismatch"),
        ({"amount": {"total": 8888, "refund": 3000, "currency": "USD"}}, "currency_mismatch"),
        ({"amount": {"total": 8888, "refund": "3000"}}, "amount_malformed"),
        ({"refund_status": "NEW"}, "state_unknown"),
        ({"refund_status": None, "status": "SUCCESS"}, "refund_status_missing"),
        ({"out_refund_no": "退款"}, "number_malformed"),
    ],
)
def test_a_signed_refund_that_is_not_ours_or_not_as_documented_is_refused(
    adapter: WechatAdapter, provider: Provider, changes: dict[str, Any], reason: str
) -> None:
    headers, body = provider.notice(refund_notice_data(**changes), event_type="REFUND.SUCCESS", now=NOW)
    assert refusal(adapter, headers, body) == (reason, True)


@pytest.mark.parametrize(
    ("envelope", "resource", "reason"),
    [
        ({"event_type": "MCHTRANSFER.BATCH.FINISHED"}, {}, "event_type_unknown"),
        ({"event_type": None}, {}, "event_type_missing"),
        ({"id": ""}, {}, "id_missing"),
        ({"id": "x" * 65}, {}, "event_id_malformed"),
        ({"id": "事件"}, {}, "event_id_malformed"),
        ({"resource_type": "plain"}, {}, "resource_malformed"),
        ({"resource": None}, {}, "resource_malformed"),
        ({"resource": []}, {}, "resource_malformed"),
        ({}, {"algorithm": "AEAD_SM4_GCM"}, "algorithm_unknown"),
        ({}, {"ciphertext": ""}, "ciphertext_missing"),
        ({}, {"ciphertext": 7}, "ciphertext_missing"),
        ({}, {"ciphertext": "AAAA"}, "content_undecryptable"),
        ({}, {"ciphertext": "!!!not-base64!!!"}, "content_undecryptable"),
        ({}, {"nonce": ""}, "nonce_missing"),
        ({}, {"nonce": "1"}, "content_undecryptable"),
        ({}, {"nonce": "0" * 12}, "content_undecryptable"),
        ({}, {"associated_data": "other"}, "content_undecryptable"),
        ({}, {"associated_data": ["transaction"]}, "content_undecryptable"),
    ],
)
def test_a_signed_envelope_that_is_not_as_documented_is_refused(
    adapter: WechatAdapter, provider: Provider, envelope: dict[str, Any], resource: dict[str, Any], reason: str
) -> None:
    headers, body = provider.notice(transaction_data(), now=NOW, envelope=envelope, resource=resource)
    assert refusal(adapter, headers, body) == (reason, True)


@pytest.mark.parametrize("plain", [b"", b"[]", b"null", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_sealed_content_that_is_no_object_is_refused(
    adapter: WechatAdapter, provider: Provider, plain: bytes
) -> None:
    headers, body = provider.notice(plain, now=NOW)
    assert refusal(adapter, headers, body)[1] is True


def test_another_apiv3_key_does_not_decrypt(adapter: WechatAdapter, provider: Provider) -> None:
    headers, body = provider.notice(transaction_data(), now=NOW, apiv3_key="v" * 32)
    assert refusal(adapter, headers, body) == ("content_undecryptable", True)


@pytest.mark.parametrize("body", [b"", b"{}", b"\x00", b"<xml/>", b"[" * 10_000])
def test_a_signed_body_that_is_no_notice_is_refused(adapter: WechatAdapter, provider: Provider, body: bytes) -> None:
    headers = provider.signed_headers(body, timestamp=int(NOW.timestamp()))
    assert refusal(adapter, headers, body)[1] is True


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    headers=st.dictionaries(
        st.sampled_from(
            [
                "Wechatpay-Timestamp",
                "Wechatpay-Nonce",
                "Wechatpay-Signature",
                "Wechatpay-Serial",
                "Wechatpay-Signature-Type",
            ]
        ),
        st.one_of(
            st.text(max_size=40),
            st.sampled_from(
                [
                    str(int(NOW.timestamp())),
                    "PUB_KEY_ID_0119000000012026112300000001",
                    "WECHATPAY2-SHA256-RSA2048",
                    "QUJD",
                ]
            ),
        ),
    ),
    body=st.binary(max_size=200),
)
def test_whatever_arrives_only_a_refusal_comes_out(
    adapter: WechatAdapter, headers: dict[str, str], body: bytes
) -> None:
    with pytest.raises(NoticeInvalid):
        adapter.read_notice(headers=headers, body=body, now=NOW)


def test_the_answers_are_wechats_own() -> None:
    success = WechatAdapter.success_answer()
    assert (success.status, success.body) == (204, b"")
    failure = WechatAdapter.failure_answer('不行 "quoted" ' + "x" * 100)
    assert failure.status == 500
    said = json.loads(failure.body)
    assert said["code"] == "FAIL"
    assert len(said["message"]) == 64

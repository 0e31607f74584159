"""99bill's notices: genuine ones become facts, forged, foreign, old and cut ones change nothing."""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from foundation import clock
from gateway.adapters.kuaiqian import KuaiqianAdapter
from gateway.adapters.kuaiqian.signing import md5_upper
from gateway.ports import Answer, NoticeInvalid, Outcome, Result
from simulator.kuaiqian import wire
from tests.contract.gateway.kuaiqian_provider import (
    ACCOUNT,
    GATEWAY_KEY,
    MEMBER,
    NOTICE,
    Bill99,
    bill99,
    running_bill99,
)

__all__ = ["bill99", "running_bill99"]
ATTEMPT_NO = "AT100010001202611231000000010001"
PAYOUT_NO = "WD100010001202611231000000010003"
NOW = dt.datetime(2026, 11, 23, 2, 5, tzinfo=dt.UTC)
PAID_AT = dt.datetime(2026, 11, 23, 10, 1, 5, tzinfo=clock.BUSINESS_ZONE)
ACCEPTED = b"<result>1</result><redirecturl>https://pay.example.com/done?a=1&amp;b=2</redirecturl>"


def fields(**changes: str) -> dict[str, str]:
    return {
        "merchantAcctId": ACCOUNT,
        "version": "v2.0",
        "language": "1",
        "signType": "4",
        "payType": "10",
        "bankId": "ICBC",
        "orderId": ATTEMPT_NO,
        "orderTime": "20261123100000",
        "orderAmount": "8888",
        "bindCard": "",
        "bindMobile": "",
        "dealId": "149006926205",
        "bankDealId": "",
        "dealTime": "20261123100105",
        "payAmount": "8888",
        "fee": "",
        "ext1": "",
        "ext2": "",
        "payResult": "10",
        "errCode": "",
        **changes,
    }


def query(bill99: Bill99, content: dict[str, str], *, key: rsa.RSAPrivateKey | None = None) -> bytes:
    signature = bill99.sign(bill99.text(content, NOTICE, key=""), key=key)
    return urlencode({**content, "signMsg": signature}).encode()


def read(adapter: KuaiqianAdapter, body: bytes) -> Any:
    return adapter.read_notice(headers={}, body=body, now=NOW)


def reason(adapter: KuaiqianAdapter, body: bytes) -> tuple[str, bool]:
    with pytest.raises(NoticeInvalid) as caught:
        read(adapter, body)
    return caught.value.reason, caught.value.is_signed


def test_a_payment_becomes_a_fact_with_its_own_answer(bill99: Bill99) -> None:
    fact = read(bill99.adapter(), query(bill99, fields()))
    assert (fact.kind, fact.number, fact.event_id) == ("PAYMENT", ATTEMPT_NO, "deal-149006926205-10")
    assert fact.result == Result(
        outcome=Outcome.SUCCESS, provider_no="149006926205", amount_fen=8888, happened_at=PAID_AT
    )
    assert fact.answer == Answer(status=200, content_type="text/html; charset=utf-8", body=ACCEPTED)
    assert read(bill99.adapter(), query(bill99, fields())) == fact


def test_the_failure_answer_makes_99bill_send_it_again() -> None:
    answer = KuaiqianAdapter.failure_answer("no")
    assert (answer.status, answer.body) == (500, b"<result>0</result><redirecturl></redirecturl>")
    assert KuaiqianAdapter.success_answer().body == b"<result>1</result><redirecturl></redirecturl>"


def test_an_unescaped_plus_of_the_signature_is_put_up_with(bill99: Bill99) -> None:
    content = fields()
    for serial in range(200):
        content["ext1"] = str(serial)
        signature = bill99.sign(bill99.text(content, NOTICE, key=""))
        if "+" in signature:
            break
    body = f"{urlencode(content)}&signMsg={signature}".encode()
    assert read(bill99.adapter(), body).number == ATTEMPT_NO


def test_of_a_name_that_occurs_twice_the_last_one_counts(bill99: Bill99) -> None:
    body = b"payAmount=1&orderId=AT9&" + query(bill99, fields())
    assert read(bill99.adapter(), body).result.amount_fen == 8888
    assert reason(bill99.adapter(), query(bill99, fields()) + b"&payAmount=1") == ("signature_invalid", False)


def test_an_md5_merchant_checks_with_the_gateways_key(bill99: Bill99) -> None:
    content = fields(signType="1")
    right = md5_upper(bill99.text(content, NOTICE, key=GATEWAY_KEY))
    adapter = bill99.adapter(sign_type="1")
    for signature in (right, right.lower()):
        assert read(adapter, urlencode({**content, "signMsg": signature}).encode()).number == ATTEMPT_NO
    wrong = md5_upper(bill99.text(content, NOTICE, key="ANOTHER"))
    assert reason(adapter, urlencode({**content, "signMsg": wrong}).encode()) == ("signature_invalid", False)


def test_the_sender_does_not_choose_the_weaker_signature(bill99: Bill99) -> None:
    content = fields(signType="1")
    signature = md5_upper(bill99.text(content, NOTICE, key=GATEWAY_KEY))
    body = urlencode({**content, "signMsg": signature}).encode()
    assert reason(bill99.adapter(), body) == ("signature_type_unknown", False)


def test_a_forged_notice_is_refused(bill99: Bill99) -> None:
    adapter, genuine = bill99.adapter(), query(bill99, fields())
    assert reason(adapter, query(bill99, fields(), key=bill99.merchant_key)) == ("signature_invalid", False)
    for name, value in (("payAmount", "9999"), ("orderId", "AT9"), ("payResult", "11"), ("dealId", "1")):
        forged = genuine.replace(urlencode({name: fields()[name]}).encode(), urlencode({name: value}).encode())
        assert forged != genuine
        assert reason(adapter, forged) == ("signature_invalid", False)
    for cut in range(len(genuine)):
        with pytest.raises(NoticeInvalid):
            read(adapter, genuine[:cut])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"merchantAcctId": "1009999999901"}, "merchant_mismatch"),
        ({"orderId": "a/b"}, "number_malformed"),
        ({"dealTime": "x"}, "time_malformed"),
        ({"dealTime": "20261116100100"}, "stale"),
        ({"dealId": "1 2"}, "provider_number_malformed"),
        ({"payResult": "20"}, "pay_result_unknown"),
        ({"payResult": ""}, "pay_result_unknown"),
        ({"payAmount": "88.88"}, "amount_malformed"),
        ({"payAmount": "-1"}, "amount_malformed"),
        ({"payAmount": "１００"}, "amount_malformed"),
        ({"payAmount": ""}, "amount_malformed"),
        ({"ext1": "a&b"}, "fields_ambiguous"),
    ],
)
def test_a_signed_notice_that_must_not_be_acted_on_calls_staff(
    bill99: Bill99, changes: dict[str, str], why: str
) -> None:
    assert reason(bill99.adapter(), query(bill99, fields(**changes))) == (why, True)


def test_a_failed_try_whose_text_reads_like_a_paid_one_is_believed_in_no_reading(bill99: Bill99) -> None:
    """The string to sign knows no quotes: both readings have the same signature, so neither is believed."""
    failed = fields(ext2="x&payResult=10&errCode=", payResult="11", errCode="51")
    paid = fields(ext2="x", payResult="10", errCode="&payResult=11&errCode=51")
    assert bill99.text(failed, NOTICE, key="") == bill99.text(paid, NOTICE, key="")
    assert reason(bill99.adapter(), query(bill99, failed)) == ("fields_ambiguous", True)
    assert reason(bill99.adapter(), query(bill99, paid)) == ("fields_ambiguous", True)


def test_a_failed_try_books_nothing_and_leaves_the_order_open(bill99: Bill99) -> None:
    fact = read(bill99.adapter(), query(bill99, fields(payResult="11", errCode="51")))
    assert fact.result == Result(outcome=Outcome.PENDING, code="pay_failed", message="51")
    assert fact.event_id == "deal-149006926205-11"


@pytest.mark.parametrize(
    "body",
    [b"", b"&&&", b"=", b"orderId=1", b"signMsg=x", b"orderId=%ff&signMsg=1", b"\xff", b"a=1&" * 100, b"\x00=\x00"],
)
def test_what_is_no_notice_is_refused(bill99: Bill99, body: bytes) -> None:
    assert reason(bill99.adapter(), body)[1] is False


# --- payouts ---


def payout(**changes: str) -> dict[str, str]:
    return {
        "membercode": MEMBER,
        "merchant_id": PAYOUT_NO,
        "apply_date": "2026-11-23 10:00:00",
        "order_seq_id": "3329358112",
        "fee": "100",
        "status": "111",
        "error_code": "0000",
        "error_msg": "",
        "amt": "50000",
        "bank": "工商银行",
        "name": "张三",
        "bank_card_no": "6222020000000000000",
        "end_date": "2026-11-23 10:01:05",
        **changes,
    }


def sealed(bill99: Bill99, content: dict[str, str], *, root: str = "pay2BankNotify", **how: Any) -> bytes:
    plain = wire.DECLARATION + wire.element(root, wire.leaves_of(content))
    head = wire.element("notifyHead", wire.leaves_of({"version": "1.0", "memberCode": MEMBER}))
    body = wire.element("notifyRequestBody", bill99.sealed(plain, **how))
    return (wire.DECLARATION + wire.element("notifyRequest", head, body)).encode()


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [
        ("111", Outcome.SUCCESS, ""),
        ("112", Outcome.FAILED, "payout_failed"),
        ("114", Outcome.FAILED, "returned"),
    ],
)
def test_a_payouts_end_becomes_a_fact(bill99: Bill99, status: str, outcome: Outcome, code: str) -> None:
    fact = read(bill99.adapter(), sealed(bill99, payout(status=status)))
    assert (fact.kind, fact.number, fact.event_id) == ("PAYOUT", PAYOUT_NO, f"payout-3329358112-{status}")
    assert (fact.result.outcome, fact.result.code, fact.result.amount_fen) == (outcome, code, 50_000)
    assert fact.result.provider_no == "3329358112"
    assert fact.result.happened_at == (None if status == "112" else PAID_AT)


def test_the_answer_to_a_payout_is_sealed_for_99bill(bill99: Bill99) -> None:
    answer = read(bill99.adapter(), sealed(bill99, payout())).answer
    assert (answer.status, answer.content_type) == (200, "text/xml; charset=utf-8")
    head, body = wire.only(wire.parse(answer.body), "notifyHead", "notifyResponseBody")
    assert [(child.name, child.text) for child in head.children] == [("version", "1.0"), ("memberCode", MEMBER)]
    inside, received = wire.only(body, "sealDataType", "isReceived")
    plain = wire.unseal(
        own=bill99.platform_key, other=bill99.merchant_key.public_key(), hash_name="sha1", sealed=inside
    )
    assert received.text == "1"
    assert wire.parse(plain).name == "pay2BankNotify"


def test_a_payout_that_is_not_sealed_by_99bill_is_refused(bill99: Bill99) -> None:
    adapter = bill99.adapter()
    assert reason(adapter, sealed(bill99, payout(), key=bill99.merchant_key)) == ("signature_invalid", False)
    assert reason(adapter, sealed(bill99, payout(), signed=b"another")) == ("signature_invalid", False)
    genuine = sealed(bill99, payout())
    assert reason(adapter, genuine.replace(b"notifyRequestBody", b"otherBody")) == ("notifyrequestbody_missing", False)
    for cut in range(1, len(genuine), 97):
        with pytest.raises(NoticeInvalid):
            read(adapter, genuine[:cut])


def test_a_document_type_is_refused_before_anything_is_expanded(bill99: Bill99) -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><notifyRequest>&b;</notifyRequest>'
    assert reason(bill99.adapter(), bomb) == ("xml_forbidden", False)
    outside = b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><notifyRequest/>'
    assert reason(bill99.adapter(), outside) == ("xml_forbidden", False)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"membercode": "10099999999"}, "merchant_mismatch"),
        ({"merchant_id": "a/b"}, "number_malformed"),
        ({"amt": "500.00"}, "amount_malformed"),
        ({"status": "999"}, "state_unknown"),
        ({"order_seq_id": ""}, "provider_number_malformed"),
        ({"end_date": "yesterday"}, "time_malformed"),
    ],
)
def test_a_sealed_payout_that_must_not_be_acted_on_calls_staff(
    bill99: Bill99, changes: dict[str, str], why: str
) -> None:
    assert reason(bill99.adapter(), sealed(bill99, payout(**changes))) == (why, True)


def test_a_sealed_message_of_another_kind_is_not_taken_for_a_notice(bill99: Bill99) -> None:
    assert reason(bill99.adapter(), sealed(bill99, payout(), root="pay2BankOrder")) == ("content_unknown", True)

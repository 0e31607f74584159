"""What the 99bill adapter sends, and what it makes of every kind of answer."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests
from celery.exceptions import SoftTimeLimitExceeded
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from foundation import clock
from gateway.adapters.kuaiqian import KuaiqianAdapter
from gateway.adapters.kuaiqian.signing import md5_upper
from gateway.ports import (
    CardVerification,
    CardVerifier,
    Outcome,
    PaymentChannel,
    Payout,
    PayoutQuery,
    PayoutRequest,
    PrepayRequest,
    RefundRequest,
    Result,
)
from simulator.kuaiqian import wire
from tests.contract.gateway.kuaiqian_provider import (
    ACCOUNT,
    CARD_MERCHANT,
    CARD_PASSWORD,
    CARD_TERMINAL,
    GATEWAY_KEY,
    MEMBER,
    QUERY_KEY,
    REFUND_KEY,
    Bill99,
    Reply,
    bill99,
    running_bill99,
)

__all__ = ["bill99", "running_bill99"]
ATTEMPT_NO = "AT100010001202611231000000010001"
REFUND_NO = "AT100010001202611231000000010002"
PAYOUT_NO = "WD100010001202611231000000010003"
NOW = dt.datetime(2026, 11, 23, 2, 0, tzinfo=dt.UTC)
ORDER = {
    "orderId": ATTEMPT_NO,
    "orderAmount": "8888",
    "orderTime": "20261123100000",
    "dealTime": "20261123100105",
    "payResult": "10",
    "payType": "10",
    "payAmount": "8888",
    "fee": "10",
    "dealId": "149006926205",
}
REFUND = {
    "orderId": REFUND_NO,
    "rOrderId": ATTEMPT_NO,
    "sequenceId": "20261123441490224659",
    "orderAmout": "3000",
    "orderTime": "20261123110000",
    "lastUpdateTime": "20261123110005",
    "status": "1",
}
PAYOUT = {
    "orderId": PAYOUT_NO,
    "bankName": "工商银行",
    "creditName": "张三",
    "bankAcctId": "6222020000000000000",
    "orderSeqId": "3329358112",
    "amount": "5000",
    "status": "111",
    "errorCode": "0000",
    "errorMsg": "",
    "endDate": "2026-11-23 10:05:00",
}


def prepay_request(**changes: Any) -> PrepayRequest:
    values: dict[str, Any] = {
        "attempt_no": ATTEMPT_NO,
        "amount_fen": 8888,
        "subject": "充值 88.88 元 & 更多",
        "scene": "page",
        "expires_at": NOW + dt.timedelta(minutes=28),
        "notify_url": "https://pay.example.com/notify/kuaiqian",
        **changes,
    }
    return PrepayRequest(**values)


def refund_request(**changes: Any) -> RefundRequest:
    values: dict[str, Any] = {
        "refund_no": REFUND_NO,
        "attempt_no": ATTEMPT_NO,
        "amount_fen": 3000,
        "paid_fen": 8888,
        "reason": "红包未领完",
        "notify_url": "https://pay.example.com/notify/kuaiqian/refund",
        **changes,
    }
    return RefundRequest(**values)


def payout_request(**changes: Any) -> PayoutRequest:
    values: dict[str, Any] = {
        "payout_no": PAYOUT_NO,
        "amount_fen": 5000,
        "payee_account": "6222020000000000000",
        "payee_name": "张<三>",
        "remark": "提现",
        "notify_url": "https://pay.example.com/notify/kuaiqian/payout",
        "bank_code": "ICBC",
        "bank_name": "工商银行",
        **changes,
    }
    return PayoutRequest(**values)


def card_request(**changes: Any) -> CardVerification:
    values: dict[str, Any] = {
        "verification_no": "V1",
        "card_no": "6222020000000000000",
        "holder_name": "张三",
        "identity_no": "110101199003070000",
        "mobile": "13800000000",
        **changes,
    }
    return CardVerification(**values)


CALLS: dict[str, Callable[[KuaiqianAdapter], Result]] = {
    "query": lambda adapter: adapter.query(attempt_no=ATTEMPT_NO),
    "close": lambda adapter: adapter.close(attempt_no=ATTEMPT_NO),
    "refund": lambda adapter: adapter.refund(refund_request()),
    "query_refund": lambda adapter: adapter.query_refund(refund_no=REFUND_NO, attempt_no=ATTEMPT_NO),
    "pay_out": lambda adapter: adapter.pay_out(payout_request()),
    "query_payout": lambda adapter: adapter.query_payout(payout_no=PAYOUT_NO),
    "verify_card": lambda adapter: adapter.verify_card(card_request()),
}


def refund_answer(**changes: str) -> bytes:
    values = {"merchant": MEMBER, "orderid": ATTEMPT_NO, "txOrder": REFUND_NO, "amount": "30.00", "result": "Y"}
    return json.dumps({**values, "code": "", **changes}).encode()


def sealed_answer(root: str, head: str, body: str, sealed: str, *, code: str = "0000", member: str = MEMBER) -> bytes:
    inside = wire.leaves_of({"errorCode": code, "errorMsg": ""}) + sealed
    top = wire.element(head, wire.leaves_of({"version": "1.0", "memberCode": member}))
    return (wire.DECLARATION + wire.element(root, top, wire.element(body, inside))).encode()


def pay_answer(bill99: Bill99, plain: dict[str, str] | None = None, **more: Any) -> bytes:
    given = {"orderId": PAYOUT_NO, "amount": "5000"} if plain is None else plain
    how = {name: more.pop(name) for name in ("key", "signed") if name in more}
    sealed = bill99.sealed(wire.element("pay2BankOrder", wire.leaves_of(given)), **how) if given else ""
    return sealed_answer("pay2bankResponse", "pay2bankHead", "responseBody", sealed, **more)


def search_answer(bill99: Bill99, *rows: dict[str, str], **more: Any) -> bytes:
    how = {name: more.pop(name) for name in ("key", "signed") if name in more}
    listed = "".join(wire.element("resultList", wire.leaves_of(row)) for row in rows)
    sealed = bill99.sealed(wire.element("pay2bankSearchResult", listed), **how)
    return sealed_answer("pay2bankSearchResponse", "pay2bankSearchHead", "searchResponseBody", sealed, **more)


def card_answer(content: str) -> bytes:
    space = ' xmlns="http://www.99bill.com/mas_cnp_merchant_interface"'
    return (
        wire.DECLARATION + wire.element("MasMessage", wire.leaf("version", "1.0"), content, attributes=space)
    ).encode()


def card_content(**changes: str) -> str:
    values = {"merchantId": CARD_MERCHANT, "externalRefNumber": "V1", "responseCode": "00", **changes}
    return wire.element("indAuthContent", wire.leaves_of({**values, "responseTextMessage": "text"}))


def good_answers(bill99: Bill99) -> dict[str, bytes]:
    return {
        "query": bill99.query_answer("orderDetail", [ORDER]),
        "close": bill99.query_answer("orderDetail", [ORDER]),
        "refund": refund_answer(),
        "query_refund": bill99.query_answer("results", [REFUND]),
        "pay_out": pay_answer(bill99),
        "query_payout": search_answer(bill99, PAYOUT),
        "verify_card": card_answer(card_content()),
    }


def is_signed_by_merchant(bill99: Bill99, text: str, signature: str) -> bool:
    """Raises InvalidSignature when it is not."""
    bill99.merchant_key.public_key().verify(
        base64.b64decode(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    return True


def test_the_adapter_has_every_capability_of_the_channel(bill99: Bill99) -> None:
    adapter = bill99.adapter()
    for capability in (PaymentChannel, Payout, PayoutQuery, CardVerifier):
        assert isinstance(adapter, capability)


# --- prepay: nothing is sent ---


def test_a_page_payment_is_a_signed_form_with_the_documented_fields(bill99: Bill99) -> None:
    with clock.frozen(NOW):
        result = bill99.adapter().prepay(prepay_request())
    assert (result.outcome, bill99.seen) == (Outcome.SUCCESS, [])
    assert result.payment is not None
    fields = dict(result.payment["fields"])
    signature = fields.pop("signMsg")
    assert (result.payment["kind"], result.payment["method"]) == ("form", "POST")
    assert result.payment["action"] == f"{bill99.url}/gateway/recvMerchantInfoAction.htm"
    assert list(fields.items()) == [
        ("inputCharset", "1"),
        ("bgUrl", "https://pay.example.com/notify/kuaiqian"),
        ("version", "v2.0"),
        ("language", "1"),
        ("signType", "4"),
        ("merchantAcctId", ACCOUNT),
        ("orderId", ATTEMPT_NO),
        ("orderAmount", "8888"),
        ("orderTime", "20261123100000"),
        ("productName", "充值 88.88 元 ＆ 更多"),
        ("productNum", "1"),
        ("payType", "00"),
        ("redoFlag", "0"),
        ("orderTimeOut", "1680"),
    ]
    assert is_signed_by_merchant(bill99, "&".join(f"{name}={value}" for name, value in fields.items()), signature)


def test_an_h5_payment_is_a_redirect_to_the_mobile_gateway(bill99: Bill99) -> None:
    with clock.frozen(NOW):
        payment = bill99.adapter().prepay(prepay_request(scene="h5", payer_ip="192.0.2.7")).payment
    assert payment is not None
    parts = urlsplit(payment["url"])
    fields = dict(parse_qsl(parts.query))
    assert (payment["kind"], parts.path) == ("redirect", "/mobilegateway/recvMerchantInfoAction.htm")
    assert (fields["version"], fields["payerIP"]) == ("mobile1.0", "192.0.2.7")
    signature = fields.pop("signMsg")
    assert is_signed_by_merchant(bill99, "&".join(f"{name}={value}" for name, value in fields.items()), signature)


def test_an_md5_merchant_signs_with_the_gateways_key(bill99: Bill99) -> None:
    with clock.frozen(NOW):
        payment = bill99.adapter(sign_type="1").prepay(prepay_request()).payment
    assert payment is not None
    fields = dict(payment["fields"])
    signature = fields.pop("signMsg")
    text = "&".join(f"{name}={value}" for name, value in fields.items())
    assert (fields["signType"], signature) == ("1", md5_upper(f"{text}&key={GATEWAY_KEY}"))


def test_an_older_contract_signs_with_sha1(bill99: Bill99) -> None:
    with clock.frozen(NOW):
        payment = bill99.adapter(hash="sha1").prepay(prepay_request()).payment
    assert payment is not None
    fields = dict(payment["fields"])
    signature = base64.b64decode(fields.pop("signMsg"))
    text = "&".join(f"{name}={value}" for name, value in fields.items())
    bill99.merchant_key.public_key().verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA1())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"scene": "native"}, "scene_unsupported"),
        ({"scene": "jsapi", "payer_id": "x"}, "scene_unsupported"),
        ({"amount_fen": 10_000_000_000}, "amount_too_large"),
        ({"expires_at": NOW}, "expired"),
    ],
)
def test_a_payment_that_cannot_work_is_refused(bill99: Bill99, changes: dict[str, Any], code: str) -> None:
    with clock.frozen(NOW):
        assert bill99.adapter().prepay(prepay_request(**changes)) == Result(outcome=Outcome.FAILED, code=code)


def test_a_long_subject_is_cut_to_256_bytes_without_breaking_a_character(bill99: Bill99) -> None:
    with clock.frozen(NOW):
        payment = bill99.adapter().prepay(prepay_request(subject="红\n" * 200)).payment
    assert payment is not None
    assert payment["fields"]["productName"] == "红 " * 64
    assert len(payment["fields"]["productName"].encode()) == 256


def test_an_ampersand_cannot_smuggle_fields_into_what_we_sign(bill99: Bill99) -> None:
    adapter = bill99.adapter()
    with clock.frozen(NOW):
        payment = adapter.prepay(prepay_request(subject="x&payType=15&redoFlag=1")).payment
        with pytest.raises(ValueError, match="has an &"):
            adapter.prepay(prepay_request(notify_url="https://pay.example.com/notify?a=1&version=v1"))
    assert payment is not None
    assert payment["fields"]["productName"] == "x＆payType=15＆redoFlag=1"


def test_an_ampersand_in_an_answer_is_not_believed(bill99: Bill99) -> None:
    """payResult=10 and payType=1&payAmount=8888 could be read from the signature of another order."""
    bill99.replies = [Reply(bill99.query_answer("orderDetail", [{**ORDER, "payType": "10&payAmount=1"}]))]
    assert bill99.adapter().query(attempt_no=ATTEMPT_NO).code == "detail_unverified"


@pytest.mark.parametrize("number", ["", "_x", "x" * 51, "a/b", "订单", "a&b=c"])
def test_a_number_99bill_cannot_take_is_our_bug(bill99: Bill99, number: str) -> None:
    adapter = bill99.adapter()
    for call in (
        lambda: adapter.prepay(prepay_request(attempt_no=number)),
        lambda: adapter.query(attempt_no=number),
        lambda: adapter.close(attempt_no=number),
        lambda: adapter.refund(refund_request(refund_no=number)),
        lambda: adapter.query_refund(refund_no=number),
        lambda: adapter.pay_out(payout_request(payout_no=number)),
        lambda: adapter.query_payout(payout_no=number),
        lambda: adapter.verify_card(card_request(verification_no=number)),
    ):
        with pytest.raises(ValueError, match="not a number"):
            call()
    assert bill99.seen == []


# --- what is sent ---


def test_the_query_is_signed_with_the_query_key_inside(bill99: Bill99) -> None:
    bill99.adapter().query(attempt_no=ATTEMPT_NO)
    (request,) = bill99.seen
    sent = json.loads(request.body)
    assert request.path == "/gatewayapi/gatewayOrderQuery.do"
    text = (
        f"inputCharset=1&version=v2.0&signType=2&merchantAcctId={ACCOUNT}&queryType=0&queryMode=1&requestPage=1"
        f"&orderId={ATTEMPT_NO}&key={QUERY_KEY}"
    )
    assert is_signed_by_merchant(bill99, text, sent.pop("signMsg"))
    assert "&".join(f"{name}={value}" for name, value in sent.items()) + f"&key={QUERY_KEY}" == text


def test_a_pki_refund_is_json_in_yuan(bill99: Bill99) -> None:
    with clock.frozen(NOW):
        bill99.adapter().refund(refund_request(amount_fen=3005))
    (request,) = bill99.seen
    sent = json.loads(request.body)
    assert request.path == "/gatewayapi/recievedrawbackPKI.do"
    text = (
        f"merchant_id={MEMBER}&version=bill_drawback_api_1&command_type=001&orderid={ATTEMPT_NO}&amount=30.05"
        f"&postdate=20261123100000&txOrder={REFUND_NO}"
    )
    assert is_signed_by_merchant(bill99, text, sent.pop("mac"))
    assert "&".join(f"{name}={value}" for name, value in sent.items()) == text


def test_an_md5_refund_is_a_form_whose_mac_has_no_separator(bill99: Bill99) -> None:
    with clock.frozen(NOW):
        bill99.adapter(sign_type="1").refund(refund_request())
    (request,) = bill99.seen
    sent = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    assert request.path == "/webapp/receiveDrawbackAction.do"
    mac = sent.pop("mac")
    text = "".join(f"{name}={value}" for name, value in sent.items()) + f"merchant_key={REFUND_KEY}"
    assert mac == md5_upper(text)
    assert (sent["amount"], sent["txOrder"], "merchant_key" in sent) == ("30.00", REFUND_NO, False)


def unsealed(bill99: Bill99, body: bytes, *path: str) -> wire.Element:
    node = wire.parse(body)
    for name in path:
        node = next(child for child in node.children if child.name == name)
    plain = wire.unseal(own=bill99.platform_key, other=bill99.merchant_key.public_key(), hash_name="sha1", sealed=node)
    return wire.parse(plain)


def test_a_payout_is_sealed_with_its_fields_in_the_documented_order(bill99: Bill99) -> None:
    bill99.adapter().pay_out(payout_request())
    (request,) = bill99.seen
    assert request.path == "/fo-pay/pay2bank/pay"
    assert b"6222020000000000000" not in request.body
    plain = unsealed(bill99, request.body, "requestBody", "sealDataType")
    assert [(child.name, child.text) for child in plain.children] == [
        ("orderId", PAYOUT_NO),
        ("bankName", "工商银行"),
        ("branchName", ""),
        ("creditName", "张<三>"),
        ("mobile", ""),
        ("bankAcctId", "6222020000000000000"),
        ("amount", "5000"),
        ("province", ""),
        ("city", ""),
        ("remark", "提现"),
        ("feeAction", "1"),
    ]


def test_a_payout_is_looked_for_in_four_periods_of_seven_days(bill99: Bill99) -> None:
    bill99.replies = [Reply(search_answer(bill99))]
    with clock.frozen(NOW):
        result = bill99.adapter().query_payout(payout_no=PAYOUT_NO)
    assert result == Result(outcome=Outcome.UNKNOWN, code="not_found")
    periods = []
    for request in bill99.seen:
        plain = unsealed(bill99, request.body, "searchRequestBody", "sealDataType")
        values = {child.name: child.text for child in plain.children}
        assert values["orderId"] == PAYOUT_NO
        periods.append((values["startDate"], values["endDate"]))
    assert periods == [
        ("2026-11-17 10:00:00", "2026-11-24 10:00:00"),
        ("2026-11-10 10:00:00", "2026-11-17 10:00:00"),
        ("2026-11-03 10:00:00", "2026-11-10 10:00:00"),
        ("2026-10-27 10:00:00", "2026-11-03 10:00:00"),
    ]


def test_a_refund_is_looked_for_in_three_periods_of_thirty_days(bill99: Bill99) -> None:
    bill99.replies = [Reply(bill99.query_answer("results", [], head={"errCode": "10012"}))]
    with clock.frozen(NOW):
        result = bill99.adapter().query_refund(refund_no=REFUND_NO, attempt_no=ATTEMPT_NO)
    assert result == Result(outcome=Outcome.UNKNOWN, code="not_found")
    sent = [json.loads(request.body) for request in bill99.seen]
    assert [(each["startDate"], each["endDate"]) for each in sent] == [
        ("20261025", "20261123"),
        ("20260925", "20261024"),
        ("20260826", "20260924"),
    ]


def test_a_card_is_verified_with_all_that_is_given_and_the_password(bill99: Bill99) -> None:
    bill99.adapter().verify_card(card_request())
    (request,) = bill99.seen
    space = "http://www.99bill.com/mas_cnp_merchant_interface "
    assert request.path == "/cnp/ind_auth"
    assert (
        request.headers["Authorization"]
        == "Basic " + base64.b64encode(f"{CARD_MERCHANT}:{CARD_PASSWORD}".encode()).decode()
    )
    content = wire.parse(request.body).children[1]
    assert [(child.name.removeprefix(space), child.text) for child in content.children] == [
        ("merchantId", CARD_MERCHANT),
        ("terminalId", CARD_TERMINAL),
        ("customerId", "V1"),
        ("externalRefNumber", "V1"),
        ("pan", "6222020000000000000"),
        ("cardHolderName", "张三"),
        ("idType", "0"),
        ("cardHolderId", "110101199003070000"),
        ("phoneNO", "13800000000"),
        ("bindType", "0"),
    ]


# --- what the answers mean ---


def test_a_paid_order(bill99: Bill99) -> None:
    bill99.replies = [Reply(bill99.query_answer("orderDetail", [ORDER]))]
    assert bill99.adapter().query(attempt_no=ATTEMPT_NO) == Result(
        outcome=Outcome.SUCCESS,
        provider_no="149006926205",
        amount_fen=8888,
        happened_at=dt.datetime(2026, 11, 23, 10, 1, 5, tzinfo=clock.BUSINESS_ZONE),
    )
    assert bill99.adapter().close(attempt_no=ATTEMPT_NO) == Result(outcome=Outcome.FAILED, code="already_paid")


@pytest.mark.parametrize(
    ("error_code", "asked", "closed"),
    [
        ("31005", (Outcome.PENDING, "unpaid"), "no_close"),
        ("31003", (Outcome.UNKNOWN, "not_found"), "no_close"),
        ("30001", (Outcome.UNKNOWN, "query_30001"), "query_30001"),
        ("98765", (Outcome.UNKNOWN, "query_98765"), "query_98765"),
    ],
)
def test_an_order_that_is_not_paid(bill99: Bill99, error_code: str, asked: tuple[Outcome, str], closed: str) -> None:
    bill99.replies = [Reply(bill99.query_answer("orderDetail", [], head={"errCode": error_code}))]
    result = bill99.adapter().query(attempt_no=ATTEMPT_NO)
    assert (result.outcome, result.code) == asked
    result = bill99.adapter().close(attempt_no=ATTEMPT_NO)
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, closed)


@pytest.mark.parametrize(
    ("changes", "head", "forged", "code"),
    [
        ({}, {}, {"is_forged": True}, "answer_unverified"),
        ({}, {}, {"is_row_forged": True}, "detail_unverified"),
        ({}, {"merchantAcctId": "1009999999901"}, {}, "merchant_mismatch"),
        ({"orderId": "AT2"}, {}, {}, "number_mismatch"),
        ({"payResult": "11"}, {}, {}, "pay_result_unknown"),
        ({"payAmount": "88.88"}, {}, {}, "amount_malformed"),
        ({"payAmount": "0"}, {}, {}, "amount_malformed"),
        ({"payAmount": ""}, {}, {}, "amount_malformed"),
        ({"dealTime": "2026-11-23"}, {}, {}, "time_malformed"),
        ({"dealId": ""}, {}, {}, "provider_number_malformed"),
    ],
)
def test_a_query_that_is_not_positively_recognised_is_unknown(
    bill99: Bill99, changes: dict[str, str], head: dict[str, str], forged: dict[str, bool], code: str
) -> None:
    bill99.replies = [Reply(bill99.query_answer("orderDetail", [{**ORDER, **changes}], head=head, **forged))]
    result = bill99.adapter().query(attempt_no=ATTEMPT_NO)
    assert (result.outcome, result.code, result.amount_fen) == (Outcome.UNKNOWN, code, None)


def test_a_refund_is_no_more_than_accepted(bill99: Bill99) -> None:
    bill99.replies = [Reply(refund_answer())]
    assert bill99.adapter().refund(refund_request()) == Result(
        outcome=Outcome.PENDING, code="accepted", amount_fen=3000
    )
    values = {
        "MERCHANT": MEMBER,
        "ORDERID": ATTEMPT_NO,
        "TXORDER": REFUND_NO,
        "AMOUNT": "30",
        "RESULT": "Y",
        "CODE": "",
    }
    bill99.replies = [Reply(wire.element("RETURN", wire.leaves_of(values)).encode())]
    assert bill99.adapter(sign_type="1").refund(refund_request()).outcome is Outcome.PENDING


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"result": "N", "code": "余额不足"}, "refund_refused"),
        ({"result": ""}, "refund_refused"),
        ({"orderid": "AT9"}, "number_mismatch"),
        ({"txOrder": "AT9"}, "number_mismatch"),
        ({"merchant": "10099999999"}, "number_mismatch"),
        ({"amount": "30.01"}, "amount_mismatch"),
        ({"amount": "3e1"}, "amount_malformed"),
    ],
)
def test_a_refund_that_is_not_accepted_is_unknown(bill99: Bill99, changes: dict[str, str], code: str) -> None:
    bill99.replies = [Reply(refund_answer(**changes))]
    result = bill99.adapter().refund(refund_request())
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, code)


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [
        ("0", Outcome.PENDING, ""),
        ("1", Outcome.SUCCESS, ""),
        ("2", Outcome.FAILED, "refund_failed"),
        ("7", Outcome.UNKNOWN, "status_7"),
    ],
)
def test_the_states_of_a_refund(bill99: Bill99, status: str, outcome: Outcome, code: str) -> None:
    bill99.replies = [Reply(bill99.query_answer("results", [{**REFUND, "status": status}]))]
    result = bill99.adapter().query_refund(refund_no=REFUND_NO, attempt_no=ATTEMPT_NO)
    assert (result.outcome, result.code, result.amount_fen) == (outcome, code, 3000)
    moment = dt.datetime(2026, 11, 23, 11, 0, 5, tzinfo=clock.BUSINESS_ZONE)
    assert result.happened_at == (moment if outcome is Outcome.SUCCESS else None)


@pytest.mark.parametrize(
    ("changes", "forged", "code"),
    [
        ({}, {"is_forged": True}, "answer_unverified"),
        ({}, {"is_row_forged": True}, "detail_unverified"),
        ({"rOrderId": "AT9"}, {}, "number_mismatch"),
        ({"orderId": "AT9"}, {}, "number_mismatch"),
        ({"orderAmout": "30.00"}, {}, "amount_malformed"),
    ],
)
def test_a_refund_query_that_is_not_about_ours_is_unknown(
    bill99: Bill99, changes: dict[str, str], forged: dict[str, bool], code: str
) -> None:
    bill99.replies = [Reply(bill99.query_answer("results", [{**REFUND, **changes}], **forged))]
    result = bill99.adapter().query_refund(refund_no=REFUND_NO, attempt_no=ATTEMPT_NO)
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, code)


def test_a_payout_is_accepted_and_nothing_more(bill99: Bill99) -> None:
    bill99.replies = [Reply(pay_answer(bill99))]
    assert bill99.adapter().pay_out(payout_request()) == Result(
        outcome=Outcome.PENDING, code="accepted", amount_fen=5000
    )


def test_a_payout_that_is_not_accepted_is_unknown(bill99: Bill99) -> None:
    wanted = {
        "payout_1106": pay_answer(bill99, code="1106"),
        "payout_0000": pay_answer(bill99, {}),
        "answer_unverified": pay_answer(bill99, key=bill99.merchant_key),
        "number_mismatch": pay_answer(bill99, {"orderId": "WD9", "amount": "5000"}),
        "amount_mismatch": pay_answer(bill99, {"orderId": PAYOUT_NO, "amount": "5001"}),
        "merchant_mismatch": pay_answer(bill99, member="10099999999"),
        "content_unknown": search_answer(bill99, PAYOUT),
    }
    for code, body in wanted.items():
        bill99.replies = [Reply(body)]
        result = bill99.adapter().pay_out(payout_request())
        assert (result.outcome, result.code) == (Outcome.UNKNOWN, code)


@pytest.mark.parametrize("changes", [{"bank_name": " "}, {"payee_name": ""}])
def test_a_payout_without_bank_or_name_is_not_sent(bill99: Bill99, changes: dict[str, str]) -> None:
    result = bill99.adapter().pay_out(payout_request(**changes))
    assert (result, bill99.seen) == (Result(outcome=Outcome.FAILED, code="payee_incomplete"), [])


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [
        ("101", Outcome.PENDING, ""),
        ("111", Outcome.SUCCESS, ""),
        ("112", Outcome.FAILED, "payout_failed"),
        ("114", Outcome.FAILED, "returned"),
        ("115", Outcome.UNKNOWN, "status_115"),
        ("", Outcome.UNKNOWN, "status_"),
    ],
)
def test_the_states_of_a_payout(bill99: Bill99, status: str, outcome: Outcome, code: str) -> None:
    bill99.replies = [Reply(search_answer(bill99, {**PAYOUT, "status": status}))]
    result = bill99.adapter().query_payout(payout_no=PAYOUT_NO)
    assert (result.outcome, result.code) == (outcome, code)
    assert (result.provider_no, result.amount_fen) == ("3329358112", 5000)


def test_a_payout_query_that_is_not_about_ours_is_unknown(bill99: Bill99) -> None:
    wanted = {
        "number_mismatch": search_answer(bill99, {**PAYOUT, "orderId": "WD9"}),
        "amount_malformed": search_answer(bill99, {**PAYOUT, "amount": "50.00"}),
        "time_malformed": search_answer(bill99, {**PAYOUT, "endDate": ""}),
        "query_1201": search_answer(bill99, PAYOUT, code="1201"),
        "answer_unverified": search_answer(bill99, PAYOUT, signed=b"other"),
    }
    for code, body in wanted.items():
        bill99.replies = [Reply(body)]
        result = bill99.adapter().query_payout(payout_no=PAYOUT_NO)
        assert (result.outcome, result.code) == (Outcome.UNKNOWN, code)


@pytest.mark.parametrize(
    ("response", "outcome", "code"),
    [
        ("00", Outcome.SUCCESS, ""),
        ("HX", Outcome.FAILED, "name_mismatch"),
        ("I3", Outcome.FAILED, "identity_mismatch"),
        ("HW", Outcome.FAILED, "mobile_mismatch"),
        ("14", Outcome.FAILED, "card_invalid"),
        ("Y1", Outcome.FAILED, "particulars_mismatch"),
        ("C0", Outcome.UNKNOWN, "card_c0"),
        ("96", Outcome.UNKNOWN, "card_96"),
        ("??", Outcome.UNKNOWN, "card_??"),
        ("", Outcome.UNKNOWN, "card_"),
    ],
)
def test_what_a_bank_says_of_a_card(bill99: Bill99, response: str, outcome: Outcome, code: str) -> None:
    bill99.replies = [Reply(card_answer(card_content(responseCode=response)))]
    result = bill99.adapter().verify_card(card_request())
    assert (result.outcome, result.code) == (outcome, code)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (card_content(externalRefNumber="V2"), "number_mismatch"),
        (card_content(merchantId="8"), "merchant_mismatch"),
        (wire.element("ErrorMsgContent", wire.leaf("errorCode", "B.MGW.0110")), "card_b.mgw.0110"),
        ("", "indauthcontent_missing"),
    ],
)
def test_an_answer_about_another_card_is_unknown(bill99: Bill99, content: str, code: str) -> None:
    bill99.replies = [Reply(card_answer(content))]
    result = bill99.adapter().verify_card(card_request())
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, code)


def test_without_a_contract_no_card_leaves_the_house(bill99: Bill99) -> None:
    result = bill99.adapter(card_merchant_id="").verify_card(card_request())
    assert (result.outcome, result.code, bill99.seen) == (Outcome.UNKNOWN, "not_contracted", [])


# --- what the network does ---


@pytest.mark.parametrize("call", CALLS)
def test_every_call_times_out_as_unknown(bill99: Bill99, call: str) -> None:
    bill99.replies = [Reply(good_answers(bill99)[call], delay_seconds=1.0)]
    result = CALLS[call](bill99.adapter())
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, "timeout")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(status=500), "http_500"),
        (Reply(status=302), "http_302"),
        (Reply(b"x" * 300_000), "answer_too_large"),
    ],
)
def test_a_status_or_size_that_is_none_of_99bills_is_unknown(
    bill99: Bill99, call: str, reply: Reply, code: str
) -> None:
    bill99.replies = [reply]
    result = CALLS[call](bill99.adapter())
    assert (result.outcome, result.code, len(bill99.seen)) == (Outcome.UNKNOWN, code, 1)


@pytest.mark.parametrize("call", CALLS)
def test_a_good_answer_with_another_status_is_unknown(bill99: Bill99, call: str) -> None:
    bill99.replies = [Reply(good_answers(bill99)[call], status=502)]
    assert CALLS[call](bill99.adapter()).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("call", CALLS)
def test_every_cut_of_an_answer_is_unknown(bill99: Bill99, call: str) -> None:
    body, adapter = good_answers(bill99)[call], bill99.adapter()
    for length in range(0, len(body) - 1, max(len(body) // 12, 1)):
        bill99.replies = [Reply(body[:length])]
        assert CALLS[call](adapter).outcome is Outcome.UNKNOWN, length


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[]", b"null", b'{"a":', b"{}", b"<a/>", b"[" * 100_000])
@pytest.mark.parametrize("call", CALLS)
def test_nonsense_is_unknown(bill99: Bill99, call: str, body: bytes) -> None:
    bill99.replies = [Reply(body)]
    assert CALLS[call](bill99.adapter()).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("call", CALLS)
def test_a_host_that_is_not_there_is_unknown(bill99: Bill99, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bill99, "url", "http://127.0.0.1:9")
    result = CALLS[call](bill99.adapter())
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, "network_error")


def test_the_workers_own_time_limit_is_not_swallowed(bill99: Bill99, monkeypatch: pytest.MonkeyPatch) -> None:
    def post(*_: Any, **__: Any) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(requests, "post", post)
    with pytest.raises(SoftTimeLimitExceeded):
        bill99.adapter().query(attempt_no=ATTEMPT_NO)


@pytest.mark.parametrize(
    "changes",
    [
        {"member_code": "abc"},
        {"query_key": ""},
        {"sign_type": "9"},
        {"hash": "md5"},
        {"sign_type": "1", "gateway_key": ""},
        {"merchant_private_key_file": "platform.pem"},
        {"platform_public_key_file": "merchant.pem"},
        {"card_certificate_file": "none.pem"},
    ],
)
def test_unusable_credentials_are_refused_at_once(bill99: Bill99, changes: dict[str, str]) -> None:
    with pytest.raises((ValueError, OSError)):
        bill99.adapter(**changes)

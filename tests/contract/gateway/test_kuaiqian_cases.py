"""The published vectors of 99bill, where they are at hand, and vectors of our own for the same rules."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from gateway.adapters.kuaiqian import markup, signing
from gateway.adapters.kuaiqian.markup import MarkupInvalid
from gateway.ports import NoticeInvalid, Outcome
from tests.contract.gateway.kuaiqian_provider import Bill99, bill99, running_bill99

__all__ = ["bill99", "running_bill99"]
SHARED = Path(__file__).parents[3] / ".." / "shared" / "cases" / "providers"

OWN_REQUEST = {
    "fields": {"orderId": "R1", "inputCharset": "1", "payerName": "", "productName": "充值 +", "ext1": "a&b=c"},
    "key": "K",
    "text": "inputCharset=1&orderId=R1&productName=充值 +&ext1=a&b=c&key=K",
}
OWN_NOTICE = {
    "key": "GATEWAYKEY0000AA",
    "fields": {
        "merchantAcctId": "1001213884201",
        "version": "v2.0",
        "language": "1",
        "signType": "1",
        "payType": "10",
        "bankId": "ICBC",
        "orderId": "AT1",
        "orderTime": "20261123100000",
        "orderAmount": "8888",
        "dealId": "149006926205",
        "bankDealId": "",
        "dealTime": "20261123100100",
        "payAmount": "8888",
        "fee": "",
        "ext1": "",
        "ext2": "",
        "payResult": "10",
        "errCode": "",
    },
}
OWN_NOTICE_TEXT = (
    "merchantAcctId=1001213884201&version=v2.0&language=1&signType=1&payType=10&bankId=ICBC&orderId=AT1"
    "&orderTime=20261123100000&orderAmount=8888&dealId=149006926205&dealTime=20261123100100&payAmount=8888"
    "&payResult=10&key=GATEWAYKEY0000AA"
)


def shared_cases(prefix: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(SHARED.glob(f"{prefix}*.json"))]


def request_vectors() -> list[Any]:
    """(fields, key, string to sign)"""
    vectors = [pytest.param(OWN_REQUEST["fields"], OWN_REQUEST["key"], OWN_REQUEST["text"], id="own")]
    for case in shared_cases("b99_01"):
        expected = case["expected"]["request_string_to_sign"]
        vectors.append(pytest.param(case["input"]["request"], case["input"]["key"], expected, id=case["id"]))
    return vectors


def notice_vectors() -> list[Any]:
    """(fields with signMsg, key)"""
    signature = hashlib.md5(OWN_NOTICE_TEXT.encode()).hexdigest()
    own = {**OWN_NOTICE["fields"], "signMsg": signature}  # type: ignore[dict-item]
    vectors = [pytest.param(own, OWN_NOTICE["key"], id="own")]
    for case in shared_cases("b99_01"):
        vectors.append(pytest.param(case["input"]["notify"], case["input"]["key"], id=case["id"]))
    return vectors


def signature_vectors() -> list[Any]:
    """(pairs, key, lower-case signature)"""
    wanted = hashlib.md5(b"orderId=1&payType=00&key=K").hexdigest()
    vectors = [pytest.param([["orderId", "1"], ["payType", "00"]], "K", wanted, id="own")]
    for case in shared_cases("b99_03"):
        given, expected = case["input"], case["expected"]["signMsg_lower"]
        vectors.append(pytest.param(given["ordered_pairs"], given["key"], expected, id=case["id"]))
    return vectors


@pytest.mark.parametrize(("fields", "key", "text"), request_vectors())
def test_a_request_gives_the_string_to_sign(fields: dict[str, str], key: str, text: str) -> None:
    pairs = signing.pairs_of(fields, signing.REQUEST_FIELDS)
    assert {name for name, _ in pairs} == {name for name, value in fields.items() if value}
    assert signing.join([*pairs, ("key", key)]) == text


@pytest.mark.parametrize(("fields", "key"), notice_vectors())
def test_a_notice_is_genuine_and_its_contrary_is_not(bill99: Bill99, fields: dict[str, str], key: str) -> None:
    now = dt.datetime.strptime(fields["dealTime"], "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)
    member = fields["merchantAcctId"].removesuffix("01")
    adapter = bill99.adapter(member_code=member, sign_type="1", gateway_key=key)
    fact = adapter.read_notice(headers={}, body=urlencode(fields).encode(), now=now)
    assert (fact.number, fact.result.outcome) == (fields["orderId"], Outcome.SUCCESS)
    assert (fact.result.amount_fen, fact.result.provider_no) == (int(fields["payAmount"]), fields["dealId"])
    with pytest.raises(NoticeInvalid, match="signature_invalid"):
        adapter.read_notice(headers={}, body=urlencode({**fields, "payResult": "00"}).encode(), now=now)


@pytest.mark.parametrize(("pairs", "key", "signature"), signature_vectors())
def test_a_lower_case_signature_is_the_same(pairs: list[list[str]], key: str, signature: str) -> None:
    ordered = [(name, value) for name, value in pairs]
    assert signing.pairs_of(dict(ordered), signing.REQUEST_FIELDS) == ordered
    wanted = signing.md5_upper(signing.join([*ordered, ("key", key)]))
    assert wanted == signature.upper()
    assert signing.is_same_hex(wanted, signature)
    assert not signing.is_same_hex(wanted, ("0" if signature[0] != "0" else "1") + signature[1:])


def test_every_published_case_is_used() -> None:
    used = ("b99_01", "b99_03")
    assert [path.name for path in SHARED.glob("b99_*.json") if not path.name.startswith(used)] == []


# --- our own ---


def test_a_refund_string_has_no_separator() -> None:
    assert signing.join([("a", "1"), ("b", ""), ("c", "2")], separator="") == "a=1c=2"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "xml_malformed"),
        (b"<a>", "xml_malformed"),
        (b"<a></b>", "xml_malformed"),
        (b"<a/><b/>", "xml_malformed"),
        (b"<a>\xff</a>", "xml_malformed"),
        (b"<a>&other;</a>", "xml_malformed"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "xml_forbidden"),
        (b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x"><a/>', "xml_forbidden"),
        (b"<?do it?><a/>", "xml_forbidden"),
        (b"<a>" * 13 + b"</a>" * 13, "xml_too_large"),
        (b"<a>" + b"<b/>" * 2000 + b"</a>", "xml_too_large"),
        (b"<a>" + b"x" * markup.MAX_BYTES + b"</a>", "xml_too_large"),
    ],
)
def test_markup_that_is_not_plain_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(MarkupInvalid, match=reason):
        markup.parse(content)


def test_names_are_read_without_namespace_and_case_and_values_are_escaped() -> None:
    written = markup.element("Pay2BankOrder", markup.texts({"creditName": "<张&三>"}), attributes=' xmlns="urn:x"')
    root = markup.parse((markup.DECLARATION + written).encode())
    assert root.name == "pay2bankorder"
    assert root.value("CreditName") == "<张&三>"
    assert root.value("mobile") == ""
    with pytest.raises(MarkupInvalid, match="b_repeated"):
        markup.parse(b"<a><b>1</b><b>2</b></a>").value("b")

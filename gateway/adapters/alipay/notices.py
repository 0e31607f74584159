"""What a notice of a trade says: form-encoded, RSA2 over all its parameters but `sign` and `sign_type`.

A partial refund sends TRADE_SUCCESS again, a full one TRADE_CLOSED, both with `refund_fee` and `out_biz_no` (our refund
number): they are facts about the refund and never credit anything. `refund_fee` is the sum of all refunds of the trade,
so they name no amount.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from gateway.adapters.alipay import client, fields
from gateway.adapters.alipay.client import Credentials
from gateway.adapters.alipay.fields import AnswerMismatch
from gateway.ports import FindReceiver, NoticeFact, NoticeInvalid, NoticeKind, Outcome, Result, our_own

MAX_AGE = dt.timedelta(hours=26)
"""Alipay repeats a notice for 25 hours; whether `notify_time` is renewed each time is not documented."""
MAX_AHEAD = dt.timedelta(minutes=10)
"""How far Alipay's clock may be ahead of ours."""
MAX_PARAMETERS = 100
NOTIFY_TYPE = "trade_status_sync"


def read(
    sdk: Any, credentials: Credentials, *, body: bytes, now: dt.datetime, find_receiver: FindReceiver = our_own
) -> NoticeFact:
    """The checked content of a notice; NoticeInvalid and nothing else, whatever the bytes are."""
    parameters = _verified(sdk, body)
    try:
        sent_at = fields.moment(fields.text(parameters, "notify_time"), "notify_time")
    except AnswerMismatch as mismatch:
        raise NoticeInvalid(mismatch.reason, is_signed=True) from mismatch
    if not now - MAX_AGE < sent_at < now + MAX_AHEAD:
        raise NoticeInvalid("stale")
    try:
        return _read_verified(credentials, find_receiver, parameters)
    except AnswerMismatch as mismatch:
        raise NoticeInvalid(mismatch.reason, is_signed=True) from mismatch


def _verified(sdk: Any, body: bytes) -> dict[str, str]:
    """The parameters that Alipay signed, exactly as received; those without a value do not count as said."""
    try:
        pairs = parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError as error:
        raise NoticeInvalid("form_malformed") from error
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise NoticeInvalid("parameter_repeated")
    signature, sign_type = parameters.pop("sign", ""), parameters.pop("sign_type", "")
    if not signature:
        raise NoticeInvalid("signature_missing")
    if sign_type != client.SIGN_TYPE:
        raise NoticeInvalid("signature_type_unknown")
    if parameters.get("charset", "utf-8").lower() != "utf-8":
        raise NoticeInvalid("charset_unknown")
    # The signed text joins name=value by & and escapes nothing: with a & in two values it could be cut in another way.
    if any("&" in value for name, value in parameters.items() if name != "subject"):
        raise NoticeInvalid("parameter_ambiguous")
    filled = {name: value for name, value in parameters.items() if value}
    # Whether parameters without a value are part of the signed text the documents leave open; both are Alipay's word.
    if not client.is_signed(sdk, parameters, signature) and not (
        filled != parameters and client.is_signed(sdk, filled, signature)
    ):
        raise NoticeInvalid("signature_invalid")
    return filled


def _read_verified(credentials: Credentials, find_receiver: FindReceiver, parameters: Mapping[str, str]) -> NoticeFact:
    """The seller is the merchant whom the trade was made for, or we."""
    receiver = find_receiver(fields.number(parameters, "out_trade_no", fields.NUMBER_READ))
    fields.expect(parameters, "app_id", credentials.app_id)
    fields.expect(parameters, "seller_id", credentials.seller_id if receiver is None else receiver.account_no)
    if fields.text(parameters, "notify_type") != NOTIFY_TYPE:
        raise AnswerMismatch("notify_type_unknown")
    fields.expect_currency(parameters)
    event_id = fields.number(parameters, "notify_id")
    is_refund = "gmt_refund" in parameters or (
        "refund_fee" in parameters and fields.signed_fen(parameters["refund_fee"], "refund_fee") != 0
    )
    if is_refund:
        number = fields.number(parameters, "out_biz_no", fields.NUMBER_READ)
        return NoticeFact(event_id=event_id, kind=NoticeKind.REFUND, number=number, result=_read_refund(parameters))
    number = fields.number(parameters, "out_trade_no", fields.NUMBER_READ)
    return NoticeFact(event_id=event_id, kind=NoticeKind.PAYMENT, number=number, result=_read_payment(parameters))


def _read_refund(parameters: Mapping[str, str]) -> Result:
    if fields.text(parameters, "trade_status") not in ("TRADE_SUCCESS", "TRADE_FINISHED", "TRADE_CLOSED"):
        raise AnswerMismatch("state_unknown")
    total = fields.amount_fen(parameters, "total_amount")
    if not 0 < fields.amount_fen(parameters, "refund_fee") <= total:
        raise AnswerMismatch("refund_fee_malformed")
    return Result(
        outcome=Outcome.SUCCESS,
        provider_no=fields.number(parameters, "trade_no"),
        happened_at=fields.optional_moment(parameters, "gmt_refund"),
    )


def _read_payment(parameters: Mapping[str, str]) -> Result:
    state = fields.text(parameters, "trade_status")
    if state == "WAIT_BUYER_PAY":
        return Result(outcome=Outcome.PENDING, code="wait_buyer_pay")
    if state == "TRADE_CLOSED":
        return Result(outcome=Outcome.FAILED, code="trade_closed")
    if state not in ("TRADE_SUCCESS", "TRADE_FINISHED"):
        raise AnswerMismatch("state_unknown")
    return Result(
        outcome=Outcome.SUCCESS,
        provider_no=fields.number(parameters, "trade_no"),
        amount_fen=fields.amount_fen(parameters, "total_amount"),
        happened_at=fields.optional_moment(parameters, "gmt_payment"),
    )

"""Payments and refunds: prepare, query, close, refund.

Sources: WeChat's merchant documents (pay.weixin.qq.com/doc/v3/merchant) and design `providers.md` 1.1 and 3. An error
answer decides nothing but the refusal of a prepay: "already paid" and all else are settled by a query.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

from wechatpayv3 import WeChatPayType

from foundation import clock
from gateway.adapters.wechat.client import PAID_ALREADY, Merchant
from gateway.adapters.wechat.values import (
    CURRENCY,
    AnswerMismatch,
    check_number,
    cut_utf8,
    read_amount,
    read_moment,
    read_provider_number,
    read_text,
)
from gateway.ports import CODE_ABNORMAL, Outcome, PrepayRequest, Receiver, RefundRequest, Result

SUBJECT_MAX_BYTES = 127
"""`description`: string(127), counted by WeChat in UTF-8 bytes."""
REASON_MAX_BYTES = 80
"""`reason` of a refund: string(80)."""

TRADE_STATES: Mapping[str, Outcome] = {
    "SUCCESS": Outcome.SUCCESS,
    "NOTPAY": Outcome.PENDING,
    "USERPAYING": Outcome.PENDING,
    "ACCEPT": Outcome.PENDING,
    "PAYERROR": Outcome.PENDING,
    "CLOSED": Outcome.FAILED,
    "REVOKED": Outcome.FAILED,
}
"""REFUND is missing on purpose: the payment was made and money has gone back; whether ours did that, staff must see."""
REFUND_STATES: Mapping[str, Outcome] = {
    "SUCCESS": Outcome.SUCCESS,
    "PROCESSING": Outcome.PENDING,
    "ABNORMAL": Outcome.PENDING,
    "CLOSED": Outcome.FAILED,
}
REFUND_CODES: Mapping[str, str] = {"ABNORMAL": CODE_ABNORMAL, "CLOSED": "closed"}
PREPAY_REFUSALS = frozenset(
    {
        "PARAM_ERROR",
        "SIGN_ERROR",
        "NO_AUTH",
        "APPID_MCHID_NOT_MATCH",
        "MCH_NOT_EXISTS",
        "ACCOUNT_ERROR",
        "RULE_LIMIT",
        "ORDER_CLOSED",
        "ORDERCLOSED",
    }
)
"""No payment can follow. Not OUT_TRADE_NO_USED and INVALID_REQUEST (商户订单号重复): there the number lives."""

OUT_TRADE_NO = re.compile(r"[0-9A-Za-z_\-|*]{6,32}", re.ASCII)
OUT_REFUND_NO = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}", re.ASCII)


class PaymentCalls(Merchant):
    """gateway.ports.Prepay, Query, Close, Refund, RefundQuery."""

    def prepay(self, request: PrepayRequest) -> Result:
        """POST /v3/pay/transactions/{native,h5,jsapi}; scene page shows a native code on a page.

        For a sub-merchant /v3/pay/partner/transactions/…; the payer's openid is that of our own application then.
        """
        check_number(OUT_TRADE_NO, request.attempt_no)
        receiver = self._find_receiver(request.attempt_no)
        client, sub = self._client_for(receiver)
        openid = "openid" if receiver is None else "sp_openid"
        if receiver is not None and receiver.appid:
            sub["sub_appid"] = receiver.appid
        scenes: dict[str, tuple[WeChatPayType, dict[str, Any]]] = {
            "native": (WeChatPayType.NATIVE, {}),
            "page": (WeChatPayType.NATIVE, {}),
            "h5": (
                WeChatPayType.H5,
                {"scene_info": {"payer_client_ip": request.payer_ip, "h5_info": {"type": "Wap"}}},
            ),
            "jsapi": (WeChatPayType.JSAPI, {"payer": {openid: request.payer_id}}),
        }
        if request.scene not in scenes:
            return Result(outcome=Outcome.FAILED, code="scene_unsupported")
        if (request.scene == "h5" and not request.payer_ip) or (request.scene == "jsapi" and not request.payer_id):
            return Result(outcome=Outcome.FAILED, code="payer_missing")
        pay_type, more = scenes[request.scene]
        expiry = request.expires_at.astimezone(clock.BUSINESS_ZONE)

        def read(data: Mapping[str, Any]) -> Result:
            return Result(outcome=Outcome.SUCCESS, payment=self._payment(request.scene, data))

        return self._ask(
            "prepay",
            request.attempt_no,
            lambda: client.pay(
                description=cut_utf8(request.subject, SUBJECT_MAX_BYTES) or request.attempt_no,
                out_trade_no=request.attempt_no,
                amount={"total": request.amount_fen, "currency": CURRENCY},
                time_expire=expiry.isoformat(timespec="seconds"),
                notify_url=request.notify_url,
                pay_type=pay_type,
                **more,
                **sub,
            ),
            read,
            errors=dict.fromkeys(PREPAY_REFUSALS, Outcome.FAILED),
        )

    def query(self, *, attempt_no: str) -> Result:
        """GET /v3/pay/transactions/out-trade-no/{out_trade_no}."""
        check_number(OUT_TRADE_NO, attempt_no)
        receiver = self._find_receiver(attempt_no)
        client, sub = self._client_for(receiver)

        def read(data: Mapping[str, Any]) -> Result:
            if data.get("out_trade_no") != attempt_no:
                raise AnswerMismatch("number_mismatch")
            return self._read_payment(data, receiver)

        return self._ask("query", attempt_no, lambda: client.query(out_trade_no=attempt_no, **sub), read)

    def close(self, *, attempt_no: str) -> Result:
        """POST /v3/pay/transactions/out-trade-no/{out_trade_no}/close, answered by 204 without a body."""
        check_number(OUT_TRADE_NO, attempt_no)
        client, sub = self._client_for(self._find_receiver(attempt_no))
        return self._ask(
            "close",
            attempt_no,
            lambda: client.close(out_trade_no=attempt_no, **sub),
            lambda data: Result(outcome=Outcome.SUCCESS, code="closed"),
            errors=dict.fromkeys(PAID_ALREADY, Outcome.FAILED),
        )

    def refund(self, request: RefundRequest) -> Result:
        """POST /v3/refund/domestic/refunds; the same out_refund_no refunds once however often it is sent."""
        check_number(OUT_TRADE_NO, request.attempt_no)
        check_number(OUT_REFUND_NO, request.refund_no)
        client, sub = self._client_for(self._find_receiver(request.attempt_no))

        def read(data: Mapping[str, Any]) -> Result:
            result = read_refund(data, status_field="status", refund_no=request.refund_no)
            if data.get("out_trade_no") != request.attempt_no or result.amount_fen != request.amount_fen:
                raise AnswerMismatch("number_or_amount_mismatch")
            return result

        return self._ask(
            "refund",
            request.refund_no,
            lambda: client.refund(
                out_refund_no=request.refund_no,
                out_trade_no=request.attempt_no,
                amount={"refund": request.amount_fen, "total": request.paid_fen, "currency": CURRENCY},
                reason=cut_utf8(request.reason, REASON_MAX_BYTES),
                notify_url=request.notify_url,
                **sub,
            ),
            read,
        )

    def query_refund(self, *, refund_no: str, attempt_no: str = "") -> Result:
        """GET /v3/refund/domestic/refunds/{out_refund_no}; the payment's number tells whose account it was."""
        check_number(OUT_REFUND_NO, refund_no)
        client, sub = self._client_for(self._find_receiver(attempt_no))
        return self._ask(
            "query_refund",
            refund_no,
            lambda: client.query_refund(out_refund_no=refund_no, **sub),
            lambda data: read_refund(data, status_field="status", refund_no=refund_no),
        )

    def _payment(self, scene: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """api.md's `payment` from a prepay answer; for jsapi with the signature the client passes on."""
        if scene == "jsapi":
            package = f"prepay_id={read_text(data, 'prepay_id')}"
            timestamp, nonce = str(int(time.time())), secrets.token_hex(16)
            appid = self._credentials.appid
            return {
                "kind": "jsapi",
                "appId": appid,
                "timeStamp": timestamp,
                "nonceStr": nonce,
                "package": package,
                "signType": "RSA",
                "paySign": self._client.sign([appid, timestamp, nonce, package]),
            }
        if scene == "h5":
            return {"kind": "redirect", "url": read_text(data, "h5_url")}
        return {"kind": "code_url", "code_url": read_text(data, "code_url")}

    def _read_payment(self, data: Mapping[str, Any], receiver: Receiver | None) -> Result:
        """A transaction of the query or of a notice; AnswerMismatch when it is not ours or not as documented."""
        self._check_merchant(data, fields=("mchid", "appid"), receiver=receiver)
        state = read_text(data, "trade_state")
        outcome = TRADE_STATES.get(state, Outcome.UNKNOWN)
        message = str(data.get("trade_state_desc") or "")[:256]
        if outcome is not Outcome.SUCCESS:
            return Result(outcome=outcome, code=state.lower()[:64], message=message)
        return Result(
            outcome=outcome,
            message=message,
            provider_no=read_provider_number(data, "transaction_id"),
            amount_fen=read_amount(data, "total", must_name_currency=True),
            happened_at=read_moment(read_text(data, "success_time")),
        )


def read_refund(data: Mapping[str, Any], *, status_field: str, refund_no: str) -> Result:
    """A refund of the API (`status`) or of a notice (`refund_status`)."""
    if data.get("out_refund_no") != refund_no:
        raise AnswerMismatch("number_mismatch")
    state = read_text(data, status_field)
    outcome = REFUND_STATES.get(state, Outcome.UNKNOWN)
    amount_fen = read_amount(data, "refund", must_name_currency=False)
    moment = read_moment(read_text(data, "success_time")) if outcome is Outcome.SUCCESS else None
    return Result(
        outcome=outcome,
        code=REFUND_CODES.get(state, "" if outcome is not Outcome.UNKNOWN else state.lower()[:64]),
        message=str(data.get("user_received_account") or "")[:256],
        provider_no=read_provider_number(data, "refund_id"),
        amount_fen=amount_fen,
        happened_at=moment,
    )

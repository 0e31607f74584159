"""The calls: what is sent, and which of four outcomes an answer is.

SUCCESS and FAILED are said only for what Alipay signed and documents as certain; everything else, unknown codes
included, is UNKNOWN and the query decides. `alipay.trade.cancel` is not used: it would pay back a paid trade.
"""

from __future__ import annotations

import datetime as dt
import html
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import structlog

from foundation.money import yuan_text
from gateway.adapters.alipay import bills, client, fields, notices
from gateway.adapters.alipay.client import AlipayConfig, NoAnswer
from gateway.adapters.alipay.fields import AnswerMismatch
from gateway.ports import (
    CODE_ALREADY_PAID,
    CODE_NOT_FOUND,
    CODE_RETURNED,
    Answer,
    Bill,
    BillContent,
    BillKind,
    FindReceiver,
    NoticeFact,
    Outcome,
    PayoutRequest,
    PrepayRequest,
    RefundRequest,
    Result,
    our_own,
)

logger = structlog.get_logger("gateway.alipay")

SUBJECT_MAX_CHARACTERS = 256
REASON_MAX_CHARACTERS = 256
TITLE_MAX_CHARACTERS = 128
REMARK_MAX_CHARACTERS = 200
MAX_AMOUNT_FEN = 100_000_000_00
"""`total_amount`: 0.01 to 100000000 yuan."""
MIN_PAYOUT_FEN = 10
"""`trans_amount`: at least 0.1 yuan."""
PRODUCT_TRANSFER = "TRANS_ACCOUNT_NO_PWD"
SCENE_TRANSFER = "DIRECT_TRANSFER"

PAID_STATES = frozenset({"TRADE_SUCCESS", "TRADE_FINISHED"})
PREPAY_REFUSALS = frozenset(
    {
        "ACQ.INVALID_PARAMETER",
        "ACQ.ACCESS_FORBIDDEN",
        "ACQ.TOTAL_FEE_EXCEED",
        "ACQ.TRADE_HAS_CLOSE",
        "ACQ.PARTNER_ERROR",
        "ACQ.BUYER_SELLER_EQUAL",
        "isv.invalid-app-id",
        "isv.invalid-signature",
        "isv.invalid-parameter",
        "isv.insufficient-isv-permissions",
    }
)
"""No payment can follow. Not ACQ.TRADE_HAS_SUCCESS and ACQ.CONTEXT_INCONSISTENT: there the number lives."""
PAYOUT_REFUSALS = frozenset(
    {
        "INVALID_PARAMETER",
        "PAYEE_NOT_EXIST",
        "PAYEE_USER_INFO_ERROR",
        "PAYEE_ACC_OCUPIED",
        "PAYEE_CERTIFY_LEVEL_LIMIT",
        "PERMIT_NON_BANK_LIMIT_PAYEE",
        "isv.insufficient-isv-permissions",
    }
)
"""Follow from the request alone, so that an earlier try of the same number cannot have gone through either.

Not PAYER_BALANCE_NOT_ENOUGH and the like: the balance may lack just what an earlier try has taken.
"""
REFUSING_CODES = frozenset({"40002", "40004", "40006"})
"""Invalid arguments, business failure, no permission. 20000 (unavailable) refuses nothing, whatever its sub_code."""
UNKNOWN_NUMBER = frozenset({"ACQ.TRADE_NOT_EXIST", "ORDER_NOT_EXIST"})
PAYOUT_STATES: Mapping[str, tuple[Outcome, str]] = {
    "SUCCESS": (Outcome.SUCCESS, ""),
    "DEALING": (Outcome.PENDING, "dealing"),
    "INIT": (Outcome.PENDING, "init"),
    "WAIT_PAY": (Outcome.PENDING, "wait_pay"),
    "FAIL": (Outcome.FAILED, "fail"),
    "CLOSED": (Outcome.FAILED, "closed"),
    "REFUND": (Outcome.FAILED, CODE_RETURNED),
}
_USER_ID = re.compile(r"2088\d{12}", re.ASCII)

Reader = Callable[[Mapping[str, Any]], Result]


class AlipayAdapter:
    """gateway.ports.PaymentChannel, Payout, PayoutQuery and BillSource for Alipay. One instance serves all threads."""

    def __init__(self, config: AlipayConfig, find_receiver: FindReceiver = our_own) -> None:
        self._config = config
        self._find_receiver = find_receiver
        self._credentials = client.read_credentials(config.credentials_file)
        try:
            self._client = client.build_client(config, self._credentials)
        except client.AddressNotSettable:
            raise
        except Exception as error:  # pycryptodome and pyOpenSSL raise their own kinds for keys they cannot load
            raise ValueError("a key or certificate file holds nothing usable") from error

    # --- Payments ---------------------------------------------------------------------------------------------------

    def prepay(self, request: PrepayRequest) -> Result:
        """native: alipay.trade.precreate. page and h5 are signed here and opened by the payer's browser.

        Alipay hears of a page or h5 payment only when the payer comes: until then a query says `not_found`.
        """
        fields.check_number(request.attempt_no)
        if request.amount_fen > MAX_AMOUNT_FEN:
            return Result(outcome=Outcome.FAILED, code="amount_too_large")
        content = {
            "out_trade_no": request.attempt_no,
            "total_amount": yuan_text(request.amount_fen),
            "subject": fields.plain_text(request.subject, limit_characters=SUBJECT_MAX_CHARACTERS)
            or request.attempt_no,
            "time_expire": fields.beijing_text(request.expires_at),
        }
        receiver = self._find_receiver(request.attempt_no)
        if receiver is not None:  # whose account the money goes to; he has authorised our application to name it
            content["seller_id"] = receiver.account_no
        if request.scene == "native":
            return self._precreate(request, content)
        pages = {
            "page": ("alipay.trade.page.pay", "FAST_INSTANT_TRADE_PAY"),
            "h5": ("alipay.trade.wap.pay", "QUICK_WAP_PAY"),
        }
        if request.scene not in pages:
            return Result(outcome=Outcome.FAILED, code="scene_unsupported")
        method, product = pages[request.scene]
        query = client.signed_query(
            self._client,
            method,
            {**content, "product_code": product},
            notify_url=request.notify_url,
            return_url=request.return_url,
        )
        payment = (
            page_form(self._config.gateway_url, query)
            if request.scene == "page"
            else {"kind": "redirect", "url": f"{self._config.gateway_url}?{query}"}
        )
        return Result(outcome=Outcome.SUCCESS, payment=payment)

    def _precreate(self, request: PrepayRequest, content: Mapping[str, Any]) -> Result:
        def read(data: Mapping[str, Any]) -> Result:
            fields.expect(data, "out_trade_no", request.attempt_no)
            payment = {"kind": "code_url", "code_url": fields.text(data, "qr_code")}
            return Result(outcome=Outcome.SUCCESS, payment=payment)

        return self._ask(
            "prepay",
            request.attempt_no,
            "alipay.trade.precreate",
            content,
            read,
            failures=dict.fromkeys(PREPAY_REFUSALS, Outcome.FAILED),
            notify_url=request.notify_url,
        )

    def query(self, *, attempt_no: str) -> Result:
        """alipay.trade.query. A trade nobody has scanned or opened yet does not exist for Alipay: `not_found`."""
        fields.check_number(attempt_no)

        def read(data: Mapping[str, Any]) -> Result:
            fields.expect(data, "out_trade_no", attempt_no)
            return _read_trade(data)

        return self._ask(
            "query",
            attempt_no,
            "alipay.trade.query",
            {"out_trade_no": attempt_no},
            read,
            failures={"10003": Outcome.PENDING},
        )

    def close(self, *, attempt_no: str) -> Result:
        """alipay.trade.close: only of a trade that waits for its buyer."""
        fields.check_number(attempt_no)

        def read(data: Mapping[str, Any]) -> Result:
            fields.expect(data, "out_trade_no", attempt_no)
            return Result(outcome=Outcome.SUCCESS, code="closed")

        return self._ask(
            "close",
            attempt_no,
            "alipay.trade.close",
            {"out_trade_no": attempt_no},
            read,
            failures={"ACQ.TRADE_HAS_SUCCESS": Outcome.FAILED},
        )

    # --- Refunds ----------------------------------------------------------------------------------------------------

    def refund(self, request: RefundRequest) -> Result:
        """alipay.trade.refund; the same out_request_no refunds once however often it is sent.

        Only `fund_change=Y` says that money moved. N also comes for a repeated request: the query decides. `refund_fee`
        is the sum of all refunds of the trade, so the answer does not say this one's amount.
        """
        fields.check_number(request.attempt_no)
        fields.check_number(request.refund_no)

        def read(data: Mapping[str, Any]) -> Result:
            fields.expect(data, "out_trade_no", request.attempt_no)
            change = data.get("fund_change")
            if change == "N":
                return Result(outcome=Outcome.PENDING, code="fund_unchanged")
            if change != "Y":
                raise AnswerMismatch("fund_change_missing")
            if not request.amount_fen <= fields.amount_fen(data, "refund_fee") <= request.paid_fen:
                raise AnswerMismatch("refund_fee_mismatch")
            return Result(
                outcome=Outcome.SUCCESS,
                provider_no=fields.number(data, "trade_no"),
                happened_at=fields.optional_moment(data, "gmt_refund_pay"),
            )

        content = {
            "out_trade_no": request.attempt_no,
            "refund_amount": yuan_text(request.amount_fen),
            "out_request_no": request.refund_no,
        }
        reason = fields.plain_text(request.reason, limit_characters=REASON_MAX_CHARACTERS)
        if reason:
            content["refund_reason"] = reason
        return self._ask("refund", request.refund_no, "alipay.trade.refund", content, read)

    def query_refund(self, *, refund_no: str, attempt_no: str = "") -> Result:
        """alipay.trade.fastpay.refund.query, which finds a refund by its number and its payment's (`attempt_no`)."""
        fields.check_number(refund_no)
        fields.check_number(attempt_no)

        def read(data: Mapping[str, Any]) -> Result:
            if not any(data.get(field) for field in ("refund_status", "refund_amount", "out_request_no")):
                # "No data: not refunded, ask for the refund again with the same number" (document of the call).
                return Result(outcome=Outcome.UNKNOWN, code=CODE_NOT_FOUND)
            fields.expect(data, "out_trade_no", attempt_no)
            fields.expect(data, "out_request_no", refund_no)
            state = fields.text(data, "refund_status")
            if state == "REFUND_PROCESSING":
                return Result(outcome=Outcome.PENDING, code="refund_processing")
            if state != "REFUND_SUCCESS":
                return Result(outcome=Outcome.UNKNOWN, code=state.lower()[:64])
            return Result(
                outcome=Outcome.SUCCESS,
                provider_no=fields.number(data, "trade_no"),
                amount_fen=fields.amount_fen(data, "refund_amount"),
                happened_at=fields.optional_moment(data, "gmt_refund_pay"),
            )

        return self._ask(
            "query_refund",
            refund_no,
            "alipay.trade.fastpay.refund.query",
            {"out_trade_no": attempt_no, "out_request_no": refund_no, "query_options": ["gmt_refund_pay"]},
            read,
        )

    # --- Payouts ----------------------------------------------------------------------------------------------------

    def pay_out(self, request: PayoutRequest) -> Result:
        """alipay.fund.trans.uni.transfer to an Alipay user id (2088…) or login id (then with the real name)."""
        fields.check_number(request.payout_no)
        is_user_id = bool(_USER_ID.fullmatch(request.payee_account))
        if not self._credentials.has_certificates:
            return Result(outcome=Outcome.FAILED, code="certificates_missing")
        if request.amount_fen < MIN_PAYOUT_FEN:
            return Result(outcome=Outcome.FAILED, code="amount_too_small")
        if request.amount_fen > MAX_AMOUNT_FEN:
            return Result(outcome=Outcome.FAILED, code="amount_too_large")
        if not is_user_id and not request.payee_name.strip():
            return Result(outcome=Outcome.FAILED, code="payee_name_missing")
        payee = {
            "identity": request.payee_account,
            "identity_type": "ALIPAY_USER_ID" if is_user_id else "ALIPAY_LOGON_ID",
        }
        if request.payee_name.strip():
            payee["name"] = request.payee_name.strip()
        content = {
            "out_biz_no": request.payout_no,
            "trans_amount": yuan_text(request.amount_fen),
            "product_code": PRODUCT_TRANSFER,
            "biz_scene": SCENE_TRANSFER,
            "order_title": fields.plain_text(request.remark, limit_characters=TITLE_MAX_CHARACTERS)
            or request.payout_no,
            "payee_info": payee,
            "remark": fields.plain_text(request.remark, limit_characters=REMARK_MAX_CHARACTERS) or request.payout_no,
        }
        return self._ask(
            "pay_out",
            request.payout_no,
            "alipay.fund.trans.uni.transfer",
            content,
            lambda data: _read_payout(data, request.payout_no, moment_field="trans_date"),
            failures=dict.fromkeys(PAYOUT_REFUSALS, Outcome.FAILED),
        )

    def query_payout(self, *, payout_no: str) -> Result:
        """alipay.fund.trans.common.query."""
        fields.check_number(payout_no)
        return self._ask(
            "query_payout",
            payout_no,
            "alipay.fund.trans.common.query",
            {"out_biz_no": payout_no, "product_code": PRODUCT_TRANSFER, "biz_scene": SCENE_TRANSFER},
            lambda data: _read_payout(data, payout_no, moment_field="pay_date"),
        )

    # --- Bills ------------------------------------------------------------------------------------------------------

    @property
    def bill_kinds(self) -> frozenset[BillKind]:
        return frozenset(bills.BILL_TYPES)

    def download_bill(self, *, day: dt.date, kind: BillKind) -> Bill:
        """alipay.data.dataservice.bill.downloadurl.query, then the file itself: a zip, kept as it came."""
        if kind not in bills.BILL_TYPES:
            raise ValueError(f"Alipay has no bill {kind}")
        return bills.download(self._client, day=day, kind=kind, timeout_seconds=self._config.timeout_seconds)

    def read_bill(self, *, kind: BillKind, content: bytes) -> BillContent:
        """See gateway.ports.BillSource."""
        if kind not in bills.BILL_TYPES:
            raise ValueError(f"Alipay has no bill {kind}")
        return bills.read(kind=kind, content=content)

    # --- Notices ----------------------------------------------------------------------------------------------------

    def read_notice(self, *, headers: Mapping[str, str], body: bytes, now: dt.datetime) -> NoticeFact:
        """See gateway.ports.NoticeReader. Raises NoticeInvalid and nothing else, whatever the bytes are."""
        return notices.read(self._client, self._credentials, body=body, now=now, find_receiver=self._find_receiver)

    @staticmethod
    def success_answer() -> Answer:
        """Exactly these seven bytes; anything else is a failure to Alipay."""
        return Answer(status=200, content_type="text/plain", body=b"success")

    @staticmethod
    def failure_answer(message: str) -> Answer:
        """Alipay reads nothing but `success`; it sends the notice again on its schedule."""
        return Answer(status=500, content_type="text/plain", body=b"fail")

    # --- One call ---------------------------------------------------------------------------------------------------

    def _ask(
        self,
        call: str,
        number: str,
        method: str,
        content: Mapping[str, Any],
        read: Reader,
        *,
        failures: Mapping[str, Outcome] | None = None,
        **common: str,
    ) -> Result:
        """`read` sees a signed answer with code 10000; `failures`: the codes and sub_codes that are certain."""
        try:
            data = client.ask(self._client, method, content, **common)
            result = read(data) if data.get("code") == client.CODE_DONE else _read_failure(data, failures or {})
        except NoAnswer as error:
            result = Result(outcome=Outcome.UNKNOWN, code=error.code, message=error.message)
        except AnswerMismatch as mismatch:
            result = Result(outcome=Outcome.UNKNOWN, code=mismatch.reason)
        if result.outcome is Outcome.UNKNOWN and result.code != CODE_NOT_FOUND:  # ordinary until somebody scans
            logger.warning("alipay call undecided", call=call, number=number, code=result.code, reason=result.message)
        return result


def page_form(gateway_url: str, signed_query: str) -> dict[str, Any]:
    """api.md's `payment` of a page: a form that the browser posts. `html` is the whole of it, submitting itself.

    The common parameters stand in the address and biz_content in the body, as Alipay's own SDKs have it.
    """
    pairs = parse_qsl(signed_query, keep_blank_values=True, strict_parsing=True)
    inputs = {name: value for name, value in pairs if name == "biz_content"}
    action = f"{gateway_url}?{urlencode([pair for pair in pairs if pair[0] not in inputs])}"
    hidden = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in inputs.items()
    )
    page = (
        f'<form name="punchout_form" method="post" action="{html.escape(action)}">{hidden}</form>'
        "<script>document.forms[0].submit();</script>"
    )
    return {"kind": "form", "method": "post", "action": action, "fields": inputs, "html": page}


def _read_failure(data: Mapping[str, Any], failures: Mapping[str, Outcome]) -> Result:
    """A signed answer that is not 10000."""
    code, sub_code = str(data.get("code") or ""), str(data.get("sub_code") or "")
    message = str(data.get("sub_msg") or data.get("msg") or "")[:256]
    plain_code = (sub_code or f"code_{code}").lower()[:64]
    if code in failures:
        return Result(outcome=failures[code], code=plain_code, message=message)
    if code not in REFUSING_CODES:
        return Result(outcome=Outcome.UNKNOWN, code=plain_code, message=message)
    if sub_code in UNKNOWN_NUMBER:
        plain_code = CODE_NOT_FOUND
    if sub_code == "ACQ.TRADE_HAS_SUCCESS":
        plain_code = CODE_ALREADY_PAID
    return Result(outcome=failures.get(sub_code, Outcome.UNKNOWN), code=plain_code, message=message)


def _read_trade(data: Mapping[str, Any]) -> Result:
    """A trade of the query; AnswerMismatch when it is not as documented."""
    state = fields.text(data, "trade_status")
    if state == "WAIT_BUYER_PAY":
        return Result(outcome=Outcome.PENDING, code="wait_buyer_pay")
    if state == "TRADE_CLOSED" and not data.get("send_pay_date"):
        return Result(outcome=Outcome.FAILED, code="trade_closed")
    if state not in PAID_STATES:
        # TRADE_CLOSED with a time of payment was paid and wholly refunded: whether ours did that, staff must see.
        return Result(outcome=Outcome.UNKNOWN, code="refunded" if state == "TRADE_CLOSED" else state.lower()[:64])
    fields.expect_currency(data)
    return Result(
        outcome=Outcome.SUCCESS,
        provider_no=fields.number(data, "trade_no"),
        amount_fen=fields.amount_fen(data, "total_amount"),
        happened_at=fields.optional_moment(data, "send_pay_date"),
    )


def _read_payout(data: Mapping[str, Any], payout_no: str, *, moment_field: str) -> Result:
    """A transfer of the call or of its query; only the query names the amount."""
    fields.expect(data, "out_biz_no", payout_no)
    state = fields.text(data, "status")
    outcome, code = PAYOUT_STATES.get(state, (Outcome.UNKNOWN, state.lower()[:64]))
    return Result(
        outcome=outcome,
        code=str(data.get("error_code") or code).lower()[:64] if code == "fail" else code,
        message=str(data.get("fail_reason") or "")[:256],
        provider_no=fields.number(data, "order_id"),
        amount_fen=fields.amount_fen(data, "trans_amount") if data.get("trans_amount") else None,
        happened_at=fields.optional_moment(data, moment_field) if outcome is Outcome.SUCCESS else None,
    )

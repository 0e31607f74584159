"""商家转账: money to a person's WeChat, who confirms it.

Sources: WeChat documents 4012716434 (发起转账), 4012716458 (撤销转账), 4013778940 (questions); design `providers.md`
3. What they insist on: a status other than 200 says nothing about the transfer, the number is never changed until a
query says that it failed, and an unknown code is unknown. Hence the rule here: an error answer is UNKNOWN, except a
refusal of the very first request under a number that WeChat then does not know either. `package_info`, by which the
client opens the confirmation, comes from 发起转账 alone: sending the same request again (原单重试) gives it again while
the person has not confirmed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.adapters.wechat.client import Merchant
from gateway.adapters.wechat.values import (
    AnswerMismatch,
    check_number,
    cut_characters,
    read_fen,
    read_moment,
    read_provider_number,
    read_text,
)
from gateway.ports import (
    CODE_CANCELLED,
    CODE_EXPIRED,
    CODE_NOT_FOUND,
    CODE_WAIT_USER_CONFIRM,
    Outcome,
    PayoutRequest,
    Result,
)

REMARK_MAX_CHARACTERS = 32
"""`transfer_remark`: at most 32 characters."""
NAME_REQUIRED_FEN = 2000_00
"""From here on the payee's name is required."""
NAME_ALLOWED_FEN = 30
"""Below, no name may be sent; the SDK drops it."""
TRANSFER_STATES: Mapping[str, Outcome] = {
    "ACCEPTED": Outcome.PENDING,
    "PROCESSING": Outcome.PENDING,
    "WAIT_USER_CONFIRM": Outcome.PENDING,
    "TRANSFERING": Outcome.PENDING,
    "CANCELING": Outcome.PENDING,
    "SUCCESS": Outcome.SUCCESS,
    "FAIL": Outcome.FAILED,
    "CANCELLED": Outcome.FAILED,
}
"""TRANSFERING is spelled so. Only the last three are final."""
PAYOUT_REFUSALS = frozenset(
    {"PARAM_ERROR", "INVALID_REQUEST", "NO_AUTH", "SIGN_ERROR", "APPID_MCHID_NOT_MATCH", "MCH_NOT_EXISTS"}
)
"""Of content or contract. Not NOT_ENOUGH (充值后原单重试), FREQUENCY_LIMITED: the same number may still go through."""
EXPIRY_REASONS = frozenset({"OVERDUE_CLOSE"})
"""`fail_reason` of a transfer that nobody confirmed."""

OUT_BILL_NO = re.compile(r"[0-9A-Za-z]{1,32}", re.ASCII)


class PayoutCalls(Merchant):
    """gateway.ports.Payout, PayoutQuery, PayoutCancel."""

    def pay_out(self, request: PayoutRequest) -> Result:
        """POST /v3/fund-app/mch-transfer/transfer-bills; the same out_bill_no pays once however often it is sent."""
        check_number(OUT_BILL_NO, request.payout_no)
        if not self._credentials.transfer_scene_id:
            return _unsent(request, "payouts_not_granted")
        if request.amount_fen >= NAME_REQUIRED_FEN and not request.payee_name:
            return _unsent(request, "payee_name_missing")

        def read(data: Mapping[str, Any]) -> Result:
            return self._read_state(data, payout_no=request.payout_no)

        answered = self._ask(
            "pay_out",
            request.payout_no,
            lambda: self._client.mch_transfer_bills(
                out_bill_no=request.payout_no,
                transfer_scene_id=self._credentials.transfer_scene_id,
                openid=request.payee_account,
                transfer_amount=request.amount_fen,
                transfer_remark=cut_characters(request.remark, REMARK_MAX_CHARACTERS) or request.payout_no,
                user_name=request.payee_name if request.amount_fen >= NAME_ALLOWED_FEN else None,
                transfer_scene_report_infos=[
                    {"info_type": kind, "info_content": content}
                    for kind, content in self._credentials.transfer_scene_report
                ],
                notify_url=request.notify_url,
            ),
            read,
        )
        is_refusal = answered.outcome is Outcome.UNKNOWN and answered.code.upper() in PAYOUT_REFUSALS
        return self._confirm_refusal(answered, request) if is_refusal and request.is_first else answered

    def _confirm_refusal(self, refusal: Result, request: PayoutRequest) -> Result:
        """FAILED when WeChat does not know the number after refusing the only request there ever was."""
        known = self.query_payout(payout_no=request.payout_no)
        if known.code != CODE_NOT_FOUND:
            return known
        return Result(outcome=Outcome.FAILED, code=refusal.code, message=refusal.message)

    def query_payout(self, *, payout_no: str) -> Result:
        """GET /v3/fund-app/mch-transfer/transfer-bills/out-bill-no/{out_bill_no}; WeChat remembers 30 days."""
        check_number(OUT_BILL_NO, payout_no)

        def read(data: Mapping[str, Any]) -> Result:
            if (data.get("mch_id"), data.get("appid")) != (self._credentials.mchid, self._credentials.appid):
                raise AnswerMismatch("merchant_mismatch")
            return self._read_transfer(data, payout_no=payout_no)

        return self._ask(
            "query_payout", payout_no, lambda: self._client.mch_transfer_bills_query(out_bill_no=payout_no), read
        )

    def cancel_payout(self, *, payout_no: str) -> Result:
        """POST …/out-bill-no/{out_bill_no}/cancel; only accepts, the query says what came of it."""
        check_number(OUT_BILL_NO, payout_no)
        return self._ask(
            "cancel_payout",
            payout_no,
            lambda: self._client.mch_transfer_bills_cancel(out_bill_no=payout_no),
            lambda data: self._read_state(data, payout_no=payout_no),
        )

    def _read_transfer(self, data: Mapping[str, Any], *, payout_no: str) -> Result:
        """A transfer of the query or of a notice, which say the amount and the time."""
        result = self._read_state(data, payout_no=payout_no)
        is_paid = result.outcome is Outcome.SUCCESS
        return Result(
            outcome=result.outcome,
            code=result.code,
            message=result.message,
            provider_no=result.provider_no,
            amount_fen=read_fen(data, "transfer_amount"),
            happened_at=read_moment(read_text(data, "update_time")) if is_paid else None,
            payment=result.payment,
        )

    def _read_state(self, data: Mapping[str, Any], *, payout_no: str) -> Result:
        if data.get("out_bill_no") != payout_no:
            raise AnswerMismatch("number_mismatch")
        state, reason = read_text(data, "state"), str(data.get("fail_reason") or "")
        package = data.get("package_info")
        is_waiting = state == "WAIT_USER_CONFIRM"
        payment = None
        if is_waiting and isinstance(package, str) and package:
            payment = {
                "kind": "confirm",
                "mchId": self._credentials.mchid,
                "appId": self._credentials.appid,
                "package": package,
            }
        return Result(
            outcome=TRANSFER_STATES.get(state, Outcome.UNKNOWN),
            code=_code(state, reason),
            message=reason[:256],
            provider_no=read_provider_number(data, "transfer_bill_no"),
            payment=payment,
        )


def _code(state: str, reason: str) -> str:
    if state == "SUCCESS":
        return ""
    if state == "WAIT_USER_CONFIRM":
        return CODE_WAIT_USER_CONFIRM
    if state == "CANCELLED":
        return CODE_CANCELLED
    if state == "FAIL":
        return CODE_EXPIRED if reason in EXPIRY_REASONS else (reason.lower() or "fail")[:64]
    return state.lower()[:64]


def _unsent(request: PayoutRequest, code: str) -> Result:
    """We did not send it; whether an earlier one was sent is for the caller to say."""
    return Result(outcome=Outcome.FAILED if request.is_first else Outcome.UNKNOWN, code=code)

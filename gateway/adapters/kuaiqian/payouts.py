"""付款到个人银行账户 (single, feature code F41): sealed XML both ways.

`0000` in answer to an order means "accepted", nothing more. Where a payout stands is told by the sealed `status` of
query and notice: 101 under way, 111 paid, 112 failed, 114 returned by the payee's bank, which may follow 111. No error
code is known to mean "surely not paid", so a refused order is UNKNOWN and the query decides.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from gateway.adapters.kuaiqian import envelope, markup, transport, values
from gateway.adapters.kuaiqian.credentials import Credentials
from gateway.adapters.kuaiqian.markup import Node
from gateway.adapters.kuaiqian.transport import Link
from gateway.adapters.kuaiqian.values import AnswerInvalid
from gateway.ports import CODE_NOT_FOUND, CODE_RETURNED, Outcome, PayoutRequest, Result

PAY_PATH = "/fo-pay/pay2bank/pay"
QUERY_PATH = "/fo-pay-query/pay2bank/query"
VERSION = "1.0"
ACCEPTED = "0000"
FEE_BY_PAYER = "1"
REMARK_MAX_BYTES = 128
QUERY_PERIOD = dt.timedelta(days=7)
"""The longest period of one question."""
QUERY_PERIODS = 4
"""How many periods back a payout is looked for before it counts as unknown: it is sent again then."""
AHEAD = dt.timedelta(days=1)
"""The first period ends tomorrow: 99bill's clock may be ahead of ours."""
STATES: Mapping[str, Outcome] = {
    "101": Outcome.PENDING,
    "111": Outcome.SUCCESS,
    "112": Outcome.FAILED,
    "114": Outcome.FAILED,
}
CODES: Mapping[str, str] = {"112": "payout_failed", "114": CODE_RETURNED}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`plain`: the sealed part, opened and verified; None when there was none."""

    error_code: str
    error_message: str
    plain: Node | None


def keys_of(credentials: Credentials) -> envelope.Keys:
    return envelope.Keys(
        own=credentials.merchant_private_key,
        other=credentials.platform_public_key,
        hash_name=credentials.payout_hash_name,
    )


def pay_out(*, credentials: Credentials, link: Link, request: PayoutRequest) -> Result:
    """PENDING when 99bill took it, FAILED without the bank's name (nothing was sent), else UNKNOWN."""
    values.check_number(values.PAYOUT_ID, request.payout_no)
    if not request.bank_name.strip() or not request.payee_name.strip():
        return Result(outcome=Outcome.FAILED, code="payee_incomplete")
    plain = markup.DECLARATION + markup.element(
        "pay2BankOrder",
        markup.texts(
            {
                "orderId": request.payout_no,
                "bankName": request.bank_name,
                "branchName": request.branch_name,
                "creditName": request.payee_name,
                "mobile": request.mobile,
                "bankAcctId": request.payee_account,
                "amount": str(request.amount_fen),
                "province": request.province,
                "city": request.city,
                "remark": values.cut(request.remark, REMARK_MAX_BYTES),
                "feeAction": FEE_BY_PAYER,
            }
        ),
    )

    def work() -> Result:
        content = link.post(
            PAY_PATH,
            body=_message(credentials, plain, "pay2BankRequest", "pay2bankHead", "requestBody"),
            content_type=transport.XML_TYPE,
        )
        answer = read_answer(credentials, content, "pay2bankResponse", "pay2bankHead", "responseBody")
        if answer.error_code != ACCEPTED or answer.plain is None:
            return transport.unknown(f"payout_{answer.error_code}".lower(), answer.error_message)
        if answer.plain.value("orderId") != request.payout_no:
            raise AnswerInvalid("number_mismatch")
        if values.fen(answer.plain.value("amount")) != request.amount_fen:
            raise AnswerInvalid("amount_mismatch")
        return Result(outcome=Outcome.PENDING, code="accepted", amount_fen=request.amount_fen)

    return transport.ask("pay_out", request.payout_no, work)


def query_payout(*, credentials: Credentials, link: Link, payout_no: str, now: dt.datetime) -> Result:
    """The payout's state, looked for one period after the other into the past."""
    values.check_number(values.PAYOUT_ID, payout_no)

    def work() -> Result:
        end = now + AHEAD
        for _ in range(QUERY_PERIODS):
            start = end - QUERY_PERIOD
            result = _query(credentials, link, payout_no, start, end)
            if result is not None:
                return result
            end = start
        return transport.unknown(CODE_NOT_FOUND)

    return transport.ask("query_payout", payout_no, work)


def _query(credentials: Credentials, link: Link, payout_no: str, start: dt.datetime, end: dt.datetime) -> Result | None:
    plain = markup.DECLARATION + markup.element(
        "pay2BankSearchRequestParam",
        markup.texts(
            {
                "targetPage": "1",
                "pageSize": "20",
                "startDate": values.long_time(start),
                "endDate": values.long_time(end),
                "orderId": payout_no,
            }
        ),
    )
    body = _message(credentials, plain, "pay2BankSearchRequest", "pay2bankSearchHead", "searchRequestBody")
    content = link.post(QUERY_PATH, body=body, content_type=transport.XML_TYPE)
    answer = read_answer(credentials, content, "pay2bankSearchResponse", "pay2bankSearchHead", "searchResponseBody")
    if answer.error_code != ACCEPTED or answer.plain is None:
        return transport.unknown(f"query_{answer.error_code}".lower(), answer.error_message)
    if answer.plain.name != "pay2banksearchresult":
        raise AnswerInvalid("content_unknown")
    rows = answer.plain.all("resultList")
    if not rows:
        return None
    if len(rows) != 1 or rows[0].value("orderId") != payout_no:
        raise AnswerInvalid("number_mismatch")
    return read_state(
        status=rows[0].value("status"),
        provider_no=rows[0].value("orderSeqId"),
        amount=rows[0].value("amount"),
        end_date=rows[0].value("endDate"),
        message=rows[0].value("errorMsg"),
    )


def read_state(*, status: str, provider_no: str, amount: str, end_date: str, message: str) -> Result:
    """Of query and notice; AnswerInvalid for fields that are not as documented."""
    outcome = STATES.get(status, Outcome.UNKNOWN)
    return Result(
        outcome=outcome,
        code=CODES.get(status, "" if outcome is not Outcome.UNKNOWN else f"status_{status}"[:64]),
        message=message[:256],
        provider_no=values.provider_number(provider_no),
        amount_fen=values.fen(amount),
        happened_at=values.long_moment(end_date) if outcome is Outcome.SUCCESS or status == "114" else None,
    )


def _message(credentials: Credentials, plain: str, root: str, head: str, body: str) -> bytes:
    sealed = envelope.seal(keys=keys_of(credentials), plain=plain.encode())
    return (
        markup.DECLARATION
        + markup.element(root, markup.element(head, head_fields(credentials)), markup.element(body, sealed))
    ).encode()


def head_fields(credentials: Credentials) -> str:
    return markup.texts({"version": VERSION, "memberCode": credentials.member_code})


def read_answer(credentials: Credentials, content: bytes, root: str, head: str, body: str) -> Answer:
    """An answer whose member is ours; its sealed part is opened when there is one."""
    tree = markup.parse(content)
    if tree.name != root.lower():
        raise AnswerInvalid("content_unknown")
    if tree.child(head).value("memberCode") != credentials.member_code:
        raise AnswerInvalid("merchant_mismatch")
    found = tree.child(body)
    sealed = found.all("sealDataType")
    plain = None
    if sealed and sealed[0].value("encryptedData"):
        plain = markup.parse(envelope.unseal(keys=keys_of(credentials), sealed=found.child("sealDataType")))
    return Answer(error_code=escape(found.value("errorCode"))[:16], error_message=found.value("errorMsg"), plain=plain)

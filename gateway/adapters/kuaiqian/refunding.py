"""Refunds through the gateway: accepted at once, settled later; only the query tells how.

PKI merchants use `recievedrawbackPKI.do` (99bill's spelling; JSON), MD5 merchants `receiveDrawbackAction.do` (form in,
XML out). Amounts are yuan here, fen in the query. The answer to a refund is not signed, so it never decides more than
"accepted"; a refusal is UNKNOWN and the query settles it. 99bill sends no notice of refunds.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from urllib.parse import urlencode

from foundation import clock
from foundation.money import yuan_text
from gateway.adapters.kuaiqian import markup, recharge, signing, transport, values
from gateway.adapters.kuaiqian.credentials import Credentials
from gateway.adapters.kuaiqian.transport import Link
from gateway.adapters.kuaiqian.values import AnswerInvalid
from gateway.ports import CODE_NOT_FOUND, Outcome, RefundRequest, Result

PKI_PATH = "/gatewayapi/recievedrawbackPKI.do"
MD5_PATH = "/webapp/receiveDrawbackAction.do"
QUERY_PATH = "/gatewayapi/gatewayRefundQuery.do"
VERSION = "bill_drawback_api_1"
COMMAND = "001"
NO_ROWS = "10012"
"""errCode: no data."""
QUERY_DAYS = 30
"""The longest period of one question (said of the order query, taken for this one too)."""
QUERY_PERIODS = 3
"""How many periods back a refund is looked for before it counts as unknown: a refund is asked for again then."""
STATES: Mapping[str, Outcome] = {"0": Outcome.PENDING, "1": Outcome.SUCCESS, "2": Outcome.FAILED}


def refund(*, credentials: Credentials, link: Link, request: RefundRequest, now: dt.datetime) -> Result:
    """PENDING when 99bill took it, else UNKNOWN. The same txOrder refunds once however often it is sent."""
    values.check_number(values.ORDER_ID, request.attempt_no)
    values.check_number(values.ORDER_ID, request.refund_no)
    fields = {
        "merchant_id": credentials.member_code,
        "version": VERSION,
        "command_type": COMMAND,
        "orderid": request.attempt_no,
        "amount": yuan_text(request.amount_fen),
        "postdate": values.compact_time(now),
        "txOrder": request.refund_no,
    }
    send = _send_pki if credentials.is_pki else _send_md5

    def work() -> Result:
        answer = send(credentials, link, signing.pairs_of(fields, signing.REFUND_FIELDS))
        same = {
            "merchant": credentials.member_code,
            "orderid": request.attempt_no,
            "txorder": request.refund_no,
        }
        if any(answer.get(name, "") != value for name, value in same.items()):
            raise AnswerInvalid("number_mismatch")
        if answer.get("result", "") != "Y":
            return transport.unknown("refund_refused", answer.get("code", ""))
        if values.fen_of_yuan(answer.get("amount", "")) != request.amount_fen:
            raise AnswerInvalid("amount_mismatch")
        return Result(outcome=Outcome.PENDING, code="accepted", amount_fen=request.amount_fen)

    return transport.ask("refund", request.refund_no, work)


def _send_pki(credentials: Credentials, link: Link, pairs: list[tuple[str, str]]) -> dict[str, str]:
    mac = signing.sign_rsa(
        key=credentials.merchant_private_key,
        hash_name=credentials.hash_name,
        content=signing.join(pairs).encode(),
    )
    body = json.dumps({**dict(pairs), "mac": mac}).encode()
    data = values.read_object(link.post(PKI_PATH, body=body, content_type=transport.JSON_TYPE))
    answer = {name.lower(): value for name, value in values.text_fields(data).items()}
    return {**answer, "merchant": transport.first_of(answer, "merchant", "merchant_id")}


def _send_md5(credentials: Credentials, link: Link, pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The mac is over `k=v` without a separator, the key last."""
    mac = signing.md5_upper(signing.join([*pairs, ("merchant_key", credentials.refund_key)], separator=""))
    body = urlencode({**dict(pairs), "mac": mac}).encode("ascii")
    root = markup.parse(link.post(MD5_PATH, body=body, content_type=transport.FORM_TYPE))
    return {node.name: node.text for node in root.children}


def query_refund(*, credentials: Credentials, link: Link, refund_no: str, attempt_no: str, now: dt.datetime) -> Result:
    """gatewayRefundQuery, one period of days after the other into the past until the refund is found.

    `attempt_no`: the payment that the refund must be of; "" is not compared.
    """
    values.check_number(values.ORDER_ID, refund_no)

    def work() -> Result:
        day = clock.business_date(now)
        for _ in range(QUERY_PERIODS):
            start = day - dt.timedelta(days=QUERY_DAYS - 1)
            result = _query(credentials, link, refund_no, attempt_no, start, day)
            if result is not None:
                return result
            day = start - dt.timedelta(days=1)
        return transport.unknown(CODE_NOT_FOUND)

    return transport.ask("query_refund", refund_no, work)


def _query(
    credentials: Credentials, link: Link, refund_no: str, attempt_no: str, start: dt.date, end: dt.date
) -> Result | None:
    fields = {
        "version": "v2.0",
        "signType": recharge.query_sign_type(credentials),
        "merchantAcctId": credentials.account_id,
        "startDate": f"{start:%Y%m%d}",
        "endDate": f"{end:%Y%m%d}",
        "orderId": refund_no,
        "requestPage": "1",
    }
    data = recharge.ask_signed(
        credentials=credentials,
        link=link,
        path=QUERY_PATH,
        fields=signing.pairs_of(fields, signing.REFUND_QUERY_FIELDS),
        answer_order=signing.REFUND_ANSWER_FIELDS,
    )
    code = values.text_fields(data).get("errCode", "")
    if code == NO_ROWS:
        return None
    if code:
        return transport.unknown(f"query_{code}")
    found = values.rows(data, "results", "refundDetail")
    if len(found) != 1 or found[0].get("orderId") != refund_no:
        raise AnswerInvalid("number_mismatch")
    row = found[0]
    recharge.check_detail(credentials=credentials, row=row, order=signing.REFUND_DETAIL_FIELDS)
    if attempt_no and row.get("rOrderId") != attempt_no:
        raise AnswerInvalid("number_mismatch")
    state = row.get("status", "")
    outcome = STATES.get(state, Outcome.UNKNOWN)
    return Result(
        outcome=outcome,
        code={Outcome.FAILED: "refund_failed", Outcome.UNKNOWN: f"status_{state}"[:64]}.get(outcome, ""),
        message=row.get("failReason", "")[:256],
        provider_no=values.provider_number(row.get("sequenceId", "")),
        amount_fen=values.fen(row.get("orderAmout", "")),
        happened_at=values.compact_moment(row.get("lastUpdateTime", "")) if outcome is Outcome.SUCCESS else None,
    )

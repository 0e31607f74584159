"""人民币网关: the payer's browser carries a signed order to 99bill; the query tells what became of it.

A prepay sends nothing: it signs the fields. 99bill learns of the order when the browser arrives there, so "no such
order" is the ordinary answer for a payer who has not gone there yet. There is no call that closes an order; 99bill
takes no money for one after its `orderTimeOut`.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping
from urllib.parse import urlencode

from gateway.adapters.kuaiqian import signing, transport, values
from gateway.adapters.kuaiqian.credentials import SIGN_MD5, Credentials
from gateway.adapters.kuaiqian.transport import Link
from gateway.adapters.kuaiqian.values import AnswerInvalid
from gateway.ports import CODE_NOT_FOUND, Outcome, PrepayRequest, Result

GATEWAY_PATH = "/gateway/recvMerchantInfoAction.htm"
MOBILE_PATH = "/mobilegateway/recvMerchantInfoAction.htm"
QUERY_PATH = "/gatewayapi/gatewayOrderQuery.do"
SCENES: Mapping[str, tuple[str, str]] = {"page": (GATEWAY_PATH, "v2.0"), "h5": (MOBILE_PATH, "mobile1.0")}
"""Scene → path and `version`. native and jsapi are no products of this gateway."""
SUBJECT_MAX_BYTES = 256
"""productName: string(256); counted in bytes to be safe."""
MAX_AMOUNT_FEN = 9_999_999_999
"""orderAmount: at most 10 digits."""
URL_MAX_LENGTH = 256
QUERY_SIGN_PKI = "2"
PAID = "10"
"""payResult."""
NOT_PAID = "31005"
"""errCode: the order's payment has not succeeded."""
UNKNOWN_ORDER = "31003"
"""errCode: there is no such order."""
UNPAID = "unpaid"


def request_fields(*, credentials: Credentials, request: PrepayRequest, now: dt.datetime) -> dict[str, str]:
    """The gateway's fields with `signMsg`, in signing order; empty ones are not sent.

    `orderTimeOut`: whole seconds from `orderTime`; the unit is unproven.
    """
    _, version = SCENES[request.scene]
    fields = {
        "inputCharset": "1",
        "bgUrl": request.notify_url,
        "version": version,
        "language": "1",
        "signType": credentials.sign_type,
        "merchantAcctId": credentials.account_id,
        "payerIP": request.payer_ip,
        "orderId": request.attempt_no,
        "orderAmount": str(request.amount_fen),
        "orderTime": values.compact_time(now),
        "productName": values.cut(request.subject.replace("&", "＆"), SUBJECT_MAX_BYTES) or request.attempt_no,
        "productNum": "1",
        "payType": "00",
        "redoFlag": "0",
        "orderTimeOut": str(max(math.floor((request.expires_at - now).total_seconds()), 1)),
    }
    pairs = signing.pairs_of(fields, signing.REQUEST_FIELDS)
    if not signing.is_unambiguous(pairs):
        raise ValueError("a field of the gateway's request has an & in it")
    return {**dict(pairs), "signMsg": sign_gateway(credentials=credentials, pairs=pairs)}


def sign_gateway(*, credentials: Credentials, pairs: list[tuple[str, str]]) -> str:
    """Of the gateway's request; MD5 with the gateway's key behind."""
    if credentials.is_pki:
        content = signing.join(pairs).encode()
        return signing.sign_rsa(key=credentials.merchant_private_key, hash_name=credentials.hash_name, content=content)
    return signing.md5_upper(signing.join([*pairs, ("key", credentials.gateway_key)]))


def prepay(*, credentials: Credentials, link: Link, request: PrepayRequest, now: dt.datetime) -> Result:
    """SUCCESS with a form (scene page) or a redirect (h5) for the payer's browser. Sends nothing."""
    values.check_number(values.ORDER_ID, request.attempt_no)
    if len(request.notify_url) > URL_MAX_LENGTH:
        raise ValueError(f"bgUrl is longer than {URL_MAX_LENGTH} characters")
    if request.scene not in SCENES:
        return Result(outcome=Outcome.FAILED, code="scene_unsupported")
    if request.amount_fen > MAX_AMOUNT_FEN:
        return Result(outcome=Outcome.FAILED, code="amount_too_large")
    if request.expires_at <= now:
        return Result(outcome=Outcome.FAILED, code="expired")
    action = link.base_url.rstrip("/") + SCENES[request.scene][0]
    fields = request_fields(credentials=credentials, request=request, now=now)
    if request.scene == "h5":
        return Result(outcome=Outcome.SUCCESS, payment={"kind": "redirect", "url": f"{action}?{urlencode(fields)}"})
    return Result(
        outcome=Outcome.SUCCESS,
        payment={"kind": "form", "action": action, "method": "POST", "fields": fields},
    )


def query(*, credentials: Credentials, link: Link, attempt_no: str) -> Result:
    """gatewayOrderQuery by order number; 99bill shows orders that were paid, and reasons for all others."""
    values.check_number(values.ORDER_ID, attempt_no)
    fields = {
        "inputCharset": "1",
        "version": "v2.0",
        "signType": query_sign_type(credentials),
        "merchantAcctId": credentials.account_id,
        "queryType": "0",
        "queryMode": "1",
        "requestPage": "1",
        "orderId": attempt_no,
    }

    def work() -> Result:
        data = ask_signed(
            credentials=credentials,
            link=link,
            path=QUERY_PATH,
            fields=signing.pairs_of(fields, signing.ORDER_QUERY_FIELDS),
            answer_order=signing.ORDER_ANSWER_FIELDS,
        )
        return _read(credentials, attempt_no, data)

    return transport.ask("query", attempt_no, work)


def _read(credentials: Credentials, attempt_no: str, data: Mapping[str, object]) -> Result:
    code = values.text_fields(data).get("errCode", "")
    if code == NOT_PAID:
        return Result(outcome=Outcome.PENDING, code=UNPAID)
    if code == UNKNOWN_ORDER:
        return transport.unknown(CODE_NOT_FOUND)
    if code:
        return transport.unknown(f"query_{code}")
    orders = values.rows(data, "orderDetail", "orders")
    if len(orders) != 1 or orders[0].get("orderId") != attempt_no:
        raise AnswerInvalid("number_mismatch")
    order = orders[0]
    check_detail(credentials=credentials, row=order, order=signing.ORDER_DETAIL_FIELDS)
    if order.get("payResult") != PAID:
        return transport.unknown("pay_result_unknown", order.get("payResult", ""))
    return Result(
        outcome=Outcome.SUCCESS,
        provider_no=values.provider_number(order.get("dealId", "")),
        amount_fen=values.fen(order.get("payAmount", "")),
        happened_at=values.compact_moment(order.get("dealTime", "")),
    )


def query_sign_type(credentials: Credentials) -> str:
    return QUERY_SIGN_PKI if credentials.is_pki else SIGN_MD5


def sign_query(*, credentials: Credentials, pairs: list[tuple[str, str]]) -> str:
    """Of the queries: the query key is part of the string for PKI as for MD5."""
    text = signing.join([*pairs, ("key", credentials.query_key)])
    if not credentials.is_pki:
        return signing.md5_upper(text)
    return signing.sign_rsa(
        key=credentials.merchant_private_key, hash_name=credentials.hash_name, content=text.encode()
    )


def ask_signed(
    *,
    credentials: Credentials,
    link: Link,
    path: str,
    fields: list[tuple[str, str]],
    answer_order: tuple[str, ...],
) -> Mapping[str, object]:
    """POSTs a signed JSON question; the answer after its signature and merchant were checked."""
    content = {**dict(fields), "signMsg": sign_query(credentials=credentials, pairs=fields)}
    body = json.dumps(content, ensure_ascii=False).encode()
    data = values.read_object(link.post(path, body=body, content_type=transport.JSON_TYPE))
    head = values.text_fields(data)
    if not is_query_signed(credentials=credentials, row=head, order=answer_order, signature=head.get("signMsg", "")):
        raise AnswerInvalid("answer_unverified")
    if head.get("merchantAcctId") != credentials.account_id:
        raise AnswerInvalid("merchant_mismatch")
    return data


def check_detail(*, credentials: Credentials, row: Mapping[str, str], order: tuple[str, ...]) -> None:
    """A row's own signature: that of the answer does not cover its rows."""
    if not is_query_signed(credentials=credentials, row=row, order=order, signature=row.get("signInfo", "")):
        raise AnswerInvalid("detail_unverified")


def is_query_signed(
    *, credentials: Credentials, row: Mapping[str, str], order: tuple[str, ...], signature: str
) -> bool:
    pairs = signing.pairs_of(row, order)
    if not signing.is_unambiguous(pairs):
        return False
    text = signing.join([*pairs, ("key", credentials.query_key)])
    if not credentials.is_pki:
        return signing.is_same_hex(signing.md5_upper(text), signature)
    return signing.is_signed_rsa(
        key=credentials.platform_public_key,
        hash_name=credentials.hash_name,
        content=text.encode("utf-8", "surrogatepass"),
        signature=signature,
    )

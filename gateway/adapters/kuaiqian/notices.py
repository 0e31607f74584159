"""Notices: of payments a signed GET query string, of payouts a sealed XML body.

Nothing in a payment's notice says when it was sent, and the schedule of retries is unknown, so a repetition is
recognised by the deal's number. A deal concluded longer ago than NOTICE_DAYS is refused: the query settled it long ago.
"""

from __future__ import annotations

import datetime as dt
from urllib.parse import unquote_plus
from xml.sax.saxutils import escape

from gateway.adapters.kuaiqian import envelope, markup, payouts, recharge, signing, values
from gateway.adapters.kuaiqian.credentials import Credentials
from gateway.adapters.kuaiqian.envelope import EnvelopeInvalid
from gateway.adapters.kuaiqian.markup import MarkupInvalid
from gateway.adapters.kuaiqian.values import AnswerInvalid
from gateway.ports import Answer, NoticeFact, NoticeInvalid, NoticeKind, Outcome, Result

NOTICE_DAYS = 7
MAX_FIELDS = 60
PAY_FAILED = "11"
"""payResult; from memory of the documents."""


def read_notice(*, credentials: Credentials, redirect_url: str, body: bytes, now: dt.datetime) -> NoticeFact:
    """A payment's when it is a query string, a payout's when it is XML. Raises NoticeInvalid and nothing else."""
    if body.lstrip()[:1] == b"<":
        return _read_payout(credentials, body)
    return _read_payment(credentials, redirect_url, body, now)


def success_text(redirect_url: str) -> Answer:
    return _text("1", redirect_url, 200)


def failure_text(redirect_url: str = "") -> Answer:
    return _text("0", redirect_url, 500)


def _text(result: str, redirect_url: str, status: int) -> Answer:
    text = f"<result>{result}</result><redirecturl>{escape(redirect_url)}</redirecturl>"
    return Answer(status=status, content_type="text/html; charset=utf-8", body=text.encode())


# --- Payments ---------------------------------------------------------------------------------------------------------


def _read_payment(credentials: Credentials, redirect_url: str, body: bytes, now: dt.datetime) -> NoticeFact:
    fields = read_query(body)
    _verify(credentials, fields)
    try:
        if not signing.is_unambiguous(signing.pairs_of(fields, signing.NOTICE_FIELDS)):
            raise AnswerInvalid("fields_ambiguous")
        if fields.get("merchantAcctId") != credentials.account_id:
            raise AnswerInvalid("merchant_mismatch")
        number = fields.get("orderId", "")
        if not values.ORDER_ID.fullmatch(number):
            raise AnswerInvalid("number_malformed")
        moment = values.compact_moment(fields.get("dealTime", ""))
        if now - moment > dt.timedelta(days=NOTICE_DAYS):
            raise AnswerInvalid("stale")
        deal_no = values.provider_number(fields.get("dealId", ""))
        result = _read_result(fields, deal_no, moment)
    except AnswerInvalid as invalid:
        raise NoticeInvalid(invalid.reason, is_signed=True) from invalid
    return NoticeFact(
        event_id=f"deal-{deal_no}-{fields['payResult']}",
        kind=NoticeKind.PAYMENT,
        number=number,
        result=result,
        answer=success_text(redirect_url),
    )


def _read_result(fields: dict[str, str], deal_no: str, moment: dt.datetime) -> Result:
    """PENDING for a failed try: the order stays open for another one (redoFlag 0) until its time is over."""
    state = fields.get("payResult", "")
    if state == PAY_FAILED:
        return Result(outcome=Outcome.PENDING, code="pay_failed", message=fields.get("errCode", "")[:256])
    if state != recharge.PAID:
        raise AnswerInvalid("pay_result_unknown")
    return Result(
        outcome=Outcome.SUCCESS,
        provider_no=deal_no,
        amount_fen=values.fen(fields.get("payAmount", "")),
        happened_at=moment,
    )


def read_query(body: bytes) -> dict[str, str]:
    """The fields of a raw query string, decoded once; of a name that occurs twice the last one counts."""
    try:
        parts = body.decode("ascii").split("&")
    except UnicodeDecodeError as error:
        raise NoticeInvalid("query_malformed") from error
    if len(parts) > MAX_FIELDS:
        raise NoticeInvalid("query_malformed")
    fields: dict[str, str] = {}
    for part in parts:
        name, _, value = part.partition("=")
        try:
            fields[unquote_plus(name, errors="strict")] = unquote_plus(value, errors="strict")
        except UnicodeDecodeError as error:
            raise NoticeInvalid("query_malformed") from error
    return fields


def _verify(credentials: Credentials, fields: dict[str, str]) -> None:
    signature = fields.get("signMsg", "")
    if not signature or not fields.get("orderId"):
        raise NoticeInvalid("fields_missing")
    if fields.get("signType") != credentials.sign_type:
        raise NoticeInvalid("signature_type_unknown")  # never the weaker kind because the sender says so
    pairs = signing.pairs_of(fields, signing.NOTICE_FIELDS)
    if credentials.is_pki:
        is_right = signing.is_signed_rsa(
            key=credentials.platform_public_key,
            hash_name=credentials.hash_name,
            content=signing.join(pairs).encode(),
            signature=signature,
        )
    else:
        wanted = signing.md5_upper(signing.join([*pairs, ("key", credentials.gateway_key)]))
        is_right = signing.is_same_hex(wanted, signature)
    if not is_right:
        raise NoticeInvalid("signature_invalid")


# --- Payouts ----------------------------------------------------------------------------------------------------------


def _read_payout(credentials: Credentials, body: bytes) -> NoticeFact:
    keys = payouts.keys_of(credentials)
    try:
        root = markup.parse(body)
        if root.name != "notifyrequest":
            raise NoticeInvalid("content_unknown")
        sealed = root.child("notifyRequestBody").child("sealDataType")
        plain = envelope.unseal(keys=keys, sealed=sealed)
    except MarkupInvalid as invalid:
        raise NoticeInvalid(invalid.reason) from invalid
    except EnvelopeInvalid as invalid:
        raise NoticeInvalid("signature_invalid") from invalid
    try:
        content = markup.parse(plain)
        if content.name != "pay2banknotify":
            raise AnswerInvalid("content_unknown")
        if content.value("membercode") != credentials.member_code:
            raise AnswerInvalid("merchant_mismatch")
        number, status = content.value("merchant_id"), content.value("status")
        if not values.PAYOUT_ID.fullmatch(number):
            raise AnswerInvalid("number_malformed")
        result = payouts.read_state(
            status=status,
            provider_no=content.value("order_seq_id"),
            amount=content.value("amt"),
            end_date=content.value("end_date"),
            message=content.value("error_msg"),
        )
        if result.outcome is Outcome.UNKNOWN:
            raise AnswerInvalid("state_unknown")
    except (AnswerInvalid, MarkupInvalid) as invalid:
        raise NoticeInvalid(invalid.reason, is_signed=True) from invalid
    return NoticeFact(
        event_id=f"payout-{result.provider_no}-{status}",
        kind=NoticeKind.PAYOUT,
        number=number,
        result=result,
        answer=_sealed_answer(credentials, keys, plain),
    )


def _sealed_answer(credentials: Credentials, keys: envelope.Keys, plain: bytes) -> Answer:
    """`isReceived` 1, with what was received sealed back."""
    text = markup.DECLARATION + markup.element(
        "notifyResponse",
        markup.element("notifyHead", payouts.head_fields(credentials)),
        markup.element("notifyResponseBody", envelope.seal(keys=keys, plain=plain), markup.texts({"isReceived": "1"})),
    )
    return Answer(status=200, content_type="text/xml; charset=utf-8", body=text.encode())

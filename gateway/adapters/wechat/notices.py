"""Notices: verified, decrypted, read.

Sources: design `providers.md` 1.1, 3. The SDK's `callback()` is not used: for an unknown serial it fetches certificates
over the network, i.e. anybody's forgery would make us call out, and it has no window of time. Its signature check and
decryption are, behind the checks that need no cryptography.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any

from wechatpayv3.utils import aes_decrypt, rsa_verify

from gateway.adapters.wechat.payments import OUT_REFUND_NO, OUT_TRADE_NO, PaymentCalls, read_refund
from gateway.adapters.wechat.payouts import OUT_BILL_NO, PayoutCalls
from gateway.adapters.wechat.values import AnswerMismatch, read_object, read_text
from gateway.ports import Answer, NoticeFact, NoticeInvalid, NoticeKind, Outcome, Result

NOTICE_WINDOW_SECONDS = 300
"""Older (or newer) notices are refused, as the official SDKs do."""
SIGNATURE_TYPE = "WECHATPAY2-SHA256-RSA2048"
PROBE_PREFIX = "WECHATPAY/SIGNTEST/"
"""Signatures by which WeChat tests whether we verify; they must be refused."""
ALGORITHM = "AEAD_AES_256_GCM"
EVENTS: Mapping[str, NoticeKind] = {
    "TRANSACTION.SUCCESS": NoticeKind.PAYMENT,
    "REFUND.SUCCESS": NoticeKind.REFUND,
    "REFUND.ABNORMAL": NoticeKind.REFUND,
    "REFUND.CLOSED": NoticeKind.REFUND,
    "MCHTRANSFER.BILL.FINISHED": NoticeKind.PAYOUT,
}

_EVENT_ID = re.compile(r"[0-9A-Za-z_\-]{1,64}", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


def decrypt_resource(*, apiv3_key: str, nonce: str, associated_data: str, ciphertext: str) -> str:
    """The plain text of an AEAD_AES_256_GCM resource; NoticeInvalid for whatever does not decrypt."""
    try:
        plain = aes_decrypt(nonce=nonce, ciphertext=ciphertext, associated_data=associated_data, apiv3_key=apiv3_key)
    except Exception as error:  # the SDK and cryptography raise many kinds for odd nonces, base64, keys, text
        raise NoticeInvalid("content_undecryptable", is_signed=True) from error
    if not isinstance(plain, str):
        raise NoticeInvalid("content_undecryptable", is_signed=True)
    return plain


class NoticeCalls(PaymentCalls, PayoutCalls):
    """gateway.ports.NoticeReader."""

    def read_notice(self, *, headers: Mapping[str, str], body: bytes, now: dt.datetime) -> NoticeFact:
        """See gateway.ports.NoticeReader. Raises NoticeInvalid and nothing else, whatever the bytes are."""
        text = self._verified_text(headers, body, now)
        try:
            return self._read_verified(text)
        except AnswerMismatch as mismatch:
            raise NoticeInvalid(mismatch.reason, is_signed=True) from mismatch

    def _verified_text(self, headers: Mapping[str, str], body: bytes, now: dt.datetime) -> str:
        signing = {name.lower(): value for name, value in headers.items()}
        timestamp = signing.get("wechatpay-timestamp", "")
        nonce = signing.get("wechatpay-nonce", "")
        signature = signing.get("wechatpay-signature", "")
        serial = signing.get("wechatpay-serial", "")
        signature_type = signing.get("wechatpay-signature-type", "")
        if not (timestamp and nonce and signature and serial and signature_type):
            raise NoticeInvalid("headers_missing")
        if signature_type != SIGNATURE_TYPE:
            raise NoticeInvalid("signature_type_unknown")
        if signature.startswith(PROBE_PREFIX):
            raise NoticeInvalid("signature_probe")
        if serial != self._credentials.platform_public_key_id:
            raise NoticeInvalid("serial_unknown")
        if not _TIMESTAMP.fullmatch(timestamp):
            raise NoticeInvalid("timestamp_malformed")
        if abs(int(now.timestamp()) - int(timestamp)) >= NOTICE_WINDOW_SECONDS:
            raise NoticeInvalid("stale")
        try:
            text = body.decode("utf-8")
            is_right = rsa_verify(timestamp, nonce, text, signature, self._public_key)
        except Exception as error:  # lone surrogates, odd base64, …: a forgery may be anything, it must only fail
            raise NoticeInvalid("signature_malformed") from error
        if is_right is not True:
            raise NoticeInvalid("signature_invalid")
        return text

    def _read_verified(self, text: str) -> NoticeFact:
        notice = read_object(text)
        event_id = read_text(notice, "id")
        kind = EVENTS.get(read_text(notice, "event_type"))
        if kind is None:
            raise AnswerMismatch("event_type_unknown")
        if not _EVENT_ID.fullmatch(event_id):
            raise AnswerMismatch("event_id_malformed")
        resource = notice.get("resource")
        if not isinstance(resource, dict) or notice.get("resource_type") != "encrypt-resource":
            raise AnswerMismatch("resource_malformed")
        if resource.get("algorithm") != ALGORITHM:
            raise AnswerMismatch("algorithm_unknown")
        associated = resource.get("associated_data") or ""
        plain = decrypt_resource(
            apiv3_key=self._credentials.apiv3_key,
            nonce=read_text(resource, "nonce"),
            associated_data=associated if isinstance(associated, str) else "",
            ciphertext=read_text(resource, "ciphertext"),
        )
        data = read_object(plain)
        number, result = self._read_resource(kind, data)
        if result.outcome is Outcome.UNKNOWN:
            raise AnswerMismatch("state_unknown")
        return NoticeFact(event_id=event_id, kind=kind, number=number, result=result)

    def _read_resource(self, kind: NoticeKind, data: Mapping[str, Any]) -> tuple[str, Result]:
        if kind is NoticeKind.PAYMENT:
            number = read_text(data, "out_trade_no")
            if not OUT_TRADE_NO.fullmatch(number):
                raise AnswerMismatch("number_malformed")
            return number, self._read_payment(data, self._find_receiver(number))
        if kind is NoticeKind.PAYOUT:
            self._check_merchant(data, fields=("mchid",))
            number = read_text(data, "out_bill_no")
            if not OUT_BILL_NO.fullmatch(number):
                raise AnswerMismatch("number_malformed")
            return number, self._read_transfer(data, payout_no=number)
        receiver = self._find_receiver(read_text(data, "out_trade_no")) if "out_trade_no" in data else None
        self._check_merchant(data, fields=("mchid",), receiver=receiver)
        number = read_text(data, "out_refund_no")
        if not OUT_REFUND_NO.fullmatch(number):
            raise AnswerMismatch("number_malformed")
        return number, read_refund(data, status_field="refund_status", refund_no=number)

    @staticmethod
    def success_answer() -> Answer:
        """204 without a body, as the documents ask since 2024."""
        return Answer(status=204, content_type="application/json", body=b"")

    @staticmethod
    def failure_answer(message: str) -> Answer:
        """500 and WeChat's failure text; WeChat sends the notice again on its schedule."""
        text = json.dumps({"code": "FAIL", "message": message[:64]}, ensure_ascii=False)
        return Answer(status=500, content_type="application/json", body=text.encode("utf-8", "replace"))

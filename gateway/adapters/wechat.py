"""WeChat Pay API v3, direct merchant, with the SDK wechatpayv3 2.0.4 in public-key mode.

Sources: WeChat's merchant documents (pay.weixin.qq.com/doc/v3/merchant) and design `providers.md` 1.1, 2, 3. What the
SDK leaves to its user is done here: base address, time-outs, the age of notices, merchant and application of every
answer, and the mapping of all that can happen to four outcomes. The SDK verifies the signature of 2xx answers only, so
an error answer decides nothing but the refusal of a prepay: "already paid" and all else are settled by a query.

The SDK's `callback()` is not used: for an unknown serial it fetches certificates over the network, i.e. anybody's
forgery would make us call out. Its signature check and decryption are, behind the checks that need no cryptography.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import structlog
from celery.exceptions import SoftTimeLimitExceeded
from wechatpayv3 import WeChatPay, WeChatPayType
from wechatpayv3.utils import aes_decrypt, load_public_key, rsa_verify

from foundation import clock
from foundation.money import is_amount_fen
from gateway.ports import (
    CODE_ABNORMAL,
    CODE_ALREADY_PAID,
    CODE_NOT_FOUND,
    Answer,
    NoticeFact,
    NoticeInvalid,
    NoticeKind,
    Outcome,
    PrepayRequest,
    RefundRequest,
    Result,
)

logger = structlog.get_logger("gateway.wechat")

SUBJECT_MAX_BYTES = 127
"""`description`: string(127), counted by WeChat in UTF-8 bytes."""
REASON_MAX_BYTES = 80
"""`reason` of a refund: string(80)."""
NOTICE_WINDOW_SECONDS = 300
"""Older (or newer) notices are refused, as the official SDKs do."""
CURRENCY = "CNY"
SIGNATURE_TYPE = "WECHATPAY2-SHA256-RSA2048"
PROBE_PREFIX = "WECHATPAY/SIGNTEST/"
"""Signatures by which WeChat tests whether we verify; they must be refused."""
ALGORITHM = "AEAD_AES_256_GCM"
APIV3_KEY_BYTES = 32
UNVERIFIED = "failed to verify the signature"
"""Text of the SDK's bare Exception."""

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
UNKNOWN_NUMBER = frozenset({"ORDER_NOT_EXIST", "ORDERNOTEXIST", "RESOURCE_NOT_EXISTS"})
PAID_ALREADY = frozenset({"ORDERPAID", "ORDER_PAID"})
EVENTS: Mapping[str, NoticeKind] = {
    "TRANSACTION.SUCCESS": NoticeKind.PAYMENT,
    "REFUND.SUCCESS": NoticeKind.REFUND,
    "REFUND.ABNORMAL": NoticeKind.REFUND,
    "REFUND.CLOSED": NoticeKind.REFUND,
}

_OUT_TRADE_NO = re.compile(r"[0-9A-Za-z_\-|*]{6,32}", re.ASCII)
_OUT_REFUND_NO = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}", re.ASCII)
_EVENT_ID = re.compile(r"[0-9A-Za-z_\-]{1,64}", re.ASCII)
_PROVIDER_NO = re.compile(r"[0-9A-Za-z_\-]{1,64}", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, kw_only=True)
class WechatConfig:
    """`credentials_file`: JSON with the keys of Credentials; key files are named relative to it."""

    base_url: str
    credentials_file: str
    connect_timeout_seconds: float
    read_timeout_seconds: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Credentials:
    """One merchant's secrets; never printed."""

    mchid: str
    appid: str
    merchant_serial_no: str
    merchant_private_key: str
    apiv3_key: str
    platform_public_key_id: str
    platform_public_key: str


class AddressNotSettable(Exception):
    """The SDK does not keep its address where the adapter sets it; nothing may be sent anywhere."""


class AnswerMismatch(Exception):
    """A signed content that is not about what we asked, or not of the documented form. `reason` is machine text."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def read_credentials(credentials_file: str) -> Credentials:
    """Reads the JSON file and the two key files; OSError or ValueError when something is missing or empty."""
    path = Path(credentials_file)
    data = json.loads(path.read_text(encoding="utf-8"))
    try:
        credentials = Credentials(
            mchid=str(data["mchid"]),
            appid=str(data["appid"]),
            merchant_serial_no=str(data["merchant_serial_no"]),
            merchant_private_key=(path.parent / data["merchant_private_key_file"]).read_text(encoding="ascii"),
            apiv3_key=str(data["apiv3_key"]),
            platform_public_key_id=str(data["platform_public_key_id"]),
            platform_public_key=(path.parent / data["platform_public_key_file"]).read_text(encoding="ascii"),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path.name} lacks {error}") from error
    if not all(vars(credentials).values()) or len(credentials.apiv3_key.encode()) != APIV3_KEY_BYTES:
        raise ValueError(f"{path.name}: a value is empty, or the APIv3 key has not {APIV3_KEY_BYTES} bytes")
    return credentials


def build_client(config: WechatConfig, credentials: Credentials) -> WeChatPay:
    """The SDK's client, pointed at the configured address. No network. The only use of a private attribute."""
    client = WeChatPay(
        wechatpay_type=WeChatPayType.NATIVE,
        mchid=credentials.mchid,
        private_key=credentials.merchant_private_key,
        cert_serial_no=credentials.merchant_serial_no,
        appid=credentials.appid,
        apiv3_key=credentials.apiv3_key,
        public_key=credentials.platform_public_key,
        public_key_id=credentials.platform_public_key_id,
        timeout=(config.connect_timeout_seconds, config.read_timeout_seconds),
    )
    if not isinstance(getattr(client._core, "_gate_way", None), str):
        raise AddressNotSettable("wechatpayv3 has no _core._gate_way any more: the address cannot be set")
    client._core._gate_way = config.base_url.rstrip("/")
    return client


def cut_utf8(text: str, limit_bytes: int) -> str:
    """`text` in one line, cut so that it has at most `limit_bytes` UTF-8 bytes and no broken character."""
    line = _UNPRINTABLE.sub(" ", text).strip()
    return line.encode("utf-8", "replace")[:limit_bytes].decode("utf-8", "ignore")


def decrypt_resource(*, apiv3_key: str, nonce: str, associated_data: str, ciphertext: str) -> str:
    """The plain text of an AEAD_AES_256_GCM resource; NoticeInvalid for whatever does not decrypt."""
    try:
        plain = aes_decrypt(nonce=nonce, ciphertext=ciphertext, associated_data=associated_data, apiv3_key=apiv3_key)
    except Exception as error:  # the SDK and cryptography raise many kinds for odd nonces, base64, keys, text
        raise NoticeInvalid("content_undecryptable", is_signed=True) from error
    if not isinstance(plain, str):
        raise NoticeInvalid("content_undecryptable", is_signed=True)
    return plain


class WechatAdapter:
    """gateway.ports.PaymentChannel for WeChat Pay v3. Holds no connection; one instance serves all threads."""

    def __init__(self, config: WechatConfig) -> None:
        self._credentials = read_credentials(config.credentials_file)
        try:
            self._public_key = load_public_key(self._credentials.platform_public_key)
            self._client = build_client(config, self._credentials)
        except AddressNotSettable:
            raise
        except Exception as error:  # the SDK raises bare exceptions for keys it cannot load
            raise ValueError("a key file holds no usable key") from error

    # --- Calls ------------------------------------------------------------------------------------------------------

    def prepay(self, request: PrepayRequest) -> Result:
        """POST /v3/pay/transactions/{native,h5,jsapi}; scene page shows a native code on a page."""
        _check_number(_OUT_TRADE_NO, request.attempt_no)
        scenes: dict[str, tuple[WeChatPayType, dict[str, Any]]] = {
            "native": (WeChatPayType.NATIVE, {}),
            "page": (WeChatPayType.NATIVE, {}),
            "h5": (
                WeChatPayType.H5,
                {"scene_info": {"payer_client_ip": request.payer_ip, "h5_info": {"type": "Wap"}}},
            ),
            "jsapi": (WeChatPayType.JSAPI, {"payer": {"openid": request.payer_id}}),
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
            lambda: self._client.pay(
                description=cut_utf8(request.subject, SUBJECT_MAX_BYTES) or request.attempt_no,
                out_trade_no=request.attempt_no,
                amount={"total": request.amount_fen, "currency": CURRENCY},
                time_expire=expiry.isoformat(timespec="seconds"),
                notify_url=request.notify_url,
                pay_type=pay_type,
                **more,
            ),
            read,
            errors=dict.fromkeys(PREPAY_REFUSALS, Outcome.FAILED),
        )

    def query(self, *, attempt_no: str) -> Result:
        """GET /v3/pay/transactions/out-trade-no/{out_trade_no}."""
        _check_number(_OUT_TRADE_NO, attempt_no)

        def read(data: Mapping[str, Any]) -> Result:
            if data.get("out_trade_no") != attempt_no:
                raise AnswerMismatch("number_mismatch")
            return self._read_payment(data)

        return self._ask("query", attempt_no, lambda: self._client.query(out_trade_no=attempt_no), read)

    def close(self, *, attempt_no: str) -> Result:
        """POST /v3/pay/transactions/out-trade-no/{out_trade_no}/close, answered by 204 without a body."""
        _check_number(_OUT_TRADE_NO, attempt_no)
        return self._ask(
            "close",
            attempt_no,
            lambda: self._client.close(out_trade_no=attempt_no),
            lambda data: Result(outcome=Outcome.SUCCESS, code="closed"),
            errors=dict.fromkeys(PAID_ALREADY, Outcome.FAILED),
        )

    def refund(self, request: RefundRequest) -> Result:
        """POST /v3/refund/domestic/refunds; the same out_refund_no refunds once however often it is sent."""
        _check_number(_OUT_TRADE_NO, request.attempt_no)
        _check_number(_OUT_REFUND_NO, request.refund_no)

        def read(data: Mapping[str, Any]) -> Result:
            result = _read_refund(data, status_field="status", refund_no=request.refund_no)
            if data.get("out_trade_no") != request.attempt_no or result.amount_fen != request.amount_fen:
                raise AnswerMismatch("number_or_amount_mismatch")
            return result

        return self._ask(
            "refund",
            request.refund_no,
            lambda: self._client.refund(
                out_refund_no=request.refund_no,
                out_trade_no=request.attempt_no,
                amount={"refund": request.amount_fen, "total": request.paid_fen, "currency": CURRENCY},
                reason=cut_utf8(request.reason, REASON_MAX_BYTES),
                notify_url=request.notify_url,
            ),
            read,
        )

    def query_refund(self, *, refund_no: str) -> Result:
        """GET /v3/refund/domestic/refunds/{out_refund_no}."""
        _check_number(_OUT_REFUND_NO, refund_no)
        return self._ask(
            "query_refund",
            refund_no,
            lambda: self._client.query_refund(out_refund_no=refund_no),
            lambda data: _read_refund(data, status_field="status", refund_no=refund_no),
        )

    def _ask(
        self,
        call: str,
        number: str,
        send: Callable[[], tuple[int, Any]],
        read: Callable[[Mapping[str, Any]], Result],
        errors: Mapping[str, Outcome] | None = None,
    ) -> Result:
        """One call. `read` sees the content of a signed 2xx; `errors`: the error codes that are certain."""
        try:
            status, text = send()
        except SoftTimeLimitExceeded:
            raise
        except requests.Timeout as error:
            result = Result(outcome=Outcome.UNKNOWN, code="timeout", message=type(error).__name__)
        except requests.RequestException as error:
            result = Result(outcome=Outcome.UNKNOWN, code="network_error", message=type(error).__name__)
        except Exception as error:  # the SDK raises a bare Exception for a bad signature, others for odd headers
            code = "answer_unverified" if str(error) == UNVERIFIED else "call_failed"
            result = Result(outcome=Outcome.UNKNOWN, code=code, message=repr(error)[:200])
        else:
            result = _read_answer(call, status, text, read, errors or {})
        if result.outcome is Outcome.UNKNOWN:
            logger.warning("wechat call undecided", call=call, number=number, code=result.code, reason=result.message)
        return result

    def _payment(self, scene: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """api.md's `payment` from a prepay answer; for jsapi with the signature the client passes on."""
        if scene == "jsapi":
            package = f"prepay_id={_text(data, 'prepay_id')}"
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
            return {"kind": "redirect", "url": _text(data, "h5_url")}
        return {"kind": "code_url", "code_url": _text(data, "code_url")}

    def _read_payment(self, data: Mapping[str, Any]) -> Result:
        """A transaction of the query or of a notice; AnswerMismatch when it is not ours or not as documented."""
        self._check_merchant(data, fields=("mchid", "appid"))
        state = _text(data, "trade_state")
        outcome = TRADE_STATES.get(state, Outcome.UNKNOWN)
        message = str(data.get("trade_state_desc") or "")[:256]
        if outcome is not Outcome.SUCCESS:
            return Result(outcome=outcome, code=state.lower()[:64], message=message)
        return Result(
            outcome=outcome,
            message=message,
            provider_no=_provider_number(data, "transaction_id"),
            amount_fen=_amount(data, "total", must_name_currency=True),
            happened_at=_moment(_text(data, "success_time")),
        )

    def _check_merchant(self, data: Mapping[str, Any], fields: tuple[str, ...]) -> None:
        for field in fields:
            if data.get(field) != getattr(self._credentials, field):
                raise AnswerMismatch(f"{field}_mismatch")

    # --- Notices ----------------------------------------------------------------------------------------------------

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
        notice = _object(text)
        event_id = _text(notice, "id")
        kind = EVENTS.get(_text(notice, "event_type"))
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
            nonce=_text(resource, "nonce"),
            associated_data=associated if isinstance(associated, str) else "",
            ciphertext=_text(resource, "ciphertext"),
        )
        data = _object(plain)
        number, result = self._read_resource(kind, data)
        if result.outcome is Outcome.UNKNOWN:
            raise AnswerMismatch("state_unknown")
        return NoticeFact(event_id=event_id, kind=kind, number=number, result=result)

    def _read_resource(self, kind: NoticeKind, data: Mapping[str, Any]) -> tuple[str, Result]:
        if kind is NoticeKind.PAYMENT:
            number = _text(data, "out_trade_no")
            if not _OUT_TRADE_NO.fullmatch(number):
                raise AnswerMismatch("number_malformed")
            return number, self._read_payment(data)
        self._check_merchant(data, fields=("mchid",))
        number = _text(data, "out_refund_no")
        if not _OUT_REFUND_NO.fullmatch(number):
            raise AnswerMismatch("number_malformed")
        return number, _read_refund(data, status_field="refund_status", refund_no=number)

    @staticmethod
    def success_answer() -> Answer:
        """204 without a body, as the documents ask since 2024."""
        return Answer(status=204, content_type="application/json", body=b"")

    @staticmethod
    def failure_answer(message: str) -> Answer:
        """500 and WeChat's failure text; WeChat sends the notice again on its schedule."""
        text = json.dumps({"code": "FAIL", "message": message[:64]}, ensure_ascii=False)
        return Answer(status=500, content_type="application/json", body=text.encode("utf-8", "replace"))


def _check_number(pattern: re.Pattern[str], number: str) -> None:
    """A number of ours that WeChat cannot take is our bug; it would also end up in a path."""
    if not pattern.fullmatch(number):
        raise ValueError(f"not a number WeChat takes: {number!r}")


def _read_answer(
    call: str,
    status: int,
    text: Any,
    read: Callable[[Mapping[str, Any]], Result],
    errors: Mapping[str, Outcome],
) -> Result:
    """An HTTP answer of the SDK: 2xx are signed. A body that is not what the documents say is UNKNOWN."""
    try:
        if status == 204 and call == "close":
            return read({})
        if status == 200:
            return read(_object(text))
        data = _object(text)
    except AnswerMismatch as mismatch:
        code = mismatch.reason if status == 200 else f"http_{status}"
        return Result(outcome=Outcome.UNKNOWN, code=code, message=f"{call} answered {status}")
    code, message = str(data.get("code") or f"http_{status}"), str(data.get("message") or "")[:256]
    if status >= 500 or status == 429:
        return Result(outcome=Outcome.UNKNOWN, code=code.lower()[:64], message=message)
    if code in UNKNOWN_NUMBER:
        return Result(outcome=Outcome.UNKNOWN, code=CODE_NOT_FOUND, message=message)
    plain_code = CODE_ALREADY_PAID if code in PAID_ALREADY else code.lower()[:64]
    return Result(outcome=errors.get(code, Outcome.UNKNOWN), code=plain_code, message=message)


def _read_refund(data: Mapping[str, Any], *, status_field: str, refund_no: str) -> Result:
    """A refund of the API (`status`) or of a notice (`refund_status`)."""
    if data.get("out_refund_no") != refund_no:
        raise AnswerMismatch("number_mismatch")
    state = _text(data, status_field)
    outcome = REFUND_STATES.get(state, Outcome.UNKNOWN)
    amount_fen = _amount(data, "refund", must_name_currency=False)
    moment = _moment(_text(data, "success_time")) if outcome is Outcome.SUCCESS else None
    return Result(
        outcome=outcome,
        code=REFUND_CODES.get(state, "" if outcome is not Outcome.UNKNOWN else state.lower()[:64]),
        message=str(data.get("user_received_account") or "")[:256],
        provider_no=_provider_number(data, "refund_id"),
        amount_fen=amount_fen,
        happened_at=moment,
    )


def _object(text: Any) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise AnswerMismatch("json_malformed") from error
    if not isinstance(data, dict):
        raise AnswerMismatch("json_malformed")
    return data


def _text(data: Mapping[str, Any], field: str) -> str:
    value = data.get(field)
    if not isinstance(value, str) or not value:
        raise AnswerMismatch(f"{field}_missing")
    return value


def _provider_number(data: Mapping[str, Any], field: str) -> str:
    number = _text(data, field)
    if not _PROVIDER_NO.fullmatch(number):
        raise AnswerMismatch(f"{field}_malformed")
    return number


def _amount(data: Mapping[str, Any], field: str, *, must_name_currency: bool) -> int:
    """A positive integer of fen in CNY. Refund notices name no currency; a named one must be CNY everywhere."""
    amount = data.get("amount")
    if not isinstance(amount, dict):
        raise AnswerMismatch("amount_missing")
    if amount.get("currency", "" if must_name_currency else CURRENCY) != CURRENCY:
        raise AnswerMismatch("currency_mismatch")
    value: Any = amount.get(field)
    if not is_amount_fen(value):
        raise AnswerMismatch("amount_malformed")
    return int(value)


def _moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise AnswerMismatch("time_malformed") from error
    if moment.tzinfo is None:
        raise AnswerMismatch("time_malformed")
    return moment

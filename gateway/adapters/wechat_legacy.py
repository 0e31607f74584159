"""企业付款 of WeChat Pay v2 (payment document chapter 14_2, query 14_3): a payout that needs no confirmation.

Closed to new merchants since 2025-01: set up only where a merchant still has it, as a channel code of its own, so that
a payout is queried where it was sent. Sources: design `providers.md` 4 and the chapters it cites. XML over TLS with
our certificate; the answers carry no signature (one that does is checked), the server's certificate vouches for them.
SYSTEMERROR, time-outs, unreadable answers and every code not listed here mean: unknown, ask with the same
partner_trade_no, never another one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import re
import secrets
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import requests
import structlog

from foundation import clock
from foundation.money import is_amount_fen
from gateway.adapters.wechat.values import AnswerMismatch, check_number, cut_utf8
from gateway.ports import CODE_NOT_FOUND, Outcome, PayoutRequest, Result

logger = structlog.get_logger("gateway.wechat_legacy")

PAY_PATH = "/mmpaymkttransfers/promotion/transfers"
QUERY_PATH = "/mmpaymkttransfers/gettransferinfo"
MAX_ANSWER_BYTES = 64 * 1024
DESCRIPTION_MAX_BYTES = 100
SIGN_TYPES = ("MD5", "HMAC-SHA256")
"""The product takes MD5; HMAC-SHA256 is for merchants whose contract says so, and is named in the request then."""
API_KEY_LENGTH = 32
REFUSALS = frozenset(
    {
        "NO_AUTH",
        "AMOUNT_LIMIT",
        "PARAM_ERROR",
        "OPENID_ERROR",
        "NAME_MISMATCH",
        "SIGN_ERROR",
        "XML_ERROR",
        "CA_ERROR",
        "V2_ACCOUNT_SIMPLE_BAN",
        "PARAM_IS_NOT_UTF8",
        "RECV_ACCOUNT_NOT_ALLOWED",
        "PAY_CHANNEL_NOT_ALLOWED",
    }
)
"""Of content, contract or payee. Not NOTENOUGH, FREQ_LIMIT, SENDNUM_LIMIT, MONEY_LIMIT: the same number may pay yet;
not SEND_FAILED and FATAL_ERROR: the documents send one to the query."""
STATUSES: Mapping[str, Outcome] = {
    "SUCCESS": Outcome.SUCCESS,
    "PROCESSING": Outcome.PENDING,
    "FAILED": Outcome.FAILED,
}

_PARTNER_TRADE_NO = re.compile(r"[0-9A-Za-z]{1,32}", re.ASCII)
_DECLARATION = re.compile(r"<!(?!\[CDATA\[)")
"""A document type, an entity, a comment: none has a place in an answer."""
_PROVIDER_NO = re.compile(r"[0-9A-Za-z_\-]{1,64}", re.ASCII)
_FEN = re.compile(r"[1-9][0-9]{0,13}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class WechatLegacyConfig:
    """`credentials_file`: JSON with the keys of LegacyCredentials; files in it are named relative to it."""

    base_url: str
    credentials_file: str
    connect_timeout_seconds: float
    read_timeout_seconds: float


@dataclass(frozen=True, kw_only=True, repr=False)
class LegacyCredentials:
    """One merchant's secrets; never printed. `authority_file`: who signs the server's certificate, "" the usual ones.

    `caller_ip`: what spbill_create_ip says.
    """

    mchid: str
    appid: str
    api_key: str
    client_certificate_file: str
    client_private_key_file: str
    authority_file: str
    caller_ip: str
    sign_type: str


def read_legacy_credentials(credentials_file: str) -> LegacyCredentials:
    """OSError or ValueError when something is missing."""
    path = Path(credentials_file)
    data = json.loads(path.read_text(encoding="utf-8"))
    try:
        files = {
            name: str(path.parent / data[name]) if data.get(name) else ""
            for name in ("client_certificate_file", "client_private_key_file", "authority_file")
        }
        credentials = LegacyCredentials(
            mchid=str(data["mchid"]),
            appid=str(data["appid"]),
            api_key=str(data["api_key"]),
            caller_ip=str(data.get("caller_ip", "127.0.0.1")),
            sign_type=str(data.get("sign_type", "MD5")),
            **files,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} lacks {error}") from error
    for name in filter(None, files.values()):
        Path(name).read_bytes()
    if not (files["client_certificate_file"] and files["client_private_key_file"]):
        raise ValueError(f"{path.name}: the client certificate or its key is missing")
    if len(credentials.api_key) != API_KEY_LENGTH or credentials.sign_type not in SIGN_TYPES:
        raise ValueError(f"{path.name}: the API key has not {API_KEY_LENGTH} characters, or sign_type is unknown")
    return credentials


def sign_parameters(parameters: Mapping[str, object], *, api_key: str, sign_type: str = "MD5") -> str:
    """Over all that are not empty, but `sign`, in the order of their names; upper-case hexadecimal."""
    parts = [f"{name}={parameters[name]}" for name in sorted(parameters) if name != "sign" and parameters[name] != ""]
    message = "&".join([*parts, f"key={api_key}"]).encode()
    if sign_type == "HMAC-SHA256":
        return hmac.new(api_key.encode(), message, hashlib.sha256).hexdigest().upper()
    return hashlib.md5(message, usedforsecurity=False).hexdigest().upper()


def is_signed(parameters: Mapping[str, str], *, api_key: str, sign_type: str = "MD5") -> bool:
    """False for a wrong `sign` and for none."""
    expected = sign_parameters(parameters, api_key=api_key, sign_type=sign_type)
    return hmac.compare_digest(expected.encode(), parameters.get("sign", "").encode("utf-8", "replace"))


def write_xml(parameters: Mapping[str, str]) -> bytes:
    """`<xml><name>value</name>…</xml>`; what is special in XML is escaped."""
    parts = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in parameters.items())
    return f"<xml>{parts}</xml>".encode()


def read_xml(content: bytes) -> dict[str, str]:
    """A flat document; AnswerMismatch for a declaration, a doubled or nested tag, too much, no UTF-8, or no XML."""
    if len(content) > MAX_ANSWER_BYTES:
        raise AnswerMismatch("xml_too_large")
    try:
        text = content.decode("utf-8")
        if _DECLARATION.search(text):
            raise AnswerMismatch("xml_declaration")
        # It declares nothing, so it has no entities but the five.
        root = ET.fromstring(text)  # noqa: S314 # nosec B314
    except (UnicodeDecodeError, ET.ParseError, ValueError) as error:
        raise AnswerMismatch("xml_malformed") from error
    values: dict[str, str] = {}
    for element in root:
        if element.tag in values or len(element):
            raise AnswerMismatch("xml_malformed")
        values[element.tag] = (element.text or "").strip()
    return values


class WechatLegacyAdapter:
    """gateway.ports.Payout and PayoutQuery. Holds no connection; one instance serves all threads."""

    def __init__(self, config: WechatLegacyConfig) -> None:
        self._config = config
        self._credentials = read_legacy_credentials(config.credentials_file)

    def pay_out(self, request: PayoutRequest) -> Result:
        """POST promotion/transfers; the same partner_trade_no pays once however often it is sent."""
        check_number(_PARTNER_TRADE_NO, request.payout_no)
        credentials = self._credentials
        result = self._ask(
            "pay_out",
            PAY_PATH,
            {
                "mch_appid": credentials.appid,
                "mchid": credentials.mchid,
                "nonce_str": secrets.token_hex(16),
                "partner_trade_no": request.payout_no,
                "openid": request.payee_account,
                "check_name": "FORCE_CHECK" if request.payee_name else "NO_CHECK",
                "re_user_name": request.payee_name,
                "amount": str(request.amount_fen),
                "desc": cut_utf8(request.remark, DESCRIPTION_MAX_BYTES) or request.payout_no,
                "spbill_create_ip": credentials.caller_ip,
            },
        )
        is_refusal = result.outcome is Outcome.UNKNOWN and result.code.upper() in REFUSALS
        if not (is_refusal and request.is_first):
            return result
        known = self.query_payout(payout_no=request.payout_no)
        if known.code != CODE_NOT_FOUND:
            return known
        return Result(outcome=Outcome.FAILED, code=result.code, message=result.message)

    def query_payout(self, *, payout_no: str) -> Result:
        """POST gettransferinfo; its result_code says that it found something, `status` what. 30 days back."""
        check_number(_PARTNER_TRADE_NO, payout_no)
        return self._ask(
            "query_payout",
            QUERY_PATH,
            {
                "appid": self._credentials.appid,
                "mch_id": self._credentials.mchid,
                "nonce_str": secrets.token_hex(16),
                "partner_trade_no": payout_no,
            },
        )

    def _ask(self, call: str, path: str, parameters: Mapping[str, str]) -> Result:
        number = parameters["partner_trade_no"]
        try:
            result = self._read(call, number, self._send(path, parameters))
        except requests.Timeout as error:
            result = Result(outcome=Outcome.UNKNOWN, code="timeout", message=type(error).__name__)
        except requests.RequestException as error:
            result = Result(outcome=Outcome.UNKNOWN, code="network_error", message=type(error).__name__)
        except AnswerMismatch as mismatch:
            result = Result(outcome=Outcome.UNKNOWN, code=mismatch.reason)
        if result.outcome is Outcome.UNKNOWN:
            logger.warning("call undecided", call=call, number=number, code=result.code, reason=result.message)
        return result

    def _send(self, path: str, parameters: Mapping[str, str]) -> dict[str, str]:
        credentials, config = self._credentials, self._config
        filled = {name: value for name, value in parameters.items() if value}
        if credentials.sign_type != "MD5":
            filled["sign_type"] = credentials.sign_type
        filled["sign"] = sign_parameters(filled, api_key=credentials.api_key, sign_type=credentials.sign_type)
        answer = requests.post(
            f"{config.base_url.rstrip('/')}{path}",
            data=write_xml(filled),
            headers={"Content-Type": "text/xml; charset=utf-8"},
            cert=(credentials.client_certificate_file, credentials.client_private_key_file),
            verify=credentials.authority_file or True,
            timeout=(config.connect_timeout_seconds, config.read_timeout_seconds),
            allow_redirects=False,
        )
        if answer.status_code != 200:
            raise AnswerMismatch(f"http_{answer.status_code}")
        values = read_xml(answer.content)
        if "sign" in values and not is_signed(
            values, api_key=credentials.api_key, sign_type=values.get("sign_type") or credentials.sign_type
        ):
            raise AnswerMismatch("answer_unverified")
        return values

    def _read(self, call: str, number: str, values: Mapping[str, str]) -> Result:
        if values.get("return_code") != "SUCCESS":
            return Result(outcome=Outcome.UNKNOWN, code="return_fail", message=values.get("return_msg", "")[:256])
        if values.get("result_code") != "SUCCESS":
            code, message = values.get("err_code", ""), values.get("err_code_des", "")[:256]
            plain = CODE_NOT_FOUND if code == "NOT_FOUND" else (code.lower() or "result_fail")[:64]
            return Result(outcome=Outcome.UNKNOWN, code=plain, message=message)
        merchant = values.get("mchid" if call == "pay_out" else "mch_id")
        if (values.get("partner_trade_no"), merchant) != (number, self._credentials.mchid):
            raise AnswerMismatch("number_or_merchant_mismatch")
        return _read_paid(values) if call == "pay_out" else _read_status(values)


def _read_paid(values: Mapping[str, str]) -> Result:
    return Result(
        outcome=Outcome.SUCCESS,
        provider_no=_provider_no(values, "payment_no"),
        happened_at=_moment(values.get("payment_time", "")),
    )


def _read_status(values: Mapping[str, str]) -> Result:
    status, amount = values.get("status", ""), values.get("payment_amount", "")
    outcome = STATUSES.get(status, Outcome.UNKNOWN)
    if not _FEN.fullmatch(amount) or not is_amount_fen(int(amount)):
        raise AnswerMismatch("amount_malformed")
    is_paid = outcome is Outcome.SUCCESS
    return Result(
        outcome=outcome,
        code="" if is_paid else (status.lower() or "status_missing")[:64],
        message=values.get("reason", "")[:256],
        provider_no=_provider_no(values, "detail_id") if is_paid else "",
        amount_fen=int(amount),
        happened_at=_moment(values.get("payment_time", "")) if is_paid else None,
    )


def _provider_no(values: Mapping[str, str], name: str) -> str:
    number = values.get(name, "")
    if not _PROVIDER_NO.fullmatch(number):
        raise AnswerMismatch(f"{name}_malformed")
    return number


def _moment(text: str) -> dt.datetime:
    """`2026-11-23 12:00:00`, Beijing."""
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=clock.BUSINESS_ZONE)
    except ValueError as error:
        raise AnswerMismatch("time_malformed") from error

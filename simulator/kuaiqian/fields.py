"""Reads requests as strictly as their documents allow; Refusal carries 99bill's error code."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from simulator.clock import BEIJING

REQUEST_FIELDS = [
    "inputCharset",
    "pageUrl",
    "bgUrl",
    "version",
    "language",
    "signType",
    "merchantAcctId",
    "payerName",
    "payerContactType",
    "payerContact",
    "payerIdType",
    "payerId",
    "payerIP",
    "orderId",
    "orderAmount",
    "orderTime",
    "orderTimestamp",
    "productName",
    "productNum",
    "productId",
    "productDesc",
    "ext1",
    "ext2",
    "payType",
    "bankId",
    "period",
    "cardIssuer",
    "cardNum",
    "remitType",
    "remitCode",
    "redoFlag",
    "pid",
    "submitType",
    "orderTimeOut",
    "extDataType",
    "extDataContent",
]
"""In the order in which they are signed."""
ORDER_QUERY = [
    "inputCharset",
    "version",
    "signType",
    "merchantAcctId",
    "queryType",
    "queryMode",
    "startTime",
    "endTime",
    "requestPage",
    "orderId",
]
REFUND = ["merchant_id", "version", "command_type", "orderid", "amount", "postdate", "txOrder"]
REFUND_QUERY = [
    "version",
    "signType",
    "merchantAcctId",
    "startDate",
    "endDate",
    "orderId",
    "requestPage",
    "rOrderId",
    "seqId",
    "extra_output_column",
]
PAYOUT = [
    "orderId",
    "bankName",
    "branchName",
    "creditName",
    "mobile",
    "bankAcctId",
    "amount",
    "province",
    "city",
    "remark",
    "feeAction",
]
PAYOUT_OPTIONAL = ["branchName", "mobile", "province", "city", "remark", "feeAction"]
PAYOUT_QUERY = ["targetPage", "pageSize", "startDate", "endDate", "orderId"]
CARD = [
    "merchantId",
    "terminalId",
    "customerId",
    "externalRefNumber",
    "pan",
    "cardHolderName",
    "idType",
    "cardHolderId",
    "phoneNO",
    "bindType",
]
CARD_OPTIONAL = ["cardHolderName", "idType", "cardHolderId", "phoneNO"]
MAX_ORDER_SECONDS = 30 * 86_400.0
CLOCK_SECONDS = 300.0
"""How far in the future `orderTime` may lie."""
_ORDER_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_\-]{0,49}", re.ASCII)
_PAYOUT_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_]{0,39}", re.ASCII)
_FEN = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)
_YUAN = re.compile(r"([0-9]{1,8})(?:\.([0-9]{1,2}))?", re.ASCII)
_CARD_NO = re.compile(r"[0-9]{12,19}", re.ASCII)


class Refusal(Exception):
    """`code` of the protocol in question; the text says what is wrong."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A checked gateway request. `expires_at`: seconds since 1970."""

    order_id: str
    amount_fen: int
    subject: str
    notify_url: str
    expires_at: float


@dataclass(frozen=True, kw_only=True)
class PayoutOrder:
    """A checked pay2BankOrder."""

    order_id: str
    amount_fen: int
    account: str
    name: str
    remark: str


def read_arrival(fields: Mapping[str, str], *, is_mobile: bool, now: float) -> Arrival:
    """The signature has been checked before."""
    fixed = {
        "inputCharset": "1",
        "version": "mobile1.0" if is_mobile else "v2.0",
        "language": "1",
        "redoFlag": "0",
    }
    for name, value in fixed.items():
        if fields.get(name) != value:
            raise Refusal("10003", f"{name} must be {value}")
    if not _ORDER_ID.fullmatch(fields.get("orderId", "")):
        raise Refusal("10008", "orderId is not of the documented form")
    if not _FEN.fullmatch(fields.get("orderAmount", "")):
        raise Refusal("10009", "orderAmount must be a positive integer of fen, at most 10 digits")
    if not fields.get("productName", "").strip() or len(fields["productName"]) > 256:
        raise Refusal("10010", "productName is missing or too long")
    if not fields.get("payType"):
        raise Refusal("10011", "payType is missing")
    ordered_at = read_compact(fields.get("orderTime", ""), "orderTime")
    if ordered_at > now + CLOCK_SECONDS:
        raise Refusal("10012", "orderTime lies in the future")
    life = fields.get("orderTimeOut", "")
    if life and (not life.isascii() or not life.isdigit() or not 0 < int(life) <= MAX_ORDER_SECONDS):
        raise Refusal("10013", "orderTimeOut must be seconds")
    return Arrival(
        order_id=fields["orderId"],
        amount_fen=int(fields["orderAmount"]),
        subject=fields["productName"],
        notify_url=_url(fields.get("bgUrl", "")),
        expires_at=ordered_at + (float(life) if life else MAX_ORDER_SECONDS),
    )


def read_json(content: bytes, known: list[str], signature: str, *, may_lack: tuple[str, ...] = ()) -> dict[str, str]:
    """A JSON object of texts with `signature` among them; unknown and missing fields are refused."""
    try:
        data: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Refusal("00000", "the body is not JSON") from error
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise Refusal("00000", "the body must be an object of texts")
    return check_names(data, known, signature, may_lack=may_lack)


def check_names(
    data: Mapping[str, str], known: list[str], signature: str, *, may_lack: tuple[str, ...] = ()
) -> dict[str, str]:
    names = set(data)
    if extra := names - {*known, signature}:
        raise Refusal("00000", f"unknown fields: {', '.join(sorted(extra))}")
    if missing := {*known, signature} - set(may_lack) - {name for name in names if data[name]}:
        raise Refusal("00000", f"missing fields: {', '.join(sorted(missing))}")
    return dict(data)


def read_order_id(text: str) -> str:
    if not _ORDER_ID.fullmatch(text):
        raise Refusal("10008", "the number is not of the documented form")
    return text


def read_yuan(text: str) -> int:
    """Positive fen."""
    match = _YUAN.fullmatch(text)
    amount_fen = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0")) if match else 0
    if amount_fen <= 0:
        raise Refusal("AMOUNT", "amount must be yuan with at most two decimals")
    return amount_fen


def read_payout(fields: Mapping[str, str]) -> PayoutOrder:
    if not _PAYOUT_ID.fullmatch(fields["orderId"]):
        raise Refusal("1101", "orderId is not of the documented form")
    if not _FEN.fullmatch(fields["amount"]):
        raise Refusal("1102", "amount must be a positive integer of fen")
    if (
        not fields["bankName"].strip()
        or not fields["creditName"].strip()
        or not _CARD_NO.fullmatch(fields["bankAcctId"])
    ):
        raise Refusal("1103", "bankName, creditName or bankAcctId is missing or malformed")
    if fields["feeAction"] not in ("", "0", "1"):
        raise Refusal("1104", "feeAction must be 0 or 1")
    return PayoutOrder(
        order_id=fields["orderId"],
        amount_fen=int(fields["amount"]),
        account=fields["bankAcctId"],
        name=fields["creditName"],
        remark=fields["remark"],
    )


def read_period(fields: Mapping[str, str]) -> tuple[float, float]:
    """Of a payout query: at most seven days."""
    start, end = (_long(fields[name], name) for name in ("startDate", "endDate"))
    if not 0 <= end - start <= 7 * 86_400:
        raise Refusal("1201", "the period must be at most seven days")
    size = fields["pageSize"]
    if fields["targetPage"] != "1" or not size.isascii() or not size.isdigit() or not 1 <= int(size) <= 20:
        raise Refusal("1202", "targetPage must be 1, pageSize 1 to 20")
    return start, end


def read_days(fields: Mapping[str, str]) -> tuple[float, float]:
    """Of a refund query: [start of the first, end of the last day), at most thirty days."""
    try:
        first, last = (
            dt.datetime.strptime(fields[name], "%Y%m%d").replace(tzinfo=BEIJING) for name in ("startDate", "endDate")
        )
    except ValueError as error:
        raise Refusal("10007", "startDate and endDate must be yyyyMMdd") from error
    if not dt.timedelta(0) <= last - first < dt.timedelta(days=30):
        raise Refusal("10007", "the period must be at most thirty days")
    return first.timestamp(), (last + dt.timedelta(days=1)).timestamp()


def read_compact(text: str, name: str) -> float:
    """Seconds since 1970 of `yyyyMMddHHmmss`."""
    try:
        if len(text) != 14 or not text.isascii() or not text.isdigit():
            raise ValueError
        return dt.datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING).timestamp()
    except ValueError as error:
        raise Refusal("10012", f"{name} must be yyyyMMddHHmmss") from error


def _long(text: str, name: str) -> float:
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=BEIJING).timestamp()
    except ValueError as error:
        raise Refusal("1201", f"{name} must be yyyy-MM-dd HH:mm:ss") from error


def _url(text: str) -> str:
    if len(text) > 256:
        raise Refusal("10014", "bgUrl is longer than 256 characters")
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        is_right = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))
    except ValueError:
        is_right, host = False, ""
    if not is_right or not host:
        raise Refusal("10014", "bgUrl must be an https address (http for this machine)")
    return text


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""Reads biz_content as strictly as Alipay's documents are; ParameterInvalid names the field."""

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

MAX_AMOUNT_FEN = 100_000_000_00
MAX_CONTENT_BYTES = 64 * 1024
MIN_TRANSFER_FEN = 10
NUMBER = re.compile(r"[0-9A-Za-z_]{1,64}", re.ASCII)
_YUAN = re.compile(r"(\d{1,9})(?:\.(\d{1,2}))?", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_USER_ID = re.compile(r"2088\d{12}", re.ASCII)
_REFUSED_IN_SUBJECT = re.compile(r"[/=&]")

TRADE = frozenset({"out_trade_no", "total_amount", "subject", "time_expire", "body", "product_code", "seller_id"})
EITHER = frozenset({"out_trade_no", "trade_no"})
TRANSFER = frozenset({"out_biz_no", "trans_amount", "product_code", "biz_scene", "order_title", "payee_info", "remark"})
PAYEE = frozenset({"identity", "identity_type", "name"})


class ParameterInvalid(Exception):
    """The text says what is wrong with which field."""

    def __init__(self, *, field: str, issue: str) -> None:
        self.field = field
        super().__init__(f"{field}{issue}")


@dataclass(frozen=True, kw_only=True)
class Trade:
    """A checked order. `expires_at`: seconds since 1970, None when the merchant left it out."""

    out_trade_no: str
    total_fen: int
    subject: str
    expires_at: float | None


@dataclass(frozen=True, kw_only=True)
class RefundFields:
    out_trade_no: str
    trade_no: str
    refund_fen: int
    out_request_no: str


@dataclass(frozen=True, kw_only=True)
class Transfer:
    out_biz_no: str
    amount_fen: int
    identity: str
    name: str
    remark: str


def read_content(text: str) -> dict[str, Any]:
    """A JSON object."""
    if len(text.encode("utf-8", "replace")) > MAX_CONTENT_BYTES:
        raise ParameterInvalid(field="biz_content", issue="过大")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParameterInvalid(field="biz_content", issue="不是合法的 JSON") from error
    if not isinstance(content, dict):
        raise ParameterInvalid(field="biz_content", issue="不是 JSON 对象")
    return content


def read_trade(content: Mapping[str, Any], *, product: str) -> Trade:
    """`product`: the product_code that must be named; "" when none need be."""
    _only(content, TRADE)
    subject = _text(content, "subject", maximum=256)
    if _REFUSED_IN_SUBJECT.search(subject):
        raise ParameterInvalid(field="subject", issue="不可使用特殊字符")
    if product and content.get("product_code") != product:
        raise ParameterInvalid(field="product_code", issue=f"必须是 {product}")
    return Trade(
        out_trade_no=_number(content, "out_trade_no"),
        total_fen=_amount(content, "total_amount"),
        subject=subject,
        expires_at=read_moment(content["time_expire"], "time_expire") if "time_expire" in content else None,
    )


def read_either(content: Mapping[str, Any], *, more: frozenset[str] = frozenset()) -> tuple[str, str]:
    """(out_trade_no, trade_no); trade_no counts when both are given."""
    _only(content, EITHER | more)
    trade_no = _text(content, "trade_no", maximum=64) if "trade_no" in content else ""
    if trade_no:
        return "", trade_no
    return _number(content, "out_trade_no"), ""


def read_refund(content: Mapping[str, Any]) -> RefundFields:
    out_trade_no, trade_no = read_either(
        content, more=frozenset({"refund_amount", "out_request_no", "refund_reason", "query_options"})
    )
    if "refund_reason" in content:
        _text(content, "refund_reason", maximum=256)
    return RefundFields(
        out_trade_no=out_trade_no,
        trade_no=trade_no,
        refund_fen=_amount(content, "refund_amount"),
        out_request_no=_number(content, "out_request_no"),
    )


def read_refund_query(content: Mapping[str, Any]) -> tuple[str, str, str]:
    """(out_trade_no, trade_no, out_request_no)."""
    out_trade_no, trade_no = read_either(content, more=frozenset({"out_request_no", "query_options"}))
    return out_trade_no, trade_no, _number(content, "out_request_no")


def read_transfer(content: Mapping[str, Any]) -> Transfer:
    _only(content, TRANSFER)
    _transfer_product(content)
    _text(content, "order_title", maximum=128)
    payee = content.get("payee_info")
    if not isinstance(payee, dict):
        raise ParameterInvalid(field="payee_info", issue="必填，且必须是对象")
    _only(payee, PAYEE)
    identity = _text(payee, "identity", maximum=64)
    name = _text(payee, "name", maximum=128) if "name" in payee else ""
    identity_type = payee.get("identity_type")
    is_user_id = bool(_USER_ID.fullmatch(identity))
    if identity_type not in ("ALIPAY_USER_ID", "ALIPAY_LOGON_ID") or is_user_id != (identity_type == "ALIPAY_USER_ID"):
        raise ParameterInvalid(field="identity_type", issue="与 identity 不符")
    if identity_type == "ALIPAY_LOGON_ID" and not name:
        raise ParameterInvalid(field="name", issue="在登录号方式下必填")
    amount_fen = _amount(content, "trans_amount")
    if amount_fen < MIN_TRANSFER_FEN:
        raise ParameterInvalid(field="trans_amount", issue="最低 0.1 元")
    return Transfer(
        out_biz_no=_number(content, "out_biz_no"),
        amount_fen=amount_fen,
        identity=identity,
        name=name,
        remark=_text(content, "remark", maximum=200) if "remark" in content else "",
    )


def read_transfer_query(content: Mapping[str, Any]) -> str:
    """The merchant's number."""
    _only(content, frozenset({"out_biz_no", "product_code", "biz_scene"}))
    _transfer_product(content)
    return _number(content, "out_biz_no")


def read_bill(content: Mapping[str, Any]) -> tuple[str, dt.date]:
    _only(content, frozenset({"bill_type", "bill_date"}))
    bill_type, day = content.get("bill_type"), content.get("bill_date")
    if bill_type not in ("trade", "signcustomer"):
        raise ParameterInvalid(field="bill_type", issue="必须是 trade 或 signcustomer")
    if not isinstance(day, str) or not _DAY.fullmatch(day):
        raise ParameterInvalid(field="bill_date", issue="格式为 yyyy-MM-dd（此处不支持月账单）")
    try:
        return bill_type, dt.date.fromisoformat(day)
    except ValueError as error:
        raise ParameterInvalid(field="bill_date", issue="不是存在的日期") from error


def read_moment(value: object, field: str) -> float:
    """Beijing time as seconds since 1970."""
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ParameterInvalid(field=field, issue="格式为 yyyy-MM-dd HH:mm:ss")
    try:
        return dt.datetime.fromisoformat(value).replace(tzinfo=BEIJING).timestamp()
    except ValueError as error:
        raise ParameterInvalid(field=field, issue="不是存在的时间") from error


def is_address(value: str) -> bool:
    """https, or http on this machine."""
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        return bool(host) and parts.port != 0 and (parts.scheme == "https" or _is_local_http(parts.scheme, host))
    except ValueError:
        return False


def _is_local_http(scheme: str, host: str) -> bool:
    if scheme != "http":
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _transfer_product(content: Mapping[str, Any]) -> None:
    if content.get("product_code") != "TRANS_ACCOUNT_NO_PWD":
        raise ParameterInvalid(field="product_code", issue="必须是 TRANS_ACCOUNT_NO_PWD")
    if content.get("biz_scene") != "DIRECT_TRANSFER":
        raise ParameterInvalid(field="biz_scene", issue="必须是 DIRECT_TRANSFER")


def _only(content: Mapping[str, Any], names: frozenset[str]) -> None:
    if unknown := set(content) - names:
        raise ParameterInvalid(field=", ".join(sorted(unknown)), issue="不是该接口的参数")


def _text(content: Mapping[str, Any], name: str, *, maximum: int) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ParameterInvalid(field=name, issue="必填，且必须是非空字符串")
    if len(value) > maximum:
        raise ParameterInvalid(field=name, issue=f"超过 {maximum} 个字符")
    return value


def _number(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not NUMBER.fullmatch(value):
        raise ParameterInvalid(field=name, issue="必须由 1–64 个字母、数字、下划线组成")
    return value


def _amount(content: Mapping[str, Any], name: str) -> int:
    """Fen of a text in yuan."""
    value = content.get(name)
    match = _YUAN.fullmatch(value) if isinstance(value, str) else None
    fen = int(match[1]) * 100 + int((match[2] or "0").ljust(2, "0")) if match else 0
    if not 0 < fen <= MAX_AMOUNT_FEN:
        raise ParameterInvalid(field=name, issue="必须是 0.01–100000000 的字符串，最多两位小数")
    return fen

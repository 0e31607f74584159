"""Reads request bodies as strictly as WeChat does; ParameterInvalid names the field."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MAX_AMOUNT_FEN = 100_000_000_00
"""100 million yuan; more than any limit of a real merchant."""
MAX_BODY_BYTES = 64 * 1024
MIN_TRANSFER_FEN = 10
NAME_REQUIRED_FEN = 2000_00
NAME_ALLOWED_FEN = 30
MAX_REMARK_LENGTH = 32
_OUT_BILL_NO = re.compile(r"[0-9A-Za-z]{1,32}", re.ASCII)
_OUT_TRADE_NO = re.compile(r"[0-9A-Za-z_\-|*]{6,32}", re.ASCII)
_OUT_REFUND_NO = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


class ParameterInvalid(Exception):
    """`field` in WeChat's notation, `/body/amount/total`; the text says what is wrong."""

    def __init__(self, *, field: str, issue: str) -> None:
        self.field = field
        super().__init__(issue)


@dataclass(frozen=True, kw_only=True)
class Prepay:
    """A checked native, jsapi or h5 request. `expires_at`: seconds since 1970, None when it was left out.

    `sub_mchid`: whose payment it is when a service provider asks, "" for a merchant's own. `appid` and `mchid` are
    then what it calls sp_appid and sp_mchid.
    """

    appid: str
    mchid: str
    description: str
    out_trade_no: str
    notify_url: str
    total_fen: int
    expires_at: float | None
    sub_mchid: str = ""


@dataclass(frozen=True, kw_only=True)
class RefundFields:
    """A checked refund request; one of `transaction_id` and `out_trade_no` is empty. `notify_url` may be."""

    out_refund_no: str
    transaction_id: str
    out_trade_no: str
    refund_fen: int
    total_fen: int
    notify_url: str
    sub_mchid: str = ""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A checked transfer request; `name` decrypted, "" when it was left out. `notify_url` may be empty."""

    appid: str
    out_bill_no: str
    scene_id: str
    openid: str
    name: str
    amount_fen: int
    remark: str
    notify_url: str
    report: tuple[tuple[str, str], ...]


def read_body(content: bytes) -> dict[str, Any]:
    """A JSON object."""
    if len(content) > MAX_BODY_BYTES:
        raise ParameterInvalid(field="/body", issue="请求体过大")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ParameterInvalid(field="/body", issue="请求体不是合法的 JSON") from error
    if not isinstance(body, dict):
        raise ParameterInvalid(field="/body", issue="请求体不是 JSON 对象")
    return body


def read_prepay(body: Mapping[str, Any], *, scene: str, is_partner: bool = False) -> Prepay:
    """`scene`: native, jsapi (the payer's openid is needed) or h5 (the payer's address and the kind of page are)."""
    prefix = "sp_" if is_partner else ""
    if is_partner:
        _text(body, "sub_appid", maximum_bytes=32, is_required=False)
    if scene == "jsapi":
        _text(_part(body, "payer"), f"{prefix}openid", maximum_bytes=128, at="/body/payer")
    elif scene == "h5":
        info = _part(body, "scene_info")
        _text(info, "payer_client_ip", maximum_bytes=45, at="/body/scene_info")
        kind = _text(_part(info, "h5_info", at="/body/scene_info"), "type", maximum_bytes=32, at="/body/scene_info")
        if kind not in ("iOS", "Android", "Wap"):
            raise ParameterInvalid(field="/body/scene_info/h5_info/type", issue="必须是 iOS、Android 或 Wap")
    total = _amount(body, "total")
    _text(body, "attach", maximum_bytes=128, is_required=False)
    return Prepay(
        appid=_text(body, f"{prefix}appid", maximum_bytes=32),
        mchid=_text(body, f"{prefix}mchid", maximum_bytes=32),
        sub_mchid=_text(body, "sub_mchid", maximum_bytes=32) if is_partner else "",
        description=_text(body, "description", maximum_bytes=127),
        out_trade_no=_number(body, "out_trade_no", _OUT_TRADE_NO),
        notify_url=_url(body, is_required=True),
        total_fen=total,
        expires_at=_time(body, "time_expire"),
    )


def read_refund(body: Mapping[str, Any]) -> RefundFields:
    transaction_id = _text(body, "transaction_id", maximum_bytes=32, is_required=False)
    out_trade_no = _number(body, "out_trade_no", _OUT_TRADE_NO) if "out_trade_no" in body else ""
    if bool(transaction_id) == bool(out_trade_no):
        raise ParameterInvalid(field="/body/out_trade_no", issue="transaction_id 和 out_trade_no 必须二选一")
    _text(body, "reason", maximum_bytes=80, is_required=False)
    return RefundFields(
        out_refund_no=_number(body, "out_refund_no", _OUT_REFUND_NO),
        transaction_id=transaction_id,
        out_trade_no=out_trade_no,
        refund_fen=_amount(body, "refund"),
        total_fen=_amount(body, "total"),
        notify_url=_url(body, is_required=False),
        sub_mchid=_text(body, "sub_mchid", maximum_bytes=32, is_required=False),
    )


def read_close(body: Mapping[str, Any], *, is_partner: bool = False) -> tuple[str, str]:
    """The mchid (a service provider's sp_mchid) and its sub_mchid, "" for a merchant's own payment."""
    if is_partner:
        return _text(body, "sp_mchid", maximum_bytes=32), _text(body, "sub_mchid", maximum_bytes=32)
    return _text(body, "mchid", maximum_bytes=32), ""


def read_transfer(body: Mapping[str, Any], *, decrypt: Callable[[str], str]) -> Transfer:
    """`decrypt` raises ValueError. The name must be there from NAME_REQUIRED_FEN on, and must not below 0.3 yuan."""
    amount_fen = body.get("transfer_amount")
    if type(amount_fen) is not int or not MIN_TRANSFER_FEN <= amount_fen <= MAX_AMOUNT_FEN:
        raise ParameterInvalid(field="/body/transfer_amount", issue="必须是整数，单位为分，单笔不低于 0.1 元")
    remark = _text(body, "transfer_remark", maximum_bytes=4 * MAX_REMARK_LENGTH)
    if len(remark) > MAX_REMARK_LENGTH:
        raise ParameterInvalid(field="/body/transfer_remark", issue=f"超过 {MAX_REMARK_LENGTH} 个字符")
    sealed = _text(body, "user_name", maximum_bytes=1024, is_required=False)
    try:
        name = decrypt(sealed) if sealed else ""
    except ValueError as error:
        raise ParameterInvalid(field="/body/user_name", issue="解密失败") from error
    if (amount_fen >= NAME_REQUIRED_FEN and not name) or (amount_fen < NAME_ALLOWED_FEN and name):
        raise ParameterInvalid(field="/body/user_name", issue="2,000 元起必须传入姓名，0.3 元以下不能传入")
    return Transfer(
        appid=_text(body, "appid", maximum_bytes=32),
        out_bill_no=_number(body, "out_bill_no", _OUT_BILL_NO),
        scene_id=_text(body, "transfer_scene_id", maximum_bytes=36),
        openid=_text(body, "openid", maximum_bytes=64),
        name=name,
        amount_fen=amount_fen,
        remark=remark,
        notify_url=_url(body, is_required=False),
        report=_report(body),
    )


def _report(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    infos = body.get("transfer_scene_report_infos")
    if not isinstance(infos, list) or not all(isinstance(info, dict) for info in infos):
        raise ParameterInvalid(field="/body/transfer_scene_report_infos", issue="需传入转账场景报备信息，请检查")
    at = "/body/transfer_scene_report_infos"
    return tuple(
        (_text(info, "info_type", maximum_bytes=60, at=at), _text(info, "info_content", maximum_bytes=128, at=at))
        for info in infos
    )


def _part(body: Mapping[str, Any], name: str, *, at: str = "/body") -> Mapping[str, Any]:
    part = body.get(name)
    if not isinstance(part, dict):
        raise ParameterInvalid(field=f"{at}/{name}", issue="必填，且必须是对象")
    return part


def _text(
    body: Mapping[str, Any], name: str, *, maximum_bytes: int, is_required: bool = True, at: str = "/body"
) -> str:
    value = body.get(name)
    if value is None and not is_required:
        return ""
    if not isinstance(value, str) or (is_required and not value.strip()):
        raise ParameterInvalid(field=f"{at}/{name}", issue="必填，且必须是非空字符串")
    try:
        length_bytes = len(value.encode())
    except UnicodeEncodeError as error:
        raise ParameterInvalid(field=f"{at}/{name}", issue="不是合法的 UTF-8") from error
    if length_bytes > maximum_bytes:
        raise ParameterInvalid(field=f"{at}/{name}", issue=f"超过 {maximum_bytes} 字节")
    return value


def _number(body: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ParameterInvalid(field=f"/body/{name}", issue=f"必须符合 {pattern.pattern}")
    return value


def _amount(body: Mapping[str, Any], name: str) -> int:
    amount = body.get("amount")
    if not isinstance(amount, dict):
        raise ParameterInvalid(field="/body/amount", issue="必填，且必须是对象")
    if amount.get("currency", "CNY") != "CNY":
        raise ParameterInvalid(field="/body/amount/currency", issue="只支持 CNY")
    value = amount.get(name)
    if type(value) is not int or not 0 < value <= MAX_AMOUNT_FEN:
        raise ParameterInvalid(field=f"/body/amount/{name}", issue="必须是大于 0 的整数，单位为分")
    return value


def _time(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            return dt.datetime.fromisoformat(value).timestamp()
        except ValueError as error:
            raise ParameterInvalid(field=f"/body/{name}", issue="不是存在的时间") from error
    raise ParameterInvalid(field=f"/body/{name}", issue="必须是带时区的 RFC 3339 时间")


def _url(body: Mapping[str, Any], *, is_required: bool) -> str:
    value = _text(body, "notify_url", maximum_bytes=255, is_required=is_required)
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        is_right = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))
        is_right = is_right and bool(host) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right:
        raise ParameterInvalid(field="/body/notify_url", issue="必须是 https 地址（本机地址可用 http）")
    if "?" in value or "#" in value:
        raise ParameterInvalid(field="/body/notify_url", issue="不能携带参数")
    return value


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""Values in Alipay's words: yuan texts, Beijing times, numbers. Pure; AnswerMismatch for what is not as documented."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

from foundation.clock import BUSINESS_ZONE
from foundation.money import fen_from_yuan_text, is_amount_fen

CURRENCY = "CNY"

NUMBER_SENT = re.compile(r"[0-9A-Za-z_]{1,64}", re.ASCII)
"""out_trade_no, out_request_no, out_biz_no: at most 64 letters, digits and underscores."""
NUMBER_READ = re.compile(r"[0-9A-Za-z_\-]{1,64}", re.ASCII)
"""What a notice may name: other systems of the merchant also use hyphens, and such a number is only unknown to us."""
PROVIDER_NUMBER = re.compile(r"[0-9A-Za-z_\-]{1,64}", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?", re.ASCII)
_YUAN = re.compile(r"-?\d{1,11}(\.\d{1,2})?", re.ASCII)
_REFUSED_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f/=&{},\"]+")
"""`subject` must not have "/", "=" and "&"; braces confuse the SDK's search for the signed part of an answer, commas
and quotation marks shift the columns of a bill."""


class AnswerMismatch(Exception):
    """A signed content that is not about what we asked, or not of the documented form. `reason` is machine text."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def text(data: Mapping[str, Any], field: str) -> str:
    value = data.get(field)
    if not isinstance(value, str) or not value:
        raise AnswerMismatch(f"{field}_missing")
    return value


def number(data: Mapping[str, Any], field: str, pattern: re.Pattern[str] = PROVIDER_NUMBER) -> str:
    value = text(data, field)
    if not pattern.fullmatch(value):
        raise AnswerMismatch(f"{field}_malformed")
    return value


def expect(data: Mapping[str, Any], field: str, value: str) -> None:
    """The answer must be about what was asked."""
    if data.get(field) != value:
        raise AnswerMismatch(f"{field}_mismatch")


def amount_fen(data: Mapping[str, Any], field: str) -> int:
    """A positive amount given as text in yuan with at most two decimals; a JSON number was a float and is refused."""
    fen = signed_fen(text(data, field), field)
    if not is_amount_fen(fen):
        raise AnswerMismatch(f"{field}_malformed")
    return fen


def signed_fen(yuan: str, field: str) -> int:
    """Exact fen of a yuan text that may be zero or negative."""
    if not _YUAN.fullmatch(yuan):
        raise AnswerMismatch(f"{field}_malformed")
    return fen_from_yuan_text(yuan)


def expect_currency(data: Mapping[str, Any]) -> None:
    """Domestic contracts name no currency; a named one must be CNY."""
    for field in ("trans_currency", "pay_currency", "settle_currency"):
        if (data.get(field) or CURRENCY) != CURRENCY:
            raise AnswerMismatch("currency_mismatch")


def moment(value: str, field: str) -> dt.datetime:
    """`yyyy-MM-dd HH:mm:ss`, Beijing time."""
    if not _MOMENT.fullmatch(value):
        raise AnswerMismatch(f"{field}_malformed")
    try:
        return dt.datetime.fromisoformat(value).replace(tzinfo=BUSINESS_ZONE)
    except ValueError as error:
        raise AnswerMismatch(f"{field}_malformed") from error


def optional_moment(data: Mapping[str, Any], field: str) -> dt.datetime | None:
    """None when the field is left out or empty."""
    return moment(text(data, field), field) if data.get(field) else None


def beijing_text(value: dt.datetime) -> str:
    """`yyyy-MM-dd HH:mm:ss` in Beijing time, whatever the zone of the process."""
    return f"{value.astimezone(BUSINESS_ZONE):%Y-%m-%d %H:%M:%S}"


def plain_text(value: str, *, limit_characters: int) -> str:
    """One line without the characters Alipay (and the SDK) cannot take, cut to the limit."""
    line = _REFUSED_CHARACTERS.sub(" ", value.encode("utf-8", "replace").decode("utf-8")).strip()
    return line[:limit_characters].rstrip()


def check_number(value: str) -> None:
    """A number of ours that Alipay cannot take is our bug."""
    if not NUMBER_SENT.fullmatch(value):
        raise ValueError(f"not a number Alipay takes: {value!r}")

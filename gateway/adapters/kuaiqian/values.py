"""Fields of answers and notices, checked. Pure."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any

from foundation import clock
from foundation.money import fen_from_yuan_text, is_amount_fen

ORDER_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_\-]{0,49}", re.ASCII)
"""orderId: at most 50, starts with a letter or digit."""
PAYOUT_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_]{0,39}", re.ASCII)
"""orderId of a payout. 30 characters are proven by a public sample, the 32 of our numbers are not."""
_PROVIDER_NO = re.compile(r"[0-9A-Za-z_\-]{1,64}", re.ASCII)
_FEN = re.compile(r"[0-9]{1,14}", re.ASCII)
_COMPACT_TIME = re.compile(r"[0-9]{14}", re.ASCII)
_LONG_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class AnswerInvalid(Exception):
    """A content that is not about what we asked, or not of the documented form. `reason` is machine text."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def read_object(content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise AnswerInvalid("json_malformed") from error
    if not isinstance(data, dict):
        raise AnswerInvalid("json_malformed")
    return data


def text_fields(data: Mapping[str, Any]) -> dict[str, str]:
    """Its texts and integers as texts, null as ""; what else is in it is left out."""
    found: dict[str, str] = {}
    for name, value in data.items():
        if value is None:
            found[name] = ""
        elif isinstance(value, str) or type(value) is int:
            found[name] = str(value)
    return found


def rows(data: Mapping[str, Any], *names: str) -> list[dict[str, str]]:
    """The list under the first of the names that is there; an absent or null one is empty."""
    value: Any = next((data[name] for name in names if data.get(name) is not None), [])
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise AnswerInvalid("rows_malformed")
    return [text_fields(row) for row in value]


def fen(text: str) -> int:
    """Positive fen from digits."""
    amount = int(text) if _FEN.fullmatch(text) else 0
    if not is_amount_fen(amount):
        raise AnswerInvalid("amount_malformed")
    return amount


def fen_of_yuan(text: str) -> int:
    """Positive fen from yuan such as "88.8"."""
    try:
        amount = fen_from_yuan_text(text)
    except ValueError as error:
        raise AnswerInvalid("amount_malformed") from error
    if not is_amount_fen(amount):
        raise AnswerInvalid("amount_malformed")
    return amount


def provider_number(text: str) -> str:
    if not _PROVIDER_NO.fullmatch(text):
        raise AnswerInvalid("provider_number_malformed")
    return text


def compact_moment(text: str) -> dt.datetime:
    """`yyyyMMddHHmmss`, Beijing time."""
    return _moment(text, _COMPACT_TIME, "%Y%m%d%H%M%S")


def long_moment(text: str) -> dt.datetime:
    """`yyyy-MM-dd HH:mm:ss`, Beijing time."""
    return _moment(text, _LONG_TIME, "%Y-%m-%d %H:%M:%S")


def _moment(text: str, form: re.Pattern[str], layout: str) -> dt.datetime:
    if not form.fullmatch(text):
        raise AnswerInvalid("time_malformed")
    try:
        return dt.datetime.strptime(text, layout).replace(tzinfo=clock.BUSINESS_ZONE)
    except ValueError as error:
        raise AnswerInvalid("time_malformed") from error


def compact_time(moment: dt.datetime) -> str:
    return f"{moment.astimezone(clock.BUSINESS_ZONE):%Y%m%d%H%M%S}"


def long_time(moment: dt.datetime) -> str:
    return f"{moment.astimezone(clock.BUSINESS_ZONE):%Y-%m-%d %H:%M:%S}"


def cut(text: str, limit_bytes: int) -> str:
    """`text` in one line, cut so that it has at most `limit_bytes` UTF-8 bytes and no broken character."""
    line = _UNPRINTABLE.sub(" ", text).strip()
    return line.encode("utf-8", "replace")[:limit_bytes].decode("utf-8", "ignore")


def check_number(form: re.Pattern[str], number: str) -> None:
    """A number of ours that 99bill cannot take is our bug."""
    if not form.fullmatch(number):
        raise ValueError(f"not a number 99bill takes: {number!r}")

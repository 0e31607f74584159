"""Reads WeChat's JSON values; AnswerMismatch for whatever is not of the documented form. Pure."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any

from foundation.money import is_amount_fen

CURRENCY = "CNY"

_PROVIDER_NO = re.compile(r"[0-9A-Za-z_\-]{1,64}", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class AnswerMismatch(Exception):
    """A signed content that is not about what we asked, or not of the documented form. `reason` is machine text."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def cut_utf8(text: str, limit_bytes: int) -> str:
    """`text` in one line, cut so that it has at most `limit_bytes` UTF-8 bytes and no broken character."""
    line = _UNPRINTABLE.sub(" ", text).strip()
    return line.encode("utf-8", "replace")[:limit_bytes].decode("utf-8", "ignore")


def cut_characters(text: str, limit: int) -> str:
    """`text` in one line of at most `limit` characters."""
    return _UNPRINTABLE.sub(" ", text).strip().encode("utf-8", "replace").decode("utf-8")[:limit]


def check_number(pattern: re.Pattern[str], number: str) -> None:
    """A number of ours that WeChat cannot take is our bug; it would also end up in a path."""
    if not pattern.fullmatch(number):
        raise ValueError(f"not a number WeChat takes: {number!r}")


def read_object(text: Any) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise AnswerMismatch("json_malformed") from error
    if not isinstance(data, dict):
        raise AnswerMismatch("json_malformed")
    return data


def read_text(data: Mapping[str, Any], field: str) -> str:
    value = data.get(field)
    if not isinstance(value, str) or not value:
        raise AnswerMismatch(f"{field}_missing")
    return value


def read_provider_number(data: Mapping[str, Any], field: str) -> str:
    number = read_text(data, field)
    if not _PROVIDER_NO.fullmatch(number):
        raise AnswerMismatch(f"{field}_malformed")
    return number


def read_amount(data: Mapping[str, Any], field: str, *, must_name_currency: bool) -> int:
    """A positive integer of fen in CNY. Refund notices name no currency; a named one must be CNY everywhere."""
    amount = data.get("amount")
    if not isinstance(amount, dict):
        raise AnswerMismatch("amount_missing")
    if amount.get("currency", "" if must_name_currency else CURRENCY) != CURRENCY:
        raise AnswerMismatch("currency_mismatch")
    return read_fen(amount, field)


def read_fen(data: Mapping[str, Any], field: str) -> int:
    value: Any = data.get(field)
    if not is_amount_fen(value):
        raise AnswerMismatch("amount_malformed")
    return int(value)


def read_moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise AnswerMismatch("time_malformed") from error
    if moment.tzinfo is None:
        raise AnswerMismatch("time_malformed")
    return moment

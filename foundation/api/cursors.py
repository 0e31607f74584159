"""Opaque cursors of keyset pages."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

from foundation.errors import InvalidRequest

_EARLIEST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_LATEST = dt.datetime(9000, 1, 1, tzinfo=dt.UTC)
"""Far from the ends of the calendar, where moving to another time zone overflows."""


def encode(values: Sequence[Any]) -> str:
    """The key of the last row shown, as text that a client hands back unchanged."""
    text = json.dumps(list(values), separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str) -> list[Any]:
    """The key again; InvalidRequest (400) for anything that `encode` cannot have made."""
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise bad_cursor() from error
    if not isinstance(values, list) or any(isinstance(value, str) and not value.isascii() for value in values):
        raise bad_cursor()
    return values


def moment(value: Any) -> dt.datetime:
    """The time a cursor carries, in UTC; InvalidRequest unless it is aware and exists in every time zone."""
    try:
        at = dt.datetime.fromisoformat(value)
        if at.tzinfo is None:
            raise bad_cursor()
        in_utc = at.astimezone(dt.UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise bad_cursor() from error
    if not _EARLIEST <= in_utc <= _LATEST:
        raise bad_cursor()
    return in_utc


def bad_cursor() -> InvalidRequest:
    """The one refusal of cursors."""
    return InvalidRequest({"cursor": ["not a cursor of this list"]})

"""Cells as values. Every function raises Unreadable with lower-case machine text and nothing else."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from zoneinfo import ZoneInfo

from foundation.money import is_amount_fen

ZONE = ZoneInfo("Asia/Shanghai")
"""Bills speak of Beijing's days and hours."""
MILLI = 1000
MAX_LINE_BYTES = 64 * 1024
"""A row has some 300 bytes; a file that is one endless line must not be taken into memory."""

_YUAN = re.compile(r"([+-]?)([0-9]{1,13})(?:\.([0-9]{1,5}))?", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d", re.ASCII)


class Unreadable(Exception):
    """A cell or row that cannot be what its column says."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@lru_cache(maxsize=4096)
def milli_fen(text: str) -> int:
    """Yuan with up to five decimals and perhaps a sign, as thousandths of a fen."""
    match = _YUAN.fullmatch(text)
    if match is None:
        raise Unreadable("amount_malformed")
    sign, yuan, decimals = match.groups()
    value = int(yuan) * 100 * MILLI + (int(decimals.ljust(5, "0")) if decimals else 0)
    return -value if sign == "-" else value


def signed_fen(text: str) -> int:
    """Yuan of whole fen, perhaps negative or nothing."""
    fen, rest = divmod(milli_fen(text), MILLI)
    if rest:
        raise Unreadable("amount_not_whole_fen")
    return fen


def amount_fen(text: str) -> int:
    """Yuan, a positive number of whole fen."""
    fen = signed_fen(text)
    if not is_amount_fen(fen):
        raise Unreadable("amount_not_positive")
    return fen


def moment(text: str) -> dt.datetime:
    """ "2026-11-22 10:00:05" of Beijing, aware."""
    if _MOMENT.fullmatch(text) is None:
        raise Unreadable("time_malformed")
    try:
        return dt.datetime.fromisoformat(text).replace(tzinfo=ZONE)
    except ValueError as error:
        raise Unreadable("time_malformed") from error


def number(text: str) -> str:
    """A number of ours or of the provider's: what our columns can hold, at most 64 characters of visible ASCII."""
    if len(text) > 64 or not text.isascii() or not text.isprintable():
        raise Unreadable("number_malformed")
    return text


def lines(stream: Iterable[bytes], *, encoding: str) -> Iterator[tuple[int, str | None, bytes]]:
    """(line number, text, its bytes) of every line that is not blank; None for a text of another encoding."""
    for line_no, raw in enumerate(stream, start=1):
        kept = raw[3:] if line_no == 1 and raw.startswith(b"\xef\xbb\xbf") else raw
        if len(kept) > MAX_LINE_BYTES:
            yield line_no, None, kept[:MAX_LINE_BYTES]
            continue
        try:
            text: str | None = kept.decode(encoding).strip("\r\n")
        except UnicodeDecodeError:
            text = None
        if text is None or text.strip():
            yield line_no, text, kept


def unread_line(raw: bytes, *, code: str) -> str:
    """Why `lines` gave no text for these bytes: `code` for another encoding."""
    return "line_too_long" if len(raw) >= MAX_LINE_BYTES else code

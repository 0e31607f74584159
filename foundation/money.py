"""Money as integer fen (1 yuan = 100 fen); text in yuan only for people and for providers that insist on it.

Pure: no Django, no clock. Source: design `money.md` ("all amounts are integer fen").
"""

from __future__ import annotations

import re

MAX_FEN = 10**13
"""Largest amount any field of ours accepts, in fen (100 billion yuan): far above any order, far below BIGINT."""

_YUAN = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,2}))?")


def yuan_text(fen: int) -> str:
    """Plain yuan with two decimals, "88.88": the form of Alipay's fields and of bills."""
    sign = "-" if fen < 0 else ""
    yuan, rest = divmod(abs(fen), 100)
    return f"{sign}{yuan}.{rest:02d}"


def yuan_display(fen: int) -> str:
    """What a person reads: "¥1,234.50"."""
    sign = "-" if fen < 0 else ""
    yuan, rest = divmod(abs(fen), 100)
    return f"{sign}¥{yuan:,}.{rest:02d}"


def fen_from_yuan_text(text: str) -> int:
    """Exact fen of a yuan text such as "88.8"; raises ValueError for more than two decimals or anything else."""
    match = _YUAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not an amount in yuan: {text!r}")
    sign, yuan, decimals = match.groups()
    fen = int(yuan) * 100 + int((decimals or "0").ljust(2, "0"))
    return -fen if sign else fen


def is_amount_fen(value: object) -> bool:
    """True for a positive integer amount in range; bool, float and text are not amounts."""
    return type(value) is int and 0 < value <= MAX_FEN

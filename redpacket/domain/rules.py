"""What a packet may look like before it is paid. Source: the requirements (红包) and design `money.md`."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from redpacket.domain import split
from redpacket.domain.states import PacketKind

GREETING_MAX_CHARACTERS = 60
DEFAULT_COVER = "classic"
COVERS = (DEFAULT_COVER, "spring", "birthday", "thanks", "team", "wealth")
"""Covers (封面) a client has pictures of; the sender chooses one."""
_PACKET_ID = re.compile(r"[0-9a-f]{32}")
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Co", "Zl", "Zp"})
_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Invisible marks that turn text around: a greeting could look like another one."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Amounts of one share in fen, number of shares of one packet."""

    share_min_fen: int
    share_max_fen: int
    count_max: int


def is_packet_id(text: str) -> bool:
    """True for the form of a packet's id; anything else cannot exist."""
    return _PACKET_ID.fullmatch(text) is not None


def find_problems(*, kind: PacketKind, total_fen: int, count: int, greeting: str, limits: Limits) -> dict[str, str]:
    """What is wrong, by field of the request; empty when the packet may be made."""
    problems: dict[str, str] = {}
    if kind is PacketKind.NORMAL and count != 1:
        problems["count"] = "a normal packet has one share"
    elif not 1 <= count <= limits.count_max:
        problems["count"] = f"must be 1 to {limits.count_max}"
    elif not split.is_splittable(
        total_fen=total_fen, count=count, min_fen=limits.share_min_fen, max_fen=limits.share_max_fen
    ):
        lowest, highest = count * limits.share_min_fen, count * limits.share_max_fen
        problems["total_fen"] = f"must be {lowest} to {highest} for {count} shares"
    if len(greeting) > GREETING_MAX_CHARACTERS:
        problems["greeting"] = f"must not be longer than {GREETING_MAX_CHARACTERS} characters"
    elif any(
        unicodedata.category(character) in _REFUSED_CATEGORIES or character in _DIRECTION_MARKS
        for character in greeting
    ):
        problems["greeting"] = "must not contain control characters"
    return problems

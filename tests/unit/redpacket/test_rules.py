from __future__ import annotations

import pytest

from redpacket.domain.rules import Limits, find_problems, is_packet_id
from redpacket.domain.states import PacketKind

LIMITS = Limits(share_min_fen=1, share_max_fen=20_000, count_max=10_000)


@pytest.mark.parametrize(
    ("kind", "total_fen", "count", "wrong"),
    [
        (PacketKind.NORMAL, 500, 1, set()),
        (PacketKind.NORMAL, 20_000, 1, set()),
        (PacketKind.NORMAL, 20_001, 1, {"total_fen"}),
        (PacketKind.NORMAL, 500, 2, {"count"}),
        (PacketKind.NORMAL, 500, 0, {"count"}),
        (PacketKind.LUCKY, 500, 2, set()),
        (PacketKind.LUCKY, 2, 2, set()),
        (PacketKind.LUCKY, 1, 2, {"total_fen"}),
        (PacketKind.LUCKY, 40_000, 2, set()),
        (PacketKind.LUCKY, 40_001, 2, {"total_fen"}),
        (PacketKind.LUCKY, 10_000, 10_000, set()),
        (PacketKind.LUCKY, 10_001, 10_001, {"count"}),
        (PacketKind.LUCKY, 500, 0, {"count"}),
        (PacketKind.LUCKY, -1, 1, {"total_fen"}),
    ],
)
def test_amounts_and_counts(kind: PacketKind, total_fen: int, count: int, wrong: set[str]) -> None:
    problems = find_problems(kind=kind, total_fen=total_fen, count=count, greeting="", limits=LIMITS)
    assert set(problems) == wrong


@pytest.mark.parametrize(
    ("greeting", "is_good"),
    [
        ("", True),
        ("恭喜发财，大吉大利", True),
        ("发" * 60, True),
        ("发" * 61, False),
        ("family \U0001f468\u200d\U0001f469\u200d\U0001f467", True),
        ("line\nbreak", False),
        ("bell\x07", False),
        ("nul\x00", False),
        ("delete\x7f", False),
        ("half a pair \ud83d", False),
        ("an emoji younger than this Python \U0001fae8", True),
        ("turned \u202e round", False),
        ("line separator \u2028", False),
        ("private \ue000", False),
    ],
)
def test_greetings(greeting: str, is_good: bool) -> None:
    problems = find_problems(kind=PacketKind.NORMAL, total_fen=1, count=1, greeting=greeting, limits=LIMITS)
    assert set(problems) == (set() if is_good else {"greeting"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0" * 32, True), ("0123456789abcdef" * 2, True), ("0" * 31, False), ("0" * 33, False), ("A" * 32, False),
     ("0" * 31 + "}", False), ("0" * 32 + "\n", False), ("", False)],
)  # fmt: skip
def test_packet_ids(text: str, expected: bool) -> None:
    assert is_packet_id(text) is expected

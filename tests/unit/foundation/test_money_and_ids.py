"""Yuan text is exact; ids are ordered, unique and of one shape."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation import clock, ids, money


@given(st.integers(min_value=-money.MAX_FEN, max_value=money.MAX_FEN))
def test_yuan_text_goes_there_and_back(fen: int) -> None:
    assert money.fen_from_yuan_text(money.yuan_text(fen)) == fen


@pytest.mark.parametrize(
    ("text", "fen"), [("0.01", 1), ("88.8", 8880), ("88.88", 8888), ("100", 10000), ("-0.5", -50), (" 1.20 ", 120)]
)
def test_yuan_text_is_read_exactly(text: str, fen: int) -> None:
    assert money.fen_from_yuan_text(text) == fen


@pytest.mark.parametrize("text", ["", "1.234", "1.", ".5", "1,000", "+1", "1e3", "NaN", "1 2", "0x1", "--1"])
def test_other_text_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        money.fen_from_yuan_text(text)


def test_what_people_read() -> None:
    assert money.yuan_display(123450) == "¥1,234.50"
    assert money.yuan_display(-1) == "-¥0.01"


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1", None, money.MAX_FEN + 1])
def test_no_amounts(value: object) -> None:
    assert money.is_amount_fen(value) is False


def test_ids_are_version_7_and_ordered_by_time() -> None:
    first = dt.datetime(2026, 11, 22, 2, 0, tzinfo=dt.UTC)
    found = []
    for step in range(3):
        with clock.frozen(first + dt.timedelta(milliseconds=step)):
            found.append(ids.new_id())
    assert found == sorted(found)
    parsed = uuid.UUID(found[0])
    assert (parsed.version, parsed.variant, len(found[0])) == (7, uuid.RFC_4122, 32)
    assert parsed.int >> 80 == int(first.timestamp() * 1000)


def test_ids_of_one_moment_differ() -> None:
    with clock.frozen(dt.datetime(2026, 11, 22, tzinfo=dt.UTC)):
        assert len({ids.new_id() for _ in range(1000)}) == 1000


def test_the_business_day_is_shanghais() -> None:
    assert clock.business_date(dt.datetime(2026, 11, 21, 15, 59, 59, tzinfo=dt.UTC)) == dt.date(2026, 11, 21)
    assert clock.business_date(dt.datetime(2026, 11, 21, 16, 0, tzinfo=dt.UTC)) == dt.date(2026, 11, 22)

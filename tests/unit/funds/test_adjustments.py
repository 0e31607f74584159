"""Adjustments without a database: typed amounts, canonical content, opposite lines."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.money import MAX_FEN, yuan_display, yuan_text
from funds.domain.adjustments import (
    KIND,
    Content,
    Evidence,
    InvalidAdjustment,
    fen_from_typed_yuan,
    opposite_lines,
)
from funds.domain.entries import Bucket, Category, Line, employee_account, platform_account

OWNER = employee_account(7, 3)
LOSS = platform_account("5090")


def line(
    account: object, amount_fen: int, category: Category = Category.PLATFORM, bucket: Bucket = Bucket.AVAILABLE
) -> Line:
    return Line(account=account, bucket=bucket, amount_fen=amount_fen, category=category)  # type: ignore[arg-type]


MANY = tuple(line(platform_account("1110", f"c{n}"), 1 if n % 2 else -1) for n in range(52))


def content(**changes: object) -> Content:
    values: dict = {
        "number": "ADJ20261122ABCDEFGH",
        "reason": "Charged twice on 22 November.",
        "order_no": "RC1",
        "reverses_id": None,
        "lines": (line(LOSS, -100), line(OWNER, 100, Category.INCOME)),
        "evidence": (Evidence(digest="a" * 64, name="receipt.pdf"),),
        "proposed_by_id": 5,
    }
    return Content(**(values | changes))


@given(st.integers(0, MAX_FEN))
def test_every_amount_reads_back_however_it_is_written(fen: int) -> None:
    assert fen_from_typed_yuan(yuan_text(fen)) == fen
    assert fen_from_typed_yuan(yuan_display(fen)) == fen


@pytest.mark.parametrize(
    ("typed", "fen"),
    [
        ("1", 100),
        ("1.5", 150),
        ("0.01", 1),
        (" 1,234.56 ", 123_456),
        ("¥88", 8_800),
        ("￥ 88.80", 8_880),
        ("1234567.89", 123_456_789),
        ("0.29", 29),
        ("100,000,000,000", MAX_FEN),
    ],
)
def test_typed_yuan_is_exact(typed: str, fen: int) -> None:
    assert fen_from_typed_yuan(typed) == fen


@pytest.mark.parametrize(
    "typed",
    ["", " ", ".5", "5.", "1.234", "1e3", "-1", "+1", "1,23", "1,2345", ",123", "12,34.00", "1 000", "NaN", "inf",
     "１２", "0x10", "1_000", "¥", "1.2.3", "100,000,000,000.01", "9999999999999", "1,000,000,000,000,000"],
)  # fmt: skip
def test_anything_else_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match=r"not an amount|larger than"):
        fen_from_typed_yuan(typed)


def test_the_entry_is_keyed_by_the_number_and_names_the_order() -> None:
    entry = content().entry(actor="staff:9")
    assert (entry.kind, entry.reference, entry.order_no, entry.source_no) == (
        KIND, "ADJ20261122ABCDEFGH", "RC1", "ADJ20261122ABCDEFGH",
    )  # fmt: skip
    assert (entry.actor, entry.memo, entry.total_fen, entry.holds) == (
        "staff:9", "Charged twice on 22 November.", 100, (),
    )  # fmt: skip


def test_any_change_changes_the_canonical_bytes() -> None:
    first, second = content().lines
    variants = [
        content(),
        content(number="ADJ20261122ABCDEFGJ"),
        content(reason="Charged twice on 22 November!"),
        content(reason="charged twice on 22 November."),
        content(order_no=""),
        content(reverses_id=1),
        content(lines=(second, first)),
        content(lines=(line(LOSS, -101), line(OWNER, 101, Category.INCOME))),
        content(lines=(line(LOSS, -100), line(OWNER, 100, Category.RECHARGE))),
        content(lines=(line(LOSS, -100), line(employee_account(7, 4), 100, Category.INCOME))),
        content(lines=(line(LOSS, -100), line(employee_account(8, 3), 100, Category.INCOME))),
        content(evidence=(Evidence(digest="b" * 64, name="receipt.pdf"),)),
        content(evidence=(Evidence(digest="a" * 64, name="other.pdf"),)),
        content(proposed_by_id=6),
    ]
    forms = sorted(variant.canonical() for variant in variants)
    assert all(one != other for one, other in pairwise(forms))
    assert content().canonical() == content().canonical()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lines": (line(LOSS, -100),)}, "sum to zero"),
        ({"lines": (line(LOSS, -100), line(OWNER, 99, Category.INCOME))}, "sum to zero"),
        ({"lines": ()}, "sum to zero"),
        ({"lines": (line(LOSS, 0), line(OWNER, 0, Category.INCOME))}, "not zero"),
        ({"lines": (line(LOSS, -MAX_FEN - 1), line(OWNER, MAX_FEN + 1, Category.INCOME))}, "amount"),
        ({"lines": (line(LOSS, -1), line(OWNER, 1, Category.INTERNAL))}, "does not fit"),
        ({"lines": (line(LOSS, -1, Category.INCOME), line(OWNER, 1, Category.INCOME))}, "does not fit"),
        ({"lines": (line(LOSS, -1), line(OWNER, 1, Category.INCOME, Bucket.FROZEN))}, "Frozen money"),
        ({"lines": (line(platform_account("9010", "1"), -1), line(LOSS, 1))}, "memo lines"),
        ({"lines": MANY}, "At most 50"),
        ({"reason": "123456789"}, "10 to 500"),
        ({"reason": "x" * 501}, "10 to 500"),
        ({"evidence": ()}, "1 to 5"),
        ({"evidence": tuple(Evidence(digest=f"{n}" * 64, name="x") for n in range(6))}, "1 to 5"),
        ({"evidence": (Evidence(digest="a" * 64, name="x"), Evidence(digest="a" * 64, name="y"))}, "twice"),
        ({"order_no": "x" * 33}, "longer than 32"),
    ],
)  # fmt: skip
def test_what_cannot_be_posted_is_no_content(changes: dict, words: str) -> None:
    with pytest.raises(InvalidAdjustment, match=words):
        content(**changes)


@given(st.lists(st.integers(1, MAX_FEN // 10), min_size=1, max_size=6))
def test_the_opposite_undoes_every_line_and_is_its_own_inverse(amounts: list[int]) -> None:
    lines = (
        *(line(employee_account(n, 1), amount, Category.INCOME) for n, amount in enumerate(amounts, start=1)),
        line(LOSS, -sum(amounts)),
    )
    opposite = opposite_lines(lines)
    assert [item.amount_fen for item in opposite] == [-item.amount_fen for item in lines]
    assert [(item.account, item.category) for item in opposite] == [(item.account, item.category) for item in lines]
    assert opposite_lines(opposite) == lines
    assert content(lines=opposite).entry(actor="x").total_fen == sum(amounts)


@pytest.mark.parametrize(
    "lines",
    [
        (line(OWNER, -5, Category.INTERNAL), line(OWNER, 5, Category.INTERNAL, Bucket.FROZEN)),
        (line(OWNER, -5, Category.INTERNAL), line(employee_account(8, 3), 5, Category.INTERNAL)),
    ],
)
def test_holds_and_internal_moves_have_no_opposite(lines: tuple[Line, ...]) -> None:
    with pytest.raises(InvalidAdjustment):
        opposite_lines(lines)

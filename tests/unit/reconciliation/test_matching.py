"""The merge: each kind of difference is named with its value, and every row ends in one finding."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import pytest

from gateway.ports import BillRowKind, Outcome
from reconciliation.domain import matching
from reconciliation.domain.matching import Kind
from reconciliation.domain.records import OurRow, TheirRow

NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
PAYMENT, PAYOUT = BillRowKind.PAYMENT, BillRowKind.PAYOUT


def our(number: str, amount_fen: int = 100, **changes: Any) -> OurRow:
    row = OurRow(PAYMENT, number, amount_fen, Outcome.SUCCESS, NOON, is_incoming=True)
    return row._replace(**changes)


def their(number: str, amount_fen: int = 100, line_no: int = 2, **changes: Any) -> TheirRow:
    row = TheirRow(line_no, PAYMENT, number, "P1", amount_fen, True, Outcome.SUCCESS, NOON)
    return row._replace(**changes)


def found(ours: list[OurRow], theirs: list[TheirRow]) -> list[tuple[Kind, str, int]]:
    return [(one.kind, one.number, one.value_fen) for one in matching.match(ours, theirs)]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([our("A")], [their("A")], [(Kind.MATCH, "A", 0)]),
        ([our("A")], [], [(Kind.OURS_ONLY, "A", 100)]),
        ([], [their("A")], [(Kind.THEIRS_ONLY, "A", 100)]),
        ([our("A")], [their("A", 101)], [(Kind.AMOUNT, "A", 1)]),
        ([our("A")], [their("A", is_incoming=False)], [(Kind.AMOUNT, "A", 200)]),
        ([our("A", outcome=Outcome.PENDING)], [their("A")], [(Kind.STATE, "A", 100)]),
        ([our("A")], [their("A"), their("A", line_no=3)], [(Kind.MATCH, "A", 0), (Kind.DUPLICATE, "A", 100)]),
        ([], [their("A"), their("A", line_no=3)], [(Kind.THEIRS_ONLY, "A", 100), (Kind.DUPLICATE, "A", 100)]),
        ([], [their(""), their("", line_no=3)], [(Kind.THEIRS_ONLY, "", 100), (Kind.THEIRS_ONLY, "", 100)]),
        ([our("A")], [their("B")], [(Kind.OURS_ONLY, "A", 100), (Kind.THEIRS_ONLY, "B", 100)]),
        ([our("A", kind=PAYOUT)], [their("A")], [(Kind.THEIRS_ONLY, "A", 100), (Kind.OURS_ONLY, "A", 100)]),
    ],
)
def test_one_difference_has_one_name(
    ours: list[OurRow], theirs: list[TheirRow], expected: list[tuple[Kind, str, int]]
) -> None:
    assert found(ours, theirs) == expected


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (600, 1100, (Kind.MATCH, 0)),
        (600, 1101, (Kind.FEE, 1)),
        (600, 2700, (Kind.FEE, 3)),
        (None, 2700, (Kind.MATCH, 0)),
    ],
)
def test_fees_differ_beyond_rounding_only(ours: int | None, theirs: int, expected: tuple[Kind, int]) -> None:
    said = their("A", fee_milli_fen=theirs, is_fee_stated=True)
    (finding,) = matching.match([our("A", fee_milli_fen=ours)], [said])
    assert (finding.kind, finding.value_fen) == expected


def test_a_fee_the_bill_does_not_state_is_not_compared() -> None:
    assert found([our("A", fee_milli_fen=600)], [their("A")]) == [(Kind.MATCH, "A", 0)]


def test_the_duplicate_is_the_row_that_fits_worse() -> None:
    findings = list(matching.match([our("A")], [their("A", 999, 2), their("A", 100, 3)]))
    assert [(one.kind, one.theirs[0].line_no) for one in findings] == [(Kind.MATCH, 3), (Kind.DUPLICATE, 2)]


@pytest.mark.parametrize(("total", "expected"), [(300, (Kind.MATCH, 0)), (299, (Kind.AMOUNT, 1))])
def test_many_of_ours_match_the_one_row_that_groups_them(total: int, expected: tuple[Kind, int]) -> None:
    ours = [our(f"A{place}", 100, group_no="G") for place in range(3)]
    (finding,) = matching.match(ours, [their("G", total)])
    assert (finding.kind, finding.value_fen) == expected
    assert (len(finding.ours), len(finding.theirs)) == (3, 1)


def test_a_group_names_the_rows_whose_state_differs() -> None:
    ours = [our("A1", 100, group_no="G"), our("A2", 70, group_no="G", outcome=Outcome.PENDING)]
    (finding,) = matching.match(ours, [their("G", 170)])
    assert (finding.kind, finding.value_fen) == (Kind.STATE, 70)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [([our("B"), our("A")], []), ([], [their("B"), their("A")]), ([our("B"), our("A")], [their("B")])],
)
def test_a_side_out_of_order_is_refused(ours: list[OurRow], theirs: list[TheirRow]) -> None:
    with pytest.raises(matching.NotSorted):
        list(matching.match(ours, theirs))


@pytest.mark.parametrize("seed", range(200))
def test_every_row_ends_in_one_finding(seed: int) -> None:
    dice = random.Random(seed)
    ours = sorted((our(f"N{dice.randrange(8)}", dice.randrange(1, 4)) for _ in range(12)), key=matching.our_key)
    theirs = sorted(
        (their(f"N{dice.randrange(8)}", dice.randrange(1, 4), line) for line in range(12)), key=matching.their_key
    )
    findings = list(matching.match(ours, theirs))
    theirs_seen = sorted(row.line_no for one in findings for row in one.theirs)
    ours_seen = [row for one in findings if one.kind is not Kind.DUPLICATE for row in one.ours]
    assert theirs_seen == list(range(12))
    assert sorted(ours_seen) == sorted(ours)


def test_a_clean_day_has_no_difference() -> None:
    ours = [our(f"N{place:04d}", place + 1) for place in range(1000)]
    theirs = [their(f"N{place:04d}", place + 1, place + 2) for place in range(1000)]
    assert {one.kind for one in matching.match(ours, theirs)} == {Kind.MATCH}

"""Matching: a merge over two sides that are sorted by (kind, number), holding the rows of one number at a time.

Every row of either side ends in exactly one finding. Several rows of ours under one group number match one row of
theirs when the amounts add up (many-to-one); a row that a bill has twice is a duplicate. What stands on one side only
may belong to a neighbouring day; who calls decides how long it waits for that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple, TypeVar

from reconciliation.domain.records import OurRow, TheirRow

Key = tuple[str, str]
Row = TypeVar("Row", OurRow, TheirRow)


class Kind(StrEnum):
    """What a comparison found."""

    MATCH = "MATCH"
    OURS_ONLY = "OURS_ONLY"
    THEIRS_ONLY = "THEIRS_ONLY"
    AMOUNT = "AMOUNT"
    FEE = "FEE"
    STATE = "STATE"
    DUPLICATE = "DUPLICATE"


class Finding(NamedTuple):
    """One comparison. `value_fen`: the money at risk, never negative; nothing for a match."""

    kind: Kind
    number: str
    ours: tuple[OurRow, ...]
    theirs: tuple[TheirRow, ...]
    value_fen: int


class NotSorted(ValueError):
    """A side is not in the order of `our_key` or `their_key`; nothing of the comparison may be used."""


def our_key(row: OurRow) -> Key:
    return row.kind.value, row.group_no or row.number


def their_key(row: TheirRow) -> Key:
    return row.kind.value, row.number


def match(
    ours: Iterable[OurRow], theirs: Iterable[TheirRow], *, fee_tolerance_milli_fen: int = 500
) -> Iterator[Finding]:
    """The findings in the order of the keys. Rows without a number match nothing. Raises NotSorted.

    `fee_tolerance_milli_fen`: half a fen by default, as far as rounding alone may take two right fees apart.
    """
    our_groups = groupby(_sorted(ours, our_key), our_key)
    their_groups = groupby(_sorted(theirs, their_key), their_key)
    ours_next, theirs_next = next(our_groups, None), next(their_groups, None)
    while ours_next is not None or theirs_next is not None:
        if theirs_next is None or (ours_next is not None and ours_next[0] < theirs_next[0]):
            assert ours_next is not None
            yield from (_ours_only(row) for row in ours_next[1])
            ours_next = next(our_groups, None)
        elif ours_next is None or theirs_next[0] < ours_next[0]:
            yield from _theirs_only(list(theirs_next[1]))
            theirs_next = next(their_groups, None)
        else:
            yield from _compare(list(ours_next[1]), list(theirs_next[1]), fee_tolerance_milli_fen)
            ours_next, theirs_next = next(our_groups, None), next(their_groups, None)


def _sorted(rows: Iterable[Row], key: Callable[[Row], Key]) -> Iterator[Row]:
    last: Key = ("", "")
    for row in rows:
        present = key(row)
        if present < last:
            raise NotSorted(f"{present} after {last}")
        last = present
        yield row


def _ours_only(row: OurRow) -> Finding:
    return Finding(Kind.OURS_ONLY, row.number, (row,), (), row.amount_fen)


def _theirs_only(rows: list[TheirRow]) -> Iterator[Finding]:
    """Rows without a number are each their own; of several with one number the first is it, the rest are duplicates."""
    for place, row in enumerate(rows):
        kind = Kind.DUPLICATE if place and row.number else Kind.THEIRS_ONLY
        yield Finding(kind, row.number, (), (row,), row.amount_fen)


def _compare(ours: list[OurRow], theirs: list[TheirRow], tolerance: int) -> Iterator[Finding]:
    """The rows of one key, at least one on each side."""
    if len(ours) > 1 and len(theirs) == 1:
        yield _compare_group(ours, theirs[0])
        return
    rest = list(theirs)
    for row in ours:
        if not rest:
            yield _ours_only(row)
            continue
        best = min(rest, key=lambda other: _distance(row, other))
        rest.remove(best)
        yield _compare_pair(row, best, tolerance)
    for other in rest:
        yield Finding(Kind.DUPLICATE, other.number, tuple(ours), (other,), other.amount_fen)


def _distance(our: OurRow, their: TheirRow) -> tuple[bool, bool, int, int]:
    """How badly two rows fit; the earlier line of the file when they fit alike."""
    return (
        our.is_incoming != their.is_incoming,
        our.outcome != their.outcome,
        abs(our.amount_fen - their.amount_fen),
        their.line_no,
    )


def _compare_pair(our: OurRow, their: TheirRow, tolerance: int) -> Finding:
    """The gravest thing first: a wrong direction or amount, then the state, then the fee."""
    kind, value_fen = Kind.MATCH, 0
    if our.is_incoming != their.is_incoming:
        kind, value_fen = Kind.AMOUNT, our.amount_fen + their.amount_fen
    elif our.amount_fen != their.amount_fen:
        kind, value_fen = Kind.AMOUNT, abs(our.amount_fen - their.amount_fen)
    elif our.outcome != their.outcome:
        kind, value_fen = Kind.STATE, our.amount_fen
    elif our.fee_milli_fen is not None and their.is_fee_stated:
        apart = abs(our.fee_milli_fen - their.fee_milli_fen)
        if apart > tolerance:
            kind, value_fen = Kind.FEE, -(-apart // 1000)
    return Finding(kind, our.number, (our,), (their,), value_fen)


def _compare_group(ours: list[OurRow], their: TheirRow) -> Finding:
    """Many of ours against the one row in which the bill groups them."""
    signed_fen = sum(row.amount_fen if row.is_incoming else -row.amount_fen for row in ours)
    apart_fen = abs(signed_fen - (their.amount_fen if their.is_incoming else -their.amount_fen))
    kind, value_fen = Kind.MATCH, 0
    if apart_fen:
        kind, value_fen = Kind.AMOUNT, apart_fen
    elif any(row.outcome != their.outcome for row in ours):
        kind = Kind.STATE
        value_fen = sum(row.amount_fen for row in ours if row.outcome != their.outcome)
    return Finding(kind, their.number, tuple(ours), (their,), value_fen)

"""What becomes of a row that stands on one side of its day: paired, carried to the neighbouring days, or a difference.

Both sides tell the moment of a payment by their own clocks, so that around midnight a row may stand in the day before
or after on one side. Such an item waits until both neighbouring days are compared.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from gateway.ports import BillRowKind
from reconciliation.domain.matching import Finding, Key, Kind, match
from reconciliation.domain.records import OurRow, TheirRow

EDGE = dt.timedelta(hours=6)
"""How near to midnight an item is carried over. A provider's notice and our question for it are minutes apart; a
payment that we heard of only hours later still counts by the provider's moment."""


class Fate(StrEnum):
    """MATCHED and DIFFERENT: decided. CARRIED: it waits for the neighbouring days."""

    MATCHED = "MATCHED"
    DIFFERENT = "DIFFERENT"
    CARRIED = "CARRIED"


class Verdict(NamedTuple):
    """`carried_id`: the item of the pool that was the partner, which ends with this. `is_ours_elsewhere`: our row is of
    another day, where it will look for a partner too."""

    fate: Fate
    finding: Finding
    carried_id: int | None = None
    is_ours_elsewhere: bool = False


class Waiting(NamedTuple):
    """An item of the pool: exactly one of the two rows is there."""

    carried_id: int
    ours: OurRow | None
    theirs: TheirRow | None


def judge(
    findings: Iterable[Finding],
    *,
    start: dt.datetime,
    end: dt.datetime,
    our_pool: Mapping[Key, Waiting],
    their_pool: Mapping[Key, Waiting],
    known: Mapping[Key, OurRow],
    tolerance: int,
) -> Iterator[Verdict]:
    """A verdict for each finding of the day [start, end). Pure: the pools and `known` are looked up before.

    `known`: our rows of any state and day by the key of a row that only they have. A row of ours that is of another day
    and says the same is a match; one of another state or amount is named so instead of "theirs only".
    """
    for finding in findings:
        if finding.kind is Kind.OURS_ONLY:
            yield _ours(finding, start, end, their_pool, tolerance)
        elif finding.kind is Kind.THEIRS_ONLY and finding.number:
            yield _theirs(finding, start, end, our_pool, known, tolerance)
        else:
            yield Verdict(Fate.MATCHED if finding.kind is Kind.MATCH else Fate.DIFFERENT, finding)


def compare_pair(ours: OurRow, theirs: TheirRow, *, tolerance: int) -> Finding:
    """The two rows of one number, as the merge would compare them."""
    (finding,) = match([ours], [theirs], fee_tolerance_milli_fen=tolerance)
    return finding


def _ours(
    finding: Finding, start: dt.datetime, end: dt.datetime, their_pool: Mapping[Key, Waiting], tolerance: int
) -> Verdict:
    row = finding.ours[0]
    waiting = their_pool.get((row.kind.value, row.number))
    if waiting is not None and waiting.theirs is not None:
        paired = compare_pair(row, waiting.theirs, tolerance=tolerance)
        return Verdict(_fate(paired), paired, waiting.carried_id)
    return Verdict(Fate.CARRIED if is_carried(row.kind, row.happened_at, start, end) else Fate.DIFFERENT, finding)


def _theirs(
    finding: Finding,
    start: dt.datetime,
    end: dt.datetime,
    our_pool: Mapping[Key, Waiting],
    known: Mapping[Key, OurRow],
    tolerance: int,
) -> Verdict:
    row = finding.theirs[0]
    key = (row.kind.value, row.number)
    waiting = our_pool.get(key)
    if waiting is not None and waiting.ours is not None:
        paired = compare_pair(waiting.ours, row, tolerance=tolerance)
        return Verdict(_fate(paired), paired, waiting.carried_id)
    ours = known.get(key)
    if ours is not None:
        paired = compare_pair(ours, row, tolerance=tolerance)
        return Verdict(_fate(paired), paired, is_ours_elsewhere=not start <= ours.happened_at < end)
    return Verdict(Fate.CARRIED if is_carried(row.kind, row.happened_at, start, end) else Fate.DIFFERENT, finding)


def _fate(finding: Finding) -> Fate:
    return Fate.MATCHED if finding.kind is Kind.MATCH else Fate.DIFFERENT


def is_carried(kind: BillRowKind, at: dt.datetime, start: dt.datetime, end: dt.datetime) -> bool:
    """Whether a partner may stand in a neighbouring day. A refund may stand under the moment of its payment: always."""
    return kind is BillRowKind.REFUND or not start + EDGE <= at < end - EDGE

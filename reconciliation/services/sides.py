"""Rows of both sides as columns of reconciliation.models.Sides, and back."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

from gateway.ports import BillRowKind, Outcome
from reconciliation.domain.matching import Finding, Kind
from reconciliation.domain.records import OurRow, TheirRow
from reconciliation.models import Sides

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def columns(finding: Finding) -> dict[str, Any]:
    """The columns of what a finding says. Of several rows of ours: their sum, and the worst state."""
    ours, theirs = finding.ours, finding.theirs[0] if finding.theirs else None
    some = theirs or ours[0]
    if finding.kind is Kind.DUPLICATE:
        ours = ()  # the rows of ours have their partner; this is one too many
    states = sorted({row.outcome.value for row in ours})
    fees = [row.fee_milli_fen for row in ours if row.fee_milli_fen is not None]
    return {
        "row_kind": some.kind.value,
        "number": finding.number,
        "provider_no": theirs.provider_no if theirs else "",
        "line_no": theirs.line_no if theirs else None,
        "our_amount_fen": _signed(ours, some.is_incoming) if ours else None,
        "their_amount_fen": theirs.amount_fen if theirs else None,
        "our_fee_milli_fen": sum(fees) if fees else None,
        "their_fee_milli_fen": theirs.fee_milli_fen if theirs and theirs.is_fee_stated else None,
        "our_state": states[0] if len(states) == 1 else "/".join(states)[:16],
        "their_state": theirs.outcome.value if theirs else "",
        "our_time": ours[0].happened_at if ours else None,
        "their_time": theirs.happened_at if theirs else None,
        "is_incoming": some.is_incoming,
    }


def fingerprint(finding: Finding) -> str:
    """Names a finding, so that the next comparison knows it again. Duplicates are told apart by their line."""
    theirs = finding.theirs[0] if finding.theirs else None
    some = theirs or finding.ours[0]
    place = "" if theirs is None or (theirs.number and finding.kind is not Kind.DUPLICATE) else str(theirs.line_no)
    parts = (
        finding.kind.value,
        some.kind.value,
        finding.number,
        theirs.provider_no if theirs else "",
        str(some.is_incoming),
        place,
    )
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def our_row(row: Sides) -> OurRow | None:
    """Our side of a stored item; None where it has none."""
    if row.our_amount_fen is None:
        return None
    return OurRow(
        kind=BillRowKind(row.row_kind),
        number=row.number,
        amount_fen=row.our_amount_fen,
        outcome=Outcome(row.our_state),
        happened_at=row.our_time or _EPOCH,
        is_incoming=row.is_incoming,
        fee_milli_fen=row.our_fee_milli_fen,
    )


def their_row(row: Sides) -> TheirRow | None:
    """Their side of a stored item; None where it has none."""
    if row.their_amount_fen is None:
        return None
    return TheirRow(
        line_no=row.line_no or 0,
        kind=BillRowKind(row.row_kind),
        number=row.number,
        provider_no=row.provider_no,
        amount_fen=row.their_amount_fen,
        is_incoming=row.is_incoming,
        outcome=Outcome(row.their_state),
        happened_at=row.their_time or _EPOCH,
        fee_milli_fen=row.their_fee_milli_fen or 0,
        is_fee_stated=row.their_fee_milli_fen is not None,
    )


def _signed(ours: tuple[OurRow, ...], is_incoming: bool) -> int:
    """The sum in the direction of the bill's row; negative when ours goes the other way."""
    return sum(row.amount_fen if row.is_incoming == is_incoming else -row.amount_fen for row in ours)

"""By how much the account at the provider and our books differ for one number, and the lines that write it off."""

from __future__ import annotations

from typing import NamedTuple

from gateway.ports import BillRowKind, Outcome

CLEARING, PAYOUT_FLOAT, SHORT, OVER = "1110", "1120", "1910", "2910"
MILLI = 1000


class Sided(NamedTuple):
    """A difference in numbers; None and "" where a side has nothing. Fees in thousandths of a fen."""

    row_kind: BillRowKind
    is_incoming: bool
    our_amount_fen: int | None
    their_amount_fen: int | None
    our_state: str
    their_state: str
    our_fee_milli_fen: int | None
    their_fee_milli_fen: int | None


class BookLine(NamedTuple):
    """One platform account and a signed amount, credit positive."""

    code: str
    amount_fen: int


def excess_fen(sided: Sided, *, is_fee: bool) -> int:
    """Money that the provider says we have there beyond our books; negative when it is missing there."""
    if is_fee:
        apart = (sided.their_fee_milli_fen or 0) - (sided.our_fee_milli_fen or 0)
        whole = -(-abs(apart) // MILLI)
        return -whole if apart > 0 else whole
    theirs = (sided.their_amount_fen or 0) if sided.their_state == Outcome.SUCCESS else 0
    ours = (sided.our_amount_fen or 0) if sided.our_state == Outcome.SUCCESS else 0
    return theirs - ours if sided.is_incoming else ours - theirs


def suspense_lines(row_kind: BillRowKind, excess: int) -> tuple[BookLine, BookLine]:
    """Brings our account at the provider to what the bill says, against 2910 (too much there) or 1910 (too little)."""
    own = PAYOUT_FLOAT if row_kind is BillRowKind.PAYOUT else CLEARING
    return BookLine(own, -excess), BookLine(OVER if excess > 0 else SHORT, excess)

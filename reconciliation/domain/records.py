"""Rows of the two sides, and what reading a file may give besides rows.

Amounts are positive integer fen; fees are thousandths of a fen, as bills round no earlier. Named tuples, as a day may
have a million of each.
"""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from gateway.ports import BillRowKind, Outcome


class TheirRow(NamedTuple):
    """One row of a bill. `number`: ours (attempt, refund or payout number; a group's number where the bill groups), ""
    where the file has none. `line_no` counts from 1 in the file. `is_incoming`: towards our account there.
    `is_fee_stated`: the bill says what `fee_milli_fen` was; without it fees are not compared. `balance_fen`: of our
    account there."""

    line_no: int
    kind: BillRowKind
    number: str
    provider_no: str
    amount_fen: int
    is_incoming: bool
    outcome: Outcome
    happened_at: dt.datetime
    payment_no: str = ""
    fee_milli_fen: int = 0
    is_fee_stated: bool = False
    balance_fen: int | None = None
    note: str = ""


class OurRow(NamedTuple):
    """What our books say of one attempt, refund or payout. `group_no`: the number under which a bill may show it in one
    row with others, "" for its own. `fee_milli_fen` None: no fee was agreed, so none is compared."""

    kind: BillRowKind
    number: str
    amount_fen: int
    outcome: Outcome
    happened_at: dt.datetime
    is_incoming: bool
    group_no: str = ""
    fee_milli_fen: int | None = None


class UnreadRow(NamedTuple):
    """A row of the file that makes no sense: it goes to a person, the others are read all the same."""

    line_no: int
    reason: str
    text: str


class FileProblem(NamedTuple):
    """What is wrong with the file itself: `code` is lower-case machine text. `is_fatal`: the rest was not read."""

    code: str
    detail: str = ""
    is_fatal: bool = False


Event = TheirRow | UnreadRow | FileProblem
"""What a reader yields, in the order of the file; problems of the totals come last."""

TEXT_KEPT = 500
"""Characters of an unread row that are kept for the person; its file has the rest."""

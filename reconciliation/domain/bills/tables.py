"""Tables whose columns a person has mapped: bank statements, and the payments of 99bill that were queried and saved.

A layout names the columns; the header is looked for in the first lines, as banks put titles above it. A statement that
says the balance after each row carries its own proof: every balance is the one before it plus the row.
"""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from foundation.money import is_amount_fen
from gateway.ports import BillRowKind, Outcome
from reconciliation.domain.bills import values
from reconciliation.domain.bills.values import Unreadable
from reconciliation.domain.records import TEXT_KEPT, Event, FileProblem, TheirRow, UnreadRow

HEADER_LINES = 30
"""How far down the header is looked for."""

_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?", re.ASCII)


class Unit(StrEnum):
    """What amounts, fees and balances are written in."""

    YUAN = "YUAN"
    FEN = "FEN"


class LayoutInvalid(ValueError):
    """A mapping with which no row could be read. Its text is lower-case machine text."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which column says what; "" for what the file has not.

    Amounts stand either in `amount` (negative: out of our account) or in `income` and `expense`. `kinds`: words of the
    column `kind`, any other word is OTHER; without the column incoming rows are payments and outgoing ones payouts.
    `outcomes`: words of the column `outcome`, any other word is not read; without it every row is a success.
    `time_format`: of strptime, Beijing's time. `end`: the first cell of the line that ends the rows; with it a file
    without such a line is cut. Raises LayoutInvalid.
    """

    number: str
    time: str
    amount: str = ""
    income: str = ""
    expense: str = ""
    provider_no: str = ""
    fee: str = ""
    balance: str = ""
    note: str = ""
    kind: str = ""
    outcome: str = ""
    kinds: Mapping[str, BillRowKind] = field(default_factory=dict)
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    encoding: str = "utf-8"
    delimiter: str = ","
    time_format: str = "%Y-%m-%d %H:%M:%S"
    unit: Unit = Unit.YUAN
    end: str = ""

    def __post_init__(self) -> None:
        if not self.number or not self.time:
            raise LayoutInvalid("number_or_time_missing")
        if bool(self.amount) == bool(self.income and self.expense) or bool(self.income) != bool(self.expense):
            raise LayoutInvalid("amount_columns_wrong")
        if self.encoding not in ("utf-8", "gb18030"):
            raise LayoutInvalid("encoding_unknown")
        if self.delimiter not in (",", ";", "\t", "|"):
            raise LayoutInvalid("delimiter_unknown")
        if len(self.columns) != len(set(self.columns)):
            raise LayoutInvalid("column_mapped_twice")

    @property
    def columns(self) -> tuple[str, ...]:
        named = (self.number, self.time, self.amount, self.income, self.expense, self.provider_no, self.fee)
        return tuple(name for name in (*named, self.balance, self.note, self.kind, self.outcome) if name)


KUAIQIAN = Layout(
    number="orderId",
    time="dealTime",
    amount="payAmount",
    provider_no="dealId",
    fee="fee",
    outcome="payResult",
    outcomes={"10": Outcome.SUCCESS, "11": Outcome.FAILED},
    time_format="%Y%m%d%H%M%S",
    unit=Unit.FEN,
)
"""99bill has no bill to download: its answers to the query by time, saved under the names of their own fields."""


def read(stream: Iterable[bytes], *, layout: Layout) -> Iterator[Event]:
    """The rows of a table in the order of the file."""
    places: Mapping[str, int] | None = None
    cells_wanted, has_end = 0, False
    balance_fen: int | None = None
    seen = 0
    for line_no, line, raw in values.lines(stream, encoding=layout.encoding):
        if line is None:
            if places is None:
                yield FileProblem("encoding_wrong", f"line {line_no}", is_fatal=True)
                return
            reason = values.unread_line(raw, code="encoding_wrong")
            yield UnreadRow(line_no, reason, raw[:TEXT_KEPT].decode(layout.encoding, "replace"))
            balance_fen = None
            continue
        try:
            cells = _split(line, layout.delimiter)
            if places is None:
                seen += 1
                places = _places(cells, layout)
                cells_wanted = len(cells)
                if places is None and seen == HEADER_LINES:
                    break
                continue
            if has_end:
                raise Unreadable("after_summary")
            if layout.end and cells[0] == layout.end:
                has_end = True
                continue
            if len(cells) != cells_wanted:
                raise Unreadable("cells_miscounted")
            row = _row({name: cells[place] for name, place in places.items()}, layout, line_no)
        except Unreadable as error:
            if places is not None:
                yield UnreadRow(line_no, error.reason, line[:TEXT_KEPT])
                balance_fen = None
            continue
        moved_fen = row.amount_fen if row.is_incoming else -row.amount_fen
        if balance_fen is not None and row.balance_fen is not None and balance_fen + moved_fen != row.balance_fen:
            yield FileProblem(
                "balance_mismatch", f"line {line_no}: {balance_fen} {moved_fen:+d} is not {row.balance_fen}"
            )
        balance_fen = row.balance_fen
        yield row
    if places is None:
        yield FileProblem("columns_unknown" if seen else "empty", is_fatal=True)
    elif layout.end and not has_end:
        yield FileProblem("summary_missing", "the file is cut")


def _split(line: str, delimiter: str) -> list[str]:
    try:
        (cells,) = csv.reader([line], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError) as error:
        raise Unreadable("cells_malformed") from error
    return [cell.strip() for cell in cells]


def _places(cells: list[str], layout: Layout) -> Mapping[str, int] | None:
    """Where the layout's columns stand; None when this line is not their header."""
    if any(cells.count(name) != 1 for name in layout.columns):
        return None
    return {name: cells.index(name) for name in layout.columns}


def _row(cells: Mapping[str, str], layout: Layout, line_no: int) -> TheirRow:
    if layout.amount:
        signed_fen = _fen(cells[layout.amount], layout.unit)
    else:
        income_fen = _fen(cells[layout.income] or "0", layout.unit)
        expense_fen = abs(_fen(cells[layout.expense] or "0", layout.unit))
        if income_fen < 0 or (income_fen and expense_fen):
            raise Unreadable("amount_sign_wrong")
        signed_fen = income_fen - expense_fen
    if not is_amount_fen(abs(signed_fen)):
        raise Unreadable("amount_not_positive")
    outcome = Outcome.SUCCESS
    if layout.outcome:
        said = layout.outcomes.get(cells[layout.outcome])
        if said is None:
            raise Unreadable("state_unknown")
        outcome = said
    default = BillRowKind.PAYMENT if signed_fen > 0 else BillRowKind.PAYOUT
    fee = cells[layout.fee] if layout.fee else ""
    balance = cells[layout.balance] if layout.balance else ""
    return TheirRow(
        line_no=line_no,
        kind=layout.kinds.get(cells[layout.kind], BillRowKind.OTHER) if layout.kind else default,
        number=values.number(cells[layout.number]),
        provider_no=values.number(cells[layout.provider_no]) if layout.provider_no else "",
        amount_fen=abs(signed_fen),
        is_incoming=signed_fen > 0,
        outcome=outcome,
        happened_at=_moment(cells[layout.time], layout.time_format),
        fee_milli_fen=_milli_fen(fee, layout.unit) if fee else 0,
        is_fee_stated=bool(fee),
        balance_fen=_fen(balance, layout.unit) if balance else None,
        note=cells[layout.note][:TEXT_KEPT] if layout.note else "",
    )


def _milli_fen(text: str, unit: Unit) -> int:
    milli_fen = values.milli_fen(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
    if unit is Unit.YUAN:
        return milli_fen
    whole, rest = divmod(milli_fen, 100)
    if rest:
        raise Unreadable("amount_malformed")
    return whole


def _fen(text: str, unit: Unit) -> int:
    fen, rest = divmod(_milli_fen(text, unit), values.MILLI)
    if rest:
        raise Unreadable("amount_not_whole_fen")
    return fen


def _moment(text: str, time_format: str) -> dt.datetime:
    try:
        return dt.datetime.strptime(text, time_format).replace(tzinfo=values.ZONE)
    except ValueError as error:
        raise Unreadable("time_malformed") from error

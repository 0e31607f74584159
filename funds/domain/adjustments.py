"""Fund adjustments (资金调整): what a proposal says, in which form it is sealed, and the entry its approval posts.

Source: design `money.md` (Movements, last row) and `accounts.md` ("Adjustment: any/any, kind `adjustment`, reason,
evidence file, maker + checker"). Amounts are signed fen, credit positive, as everywhere in the ledger.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from foundation.money import MAX_FEN
from funds.domain.entries import Bucket, Category, Entry, InvalidEntry, Line

KIND = "adjustment"
"""Kind of the journals that approvals post; their reference is the adjustment's number."""

REASON_MIN_LENGTH = 10
REASON_MAX_LENGTH = 500
"""Characters. Shorter reasons say "correction"; longer ones belong into the evidence."""

MAX_LINES = 50
MAX_EVIDENCE = 5

CUSTOMER_CATEGORIES = (Category.RECHARGE, Category.INCOME, Category.CONSUMPTION, Category.WITHDRAWAL)
"""What a line on a customer may mean, so that recharge + income − withdrawal − consumption stays his balance."""

PROPOSED, DECIDED = "funds.adjustment_proposed", "funds.adjustment_decided"
"""Topics of the outbox."""

_YUAN = re.compile(r"(?:\d{1,12}|\d{1,3}(?:,\d{3}){1,3})(?:\.\d{1,2})?", re.ASCII)


class InvalidAdjustment(ValueError):
    """The proposal cannot be posted; the text says why, for the person who wrote it."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One supporting file: the digest of its content, and the name it came with (for display only)."""

    digest: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything that is proposed and by whom. Raises InvalidAdjustment.

    `order_no` is the order this is about, if any; `reverses_id` the journal whose opposite this is, if any.
    """

    number: str
    reason: str
    order_no: str
    reverses_id: int | None
    lines: tuple[Line, ...]
    evidence: tuple[Evidence, ...]
    proposed_by_id: int

    def __post_init__(self) -> None:
        if not REASON_MIN_LENGTH <= len(self.reason) <= REASON_MAX_LENGTH:
            raise InvalidAdjustment(f"The reason needs {REASON_MIN_LENGTH} to {REASON_MAX_LENGTH} characters.")
        if not 1 <= len(self.evidence) <= MAX_EVIDENCE:
            raise InvalidAdjustment(f"1 to {MAX_EVIDENCE} evidence files are needed.")
        if len({item.digest for item in self.evidence}) != len(self.evidence):
            raise InvalidAdjustment("The same evidence file is attached twice.")
        if len(self.lines) > MAX_LINES:
            raise InvalidAdjustment(f"At most {MAX_LINES} lines fit into one adjustment.")
        for line in self.lines:
            _check_line(line)
        try:
            self.entry(actor="")
        except InvalidEntry as error:
            raise InvalidAdjustment(f"{error}") from error

    def canonical(self) -> bytes:
        """The one byte string of this content; any change of it changes the bytes."""
        return json.dumps(
            {
                "number": self.number,
                "reason": self.reason,
                "order_no": self.order_no,
                "reverses": self.reverses_id,
                "lines": [
                    [*line.account.key, line.account.enterprise_id, line.amount_fen, line.category.value]
                    for line in self.lines
                ],
                "evidence": [[item.digest, item.name] for item in self.evidence],
                "proposed_by": self.proposed_by_id,
            },
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=True,
        ).encode("ascii")

    def entry(self, *, actor: str) -> Entry:
        """What the approval posts: idempotent by the number, and part of the order's history if there is one."""
        return Entry(
            kind=KIND,
            reference=self.number,
            lines=self.lines,
            order_no=self.order_no,
            source_no=self.number,
            actor=actor,
            memo=self.reason[:255],
        )


def _check_line(line: Line) -> None:
    if line.bucket is not Bucket.AVAILABLE:
        raise InvalidAdjustment("Frozen money is moved by its own holds, never by an adjustment.")
    if type(line.amount_fen) is not int or not 0 < abs(line.amount_fen) <= MAX_FEN:
        raise InvalidAdjustment("Each line needs an amount that is not zero.")
    allowed = (Category.PLATFORM,) if line.account.is_platform else CUSTOMER_CATEGORIES
    if line.category not in allowed:
        raise InvalidAdjustment(f"Category {line.category} does not fit account {line.account.code}.")


def opposite_lines(lines: Iterable[Line]) -> tuple[Line, ...]:
    """The lines that undo a journal's. Raises InvalidAdjustment when it moved frozen money."""
    given = tuple(lines)
    if any(line.bucket is not Bucket.AVAILABLE for line in given):
        raise InvalidAdjustment(
            "This journal moved frozen money, which belongs to a hold: an opposite entry would part the two."
        )
    if any(line.category is Category.INTERNAL for line in given):
        raise InvalidAdjustment("This journal moved money inside an enterprise, which an adjustment cannot express.")
    return tuple(
        Line(account=line.account, bucket=line.bucket, amount_fen=-line.amount_fen, category=line.category)
        for line in given
    )


def fen_from_typed_yuan(text: str) -> int:
    """Exact fen, not negative, of what a person types: "1234.5", "1,234.56", "¥88". Raises ValueError for the rest."""
    typed = text.strip().removeprefix("¥").removeprefix("￥").strip()
    if _YUAN.fullmatch(typed) is None:
        raise ValueError(f"not an amount in yuan: {text!r}")
    yuan, _, decimals = typed.replace(",", "").partition(".")
    fen = int(yuan) * 100 + int((decimals or "0").ljust(2, "0"))
    if fen > MAX_FEN:
        raise ValueError(f"larger than any amount we book: {text!r}")
    return fen

"""What can be posted: an entry of lines that sum to zero, with the holds it opens, spends or releases.

Amounts are signed and credit positive: a customer's balance (a liability of ours) grows with +, an asset such as 1110
channel clearing grows with −. Source: design `money.md` (Accounts, Movements).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from funds.domain.chart import CHART, AccountType, OwnerKind


class Bucket(StrEnum):
    """The two pockets of a customer account (2010 and 2020); platform accounts use AVAILABLE only."""

    AVAILABLE = "AVAILABLE"
    FROZEN = "FROZEN"


class Category(StrEnum):
    """What a line means for the enterprise rule recharge + income − withdrawal − consumption = balance."""

    RECHARGE = "RECHARGE"
    INCOME = "INCOME"
    CONSUMPTION = "CONSUMPTION"
    WITHDRAWAL = "WITHDRAWAL"
    INTERNAL = "INTERNAL"
    PLATFORM = "PLATFORM"


class InvalidEntry(ValueError):
    """The entry would break an invariant; a bug of whoever built it."""


@dataclass(frozen=True, kw_only=True, order=True)
class AccountRef:
    """One account by owner and code of the chart; it is opened at its first posting.

    The code is one of the chart's for this kind of owner. A customer's account names its owner and enterprise; a
    platform account is told apart by `owner_id` (what the chart's `per` says). Lengths are those of the columns. Raises
    InvalidEntry.
    """

    owner_kind: str
    owner_id: str
    code: str
    enterprise_id: str = ""

    def __post_init__(self) -> None:
        title = CHART.get(self.code)
        if title is None or title.owner != self.owner_kind:
            raise InvalidEntry(f"no such account in the chart: {self.owner_kind!r} {self.code!r}")
        if not self.is_platform and not (self.owner_id and self.enterprise_id):
            raise InvalidEntry(f"customer account {self.key} without its owner or enterprise")
        for text, longest in ((self.owner_id, 32), (self.code, 8), (self.enterprise_id, 32)):
            _check_text(text, longest)

    @property
    def is_platform(self) -> bool:
        return self.owner_kind == OwnerKind.PLATFORM

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes an account unique."""
        return self.owner_kind, self.owner_id, self.code


def employee_account(employee_id: int, enterprise_id: int) -> AccountRef:
    """An employee's money: code 2010, whose frozen bucket is 2020."""
    return AccountRef(
        owner_kind=OwnerKind.EMPLOYEE, owner_id=str(employee_id), code="2010", enterprise_id=str(enterprise_id)
    )


def enterprise_account(enterprise_id: int) -> AccountRef:
    """An enterprise's own money: code 2110, whose frozen bucket is 2120."""
    return AccountRef(
        owner_kind=OwnerKind.ENTERPRISE,
        owner_id=str(enterprise_id),
        code="2110",
        enterprise_id=str(enterprise_id),
    )


def platform_account(code: str, key: str = "") -> AccountRef:
    """An account of the platform, e.g. ("1110", "wechat"): channel clearing of one channel."""
    return AccountRef(owner_kind=OwnerKind.PLATFORM, owner_id=key, code=code)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One posting to be: `amount_fen` signed, credit positive, never zero."""

    account: AccountRef
    bucket: Bucket
    amount_fen: int
    category: Category


@dataclass(frozen=True, kw_only=True)
class OpenHold:
    """A new freeze of `amount_fen` under a key that is used once."""

    key: str
    account: AccountRef
    amount_fen: int


@dataclass(frozen=True, kw_only=True)
class SpendHold:
    """Part of a freeze leaves the frozen bucket for somebody else."""

    key: str
    account: AccountRef
    amount_fen: int


@dataclass(frozen=True, kw_only=True)
class ReleaseHold:
    """Part of a freeze goes back to its owner's available bucket, or to its source."""

    key: str
    account: AccountRef
    amount_fen: int


HoldChange = OpenHold | SpendHold | ReleaseHold


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One movement. (kind, reference) is the idempotency key of money itself; `source_no` names what caused it.

    Validates itself: lines sum to zero, none is zero, one line per (account, bucket), the platform has no frozen
    bucket, categories keep the enterprise rule, and the frozen lines are exactly what the holds change. Raises
    InvalidEntry.
    """

    kind: str
    reference: str
    lines: tuple[Line, ...]
    holds: tuple[HoldChange, ...] = ()
    order_no: str = ""
    source_no: str = ""
    actor: str = "system"
    memo: str = ""

    def __post_init__(self) -> None:
        if not self.kind or not self.reference:
            raise InvalidEntry(f"kind or reference missing: {self.kind!r} {self.reference!r}")
        for text, longest in (
            (self.kind, 32),
            (self.reference, 64),
            (self.order_no, 32),
            (self.source_no, 64),
            (self.actor, 64),
        ):
            _check_text(text, longest)
        name = f"{self.kind} {self.reference}"
        _check_lines(name, self.lines)
        if frozen_by_lines(self.lines) != frozen_by_holds(self.holds):
            raise InvalidEntry(f"holds and frozen lines of {name} disagree")

    @property
    def total_fen(self) -> int:
        """The amount moved: the sum of the credit lines."""
        return sum(line.amount_fen for line in self.lines if line.amount_fen > 0)


def _check_text(text: str, longest: int) -> None:
    if len(text) > longest or not text.isascii():
        raise InvalidEntry(f"not ASCII or longer than {longest}: {text!r}")


def _check_lines(name: str, lines: tuple[Line, ...]) -> None:
    """Amounts, buckets, categories. INTERNAL money stays inside its enterprise, or the enterprise rule would break."""
    seen = set()
    internal: dict[str, int] = defaultdict(int)
    for line in lines:
        if type(line.amount_fen) is not int or line.amount_fen == 0:
            raise InvalidEntry(f"line without an integer amount in {name}")
        if line.account.is_platform and line.bucket is not Bucket.AVAILABLE:
            raise InvalidEntry(f"platform accounts have no frozen bucket: {name}")
        if line.account.is_platform is not (line.category is Category.PLATFORM):
            raise InvalidEntry(f"category {line.category} does not fit the account of a line of {name}")
        place = (line.account.key, line.bucket)
        if place in seen:
            raise InvalidEntry(f"two lines of {name} for {place}")
        seen.add(place)
        if line.category is Category.INTERNAL:
            internal[line.account.enterprise_id] += line.amount_fen
    if len(lines) < 2 or sum(line.amount_fen for line in lines) != 0:
        raise InvalidEntry(f"lines of {name} do not sum to zero")
    if any(internal.values()):
        raise InvalidEntry(f"internal lines of {name} leave their enterprise")
    if sum(line.amount_fen for line in lines if CHART[line.account.code].type is AccountType.MEMO) != 0:
        raise InvalidEntry(f"memo lines of {name} do not balance among themselves")


def frozen_by_lines(lines: tuple[Line, ...]) -> Mapping[tuple[str, str, str], int]:
    """Change of the frozen bucket per account, from the lines."""
    return {line.account.key: line.amount_fen for line in lines if line.bucket is Bucket.FROZEN}


def frozen_by_holds(holds: tuple[HoldChange, ...]) -> Mapping[tuple[str, str, str], int]:
    """Change of the frozen bucket per account, from the holds; raises InvalidEntry.

    An account whose holds cancel out stays in the answer with 0, which no lines can match: such an entry is refused.
    """
    changes: dict[tuple[str, str, str], int] = defaultdict(int)
    for hold in holds:
        if not hold.key:
            raise InvalidEntry("hold without a key")
        _check_text(hold.key, 64)
        if type(hold.amount_fen) is not int or hold.amount_fen <= 0:
            raise InvalidEntry(f"hold {hold.key} without a positive amount")
        changes[hold.account.key] += hold.amount_fen if isinstance(hold, OpenHold) else -hold.amount_fen
    if len({hold.key for hold in holds}) != len(holds):
        raise InvalidEntry("two changes of one hold")
    return dict(changes)

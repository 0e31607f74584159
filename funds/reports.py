"""Reads for finance: balances at a moment, running statements, trial balances, an enterprise's books.

Of the selectors' layer: nothing here locks or changes anything. All amounts are signed fen, credit positive, unless a
name says debit or credit. Moments are half-open: what is posted at `until` itself does not count.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import Q, Sum

from foundation.db import roles
from foundation.errors import NotFound
from funds.domain import chart
from funds.domain.entries import AccountRef, Bucket, Category
from funds.models import Account, AccountSnapshot, ClosedDay, Posting, TrialBalanceLine


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Both buckets of an account; a platform account has nothing frozen."""

    available_fen: int
    frozen_fen: int


NOTHING = Balance(available_fen=0, frozen_fen=0)


@dataclass(frozen=True, kw_only=True)
class RunningLine:
    """One posting with the balance of its bucket behind it."""

    posting_id: int
    journal_id: int
    kind: str
    reference: str
    order_no: str
    bucket: Bucket
    category: Category
    amount_fen: int
    balance_fen: int
    created_at: dt.datetime


@dataclass(frozen=True, kw_only=True)
class RunningStatement:
    """Oldest first: `opening`, the lines, and what stands behind the last of them. `is_cut`: there are more lines."""

    opening: Balance
    lines: tuple[RunningLine, ...]
    closing: Balance
    is_cut: bool


@dataclass(frozen=True, kw_only=True)
class TrialLine:
    """One code of a trial balance. `closing_fen` = opening + credit − debit."""

    code: str
    name: str
    name_zh: str
    type: str
    opening_fen: int
    debit_fen: int
    credit_fen: int
    closing_fen: int


@dataclass(frozen=True, kw_only=True)
class TrialBalance:
    """All codes of a closed day; debits equal credits and the closing balances sum to zero."""

    day: dt.date
    journal_count: int
    posting_count: int
    debit_fen: int
    credit_fen: int
    closed_at: dt.datetime
    lines: tuple[TrialLine, ...]


@dataclass(frozen=True, kw_only=True)
class Movement:
    """An enterprise's or an account's span: opening + recharge + income − withdrawal − consumption = closing.

    The four are positive in the usual direction; returned money makes them smaller (a refund lessens recharge).
    """

    opening_fen: int
    recharge_fen: int
    income_fen: int
    withdrawal_fen: int
    consumption_fen: int
    closing_fen: int

    @property
    def is_balanced(self) -> bool:
        gone = self.withdrawal_fen + self.consumption_fen
        return self.opening_fen + self.recharge_fen + self.income_fen - gone == self.closing_fen


EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
NO_MOVEMENT = Movement(opening_fen=0, recharge_fen=0, income_fen=0, withdrawal_fen=0, consumption_fen=0, closing_fen=0)


@dataclass(frozen=True, kw_only=True)
class OwnerMovement:
    """One account of an enterprise with its span."""

    account_id: int
    owner_kind: str
    owner_id: str
    code: str
    frozen_fen: int
    movement: Movement


def balance_at(*, account: AccountRef, until: dt.datetime | None = None) -> Balance:
    """An account's balance of all postings before `until` (None: of all there are).

    The latest snapshot plus the postings since: one key look-up and one range of the account's index.
    """
    row = _find(account)
    return NOTHING if row is None else _balance(row.pk, until)


def running_statement(
    *, account: AccountRef, since: dt.datetime, until: dt.datetime, limit: int = 500
) -> RunningStatement:
    """An account's postings in [since, until), oldest first, with running balances, platform accounts included.

    Raises NotFound for an account that was never posted to. `limit` 1 … 5000.
    """
    row = _find(account)
    if row is None:
        raise NotFound({"account": "/".join(account.key)})
    opening = _balance(row.pk, since)
    postings = (
        Posting.objects.using(_alias())
        .filter(account=row, id__gte=_from_id(since), created_at__gte=since, created_at__lt=until)
        .select_related("journal")
        .order_by("id")
    )
    found = list(postings[: limit + 1])
    pockets = {Bucket.AVAILABLE: opening.available_fen, Bucket.FROZEN: opening.frozen_fen}
    lines = []
    for posting in found[:limit]:
        bucket = Bucket(posting.bucket)
        pockets[bucket] += posting.amount_fen
        lines.append(
            RunningLine(
                posting_id=posting.pk,
                journal_id=posting.journal_id,
                kind=posting.journal.kind,
                reference=posting.journal.reference,
                order_no=posting.journal.order_no,
                bucket=bucket,
                category=Category(posting.category),
                amount_fen=posting.amount_fen,
                balance_fen=pockets[bucket],
                created_at=posting.created_at,
            )
        )
    closing = Balance(available_fen=pockets[Bucket.AVAILABLE], frozen_fen=pockets[Bucket.FROZEN])
    return RunningStatement(opening=opening, lines=tuple(lines), closing=closing, is_cut=len(found) > limit)


def in_id_order() -> str:
    """Behind a table's name: read it along its primary key. Groups of a long range of postings are made quicker from
    one pass in id order than by jumping from account to account, which MariaDB's optimiser would choose."""
    return " USE INDEX (PRIMARY)" if connections[_alias()].vendor == "mysql" else ""


def list_closed_days(*, limit: int = 60) -> list[dt.date]:
    """The newest closed days, newest first."""
    return list(ClosedDay.objects.using(_alias()).order_by("-day").values_list("day", flat=True)[:limit])


def get_trial_balance(*, day: dt.date) -> TrialBalance:
    """The trial balance of a closed day; NotFound while it is open."""
    closed = ClosedDay.objects.using(_alias()).filter(day=day).first()
    if closed is None:
        raise NotFound({"day": day.isoformat()})
    rows = TrialBalanceLine.objects.using(_alias()).filter(day=closed).order_by("code")
    return TrialBalance(
        day=closed.day,
        journal_count=closed.journal_count,
        posting_count=closed.posting_count,
        debit_fen=closed.debit_fen,
        credit_fen=closed.credit_fen,
        closed_at=closed.closed_at,
        lines=tuple(_trial_line(row) for row in rows),
    )


def enterprise_movement(*, enterprise_id: int, since: dt.datetime, until: dt.datetime) -> Movement:
    """All accounts of an enterprise together in [since, until), from the postings' categories."""
    found = _movements("a.enterprise_id = %s", [str(enterprise_id)], "0", since, until)
    return found.get(0, NO_MOVEMENT)


def list_owner_movements(
    *, enterprise_id: int, since: dt.datetime, until: dt.datetime, offset: int = 0, limit: int = 50
) -> list[OwnerMovement]:
    """The enterprise's own account first, then its employees', with each one's span; three queries for all."""
    accounts = Account.objects.using(_alias()).filter(enterprise_id=str(enterprise_id)).order_by("-code", "id")
    page = list(accounts[offset : offset + limit])
    ids = ", ".join(str(account.pk) for account in page) or "0"
    found = _movements(f"a.id IN ({ids})", [], "a.id", since, until)
    return [
        OwnerMovement(
            account_id=account.pk,
            owner_kind=account.owner_kind,
            owner_id=account.owner_id,
            code=account.code,
            frozen_fen=account.frozen_fen,
            movement=found.get(account.pk, NO_MOVEMENT),
        )
        for account in page
    ]


def list_enterprise_ids(*, offset: int = 0, limit: int = 50) -> list[tuple[int, int, int, int]]:
    """(enterprise id, accounts, available fen, frozen fen) of enterprises with accounts, largest money first."""
    with connections[_alias()].cursor() as cursor:
        cursor.execute(
            "SELECT enterprise_id, COUNT(*), SUM(available_fen), SUM(frozen_fen) FROM funds_account "
            "WHERE owner_kind <> 'PLATFORM' GROUP BY enterprise_id "
            "ORDER BY SUM(available_fen + frozen_fen) DESC, enterprise_id LIMIT %s OFFSET %s",
            [limit, offset],
        )
        return [(int(row[0]), int(row[1]), int(row[2]), int(row[3])) for row in cursor.fetchall()]


def _movements(
    which: str, values: Sequence[Any], group: str, since: dt.datetime, until: dt.datetime
) -> dict[int, Movement]:
    """Spans of the customer accounts that `which` selects, by `group`: "a.id", or "0" for all of them together."""
    last = ClosedDay.objects.using(_alias()).filter(ends_at__lte=since).order_by("-day").first()
    from_id, closed_at = (last.later_posting_id, last.ends_at) if last else (0, EPOCH)
    openings: dict[int, int] = defaultdict(int)
    sums: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    with connections[_alias()].cursor() as cursor:
        if last is not None:
            cursor.execute(
                f"SELECT {group}, SUM((SELECT s.available_fen + s.frozen_fen FROM funds_accountsnapshot s "  # noqa: S608
                "WHERE s.account_id = a.id AND s.taken_at <= %s ORDER BY s.taken_at DESC LIMIT 1)) "
                f"FROM funds_account a WHERE {which} GROUP BY 1",
                [_adapt(closed_at), *values],
            )
            openings.update({key: int(total or 0) for key, total in cursor.fetchall()})
        cursor.execute(
            f"SELECT {group}, p.category, CASE WHEN p.created_at < %s THEN 1 ELSE 0 END, SUM(p.amount_fen) "  # noqa: S608
            f"FROM funds_account a JOIN funds_posting p ON p.account_id = a.id WHERE {which} "
            "AND p.id >= %s AND p.created_at >= %s AND p.created_at < %s GROUP BY 1, 2, 3",
            [_adapt(since), *values, from_id, _adapt(closed_at), _adapt(until)],
        )
        for key, category, is_before, total in cursor.fetchall():
            if is_before:
                openings[key] += int(total)
            else:
                sums[key][category] += int(total)
    return {key: _movement(openings[key], sums[key]) for key in openings.keys() | sums.keys()}


def _movement(opening_fen: int, sums: Mapping[str, int]) -> Movement:
    return Movement(
        opening_fen=opening_fen,
        recharge_fen=sums.get(Category.RECHARGE, 0),
        income_fen=sums.get(Category.INCOME, 0),
        withdrawal_fen=-sums.get(Category.WITHDRAWAL, 0),
        consumption_fen=-sums.get(Category.CONSUMPTION, 0),
        closing_fen=opening_fen + sum(sums.values()),
    )


def _balance(account_id: int, until: dt.datetime | None) -> Balance:
    snapshots = AccountSnapshot.objects.using(_alias()).filter(account_id=account_id)
    if until is not None:
        snapshots = snapshots.filter(taken_at__lte=until)
    snapshot = snapshots.order_by("-taken_at").first()
    postings = Posting.objects.using(_alias()).filter(account_id=account_id)
    if snapshot is not None:
        postings = postings.filter(id__gte=snapshot.later_posting_id, created_at__gte=snapshot.taken_at)
    if until is not None:
        postings = postings.filter(created_at__lt=until)
    moved = postings.aggregate(
        available=Sum("amount_fen", filter=Q(bucket=Bucket.AVAILABLE)),
        frozen=Sum("amount_fen", filter=Q(bucket=Bucket.FROZEN)),
    )
    return Balance(
        available_fen=(snapshot.available_fen if snapshot else 0) + (moved["available"] or 0),
        frozen_fen=(snapshot.frozen_fen if snapshot else 0) + (moved["frozen"] or 0),
    )


def _from_id(since: dt.datetime) -> int:
    """No posting of `since` or later has a smaller id: that of the last day that was closed before."""
    found = ClosedDay.objects.using(_alias()).filter(ends_at__lte=since).order_by("-day")
    return found.values_list("later_posting_id", flat=True).first() or 0


def _trial_line(row: TrialBalanceLine) -> TrialLine:
    name, name_zh = chart.report_name(row.code)
    own = next((title for title in chart.TITLES if row.code in (title.code, title.frozen_code)), None)
    return TrialLine(
        code=row.code,
        name=name,
        name_zh=name_zh,
        type="" if own is None else own.type,
        opening_fen=row.opening_fen,
        debit_fen=row.debit_fen,
        credit_fen=row.credit_fen,
        closing_fen=row.closing_fen,
    )


def _find(account: AccountRef) -> Account | None:
    owner_kind, owner_id, code = account.key
    return Account.objects.using(_alias()).filter(owner_kind=owner_kind, owner_id=owner_id, code=code).first()


def _adapt(moment: dt.datetime) -> Any:
    return connections[_alias()].ops.adapt_datetimefield_value(moment)


def _alias() -> str:
    return roles.alias_for("funds")

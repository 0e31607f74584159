"""The one posting door.

Journal, postings, account rows and hold rows are one transaction, opened by the caller together with the outbox row of
what must happen next. Source: design `money.md` ("How a movement is made safe"), `faults.md` 3.1.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db import IntegrityError, connections, transaction
from django.db.models import Q

from foundation.db import roles, transactions
from foundation.errors import Broken, Busy, Rejected
from funds.domain.entries import AccountRef, Bucket, Entry, HoldChange, OpenHold, ReleaseHold
from funds.models import Account, Hold, Journal, Posting

Result = TypeVar("Result")
Key = tuple[str, str, str]


class InsufficientFunds(Rejected):
    """The available balance does not cover the movement; nothing moved."""

    code = "insufficient_funds"
    http_status = 422
    message_en = "The balance is not sufficient."
    message_zh = "余额不足。"


class HoldNotOpen(Broken):
    """A hold that does not exist or is resolved was to be spent or released."""

    code = "hold_not_open"


class HoldExceeded(Broken):
    """More was to be spent or released than the hold has left."""

    code = "hold_exceeded"


class HoldConflict(Broken):
    """A hold of this key was opened before, by another journal."""

    code = "hold_conflict"


class JournalConflict(Broken):
    """The same (kind, reference) was posted before with another amount or order."""

    code = "journal_conflict"


@dataclass(frozen=True, kw_only=True)
class PostedJournal:
    """The journal that stands under (kind, reference); `created` is False when it was there before."""

    journal_id: int
    kind: str
    reference: str
    order_no: str
    source_no: str
    created: bool


def alias() -> str:
    """The database that plays the role funds."""
    return roles.alias_for("funds")


def in_transaction(work: Callable[[], Result]) -> Result:
    """Runs `work` in one transaction on the funds database; see foundation.db.transactions.run."""
    return transactions.run(work, using=alias())


def post(*, entry: Entry, now: dt.datetime) -> PostedJournal:
    """Posts an entry once, inside the caller's open transaction on the funds database.

    The same (kind, reference) again returns the first journal and moves nothing. Locks: the journal's unique key, then
    the customer accounts in id order, then the holds in key order, until the transaction ends. Raises
    InsufficientFunds, HoldNotOpen, HoldExceeded, HoldConflict, JournalConflict; the caller's transaction must then roll
    back. The number of statements does not grow with the number of lines.
    """
    transactions.assert_in_transaction(using=alias())
    journal = _insert_journal(entry, now)
    if journal is None:
        return _first(entry)
    accounts = _lock_accounts(sorted({line.account for line in entry.lines}), now)
    _move_holds(entry.holds, accounts, now)
    balances = _move_balances(entry, accounts)
    Posting.objects.using(alias()).bulk_create(
        [
            Posting(
                journal_id=journal.pk,
                account_id=accounts[line.account.key].pk,
                bucket=line.bucket,
                amount_fen=line.amount_fen,
                category=line.category,
                balance_after_fen=balances.get((line.account.key, line.bucket)),
                created_at=now,
            )
            for line in entry.lines
        ]
    )
    return _posted(journal, created=True)


def _insert_journal(entry: Entry, now: dt.datetime) -> Journal | None:
    """The inserted row, or None when (kind, reference) stands already."""
    journal = Journal(
        kind=entry.kind,
        reference=entry.reference,
        order_no=entry.order_no,
        source_no=entry.source_no,
        actor=entry.actor,
        memo=entry.memo,
        debit_total_fen=entry.total_fen,
        credit_total_fen=entry.total_fen,
        posting_count=len(entry.lines),
        created_at=now,
    )
    try:
        with transaction.atomic(using=alias()):
            journal.save(force_insert=True, using=alias())
    except IntegrityError:
        if not Journal.objects.using(alias()).filter(kind=entry.kind, reference=entry.reference).exists():
            raise
        return None
    return journal


def _first(entry: Entry) -> PostedJournal:
    journal = Journal.objects.using(alias()).get(kind=entry.kind, reference=entry.reference)
    if (journal.credit_total_fen, journal.order_no) != (entry.total_fen, entry.order_no):
        raise JournalConflict({"kind": entry.kind, "reference": entry.reference})
    return _posted(journal, created=False)


def _posted(journal: Journal, *, created: bool) -> PostedJournal:
    return PostedJournal(
        journal_id=journal.pk,
        kind=journal.kind,
        reference=journal.reference,
        order_no=journal.order_no,
        source_no=journal.source_no,
        created=created,
    )


def _lock_accounts(refs: Sequence[AccountRef], now: dt.datetime) -> Mapping[Key, Account]:
    """Rows of the accounts by key, opened where missing; customer rows are locked in id order."""
    found = _find_accounts(refs)
    missing = [ref for ref in refs if ref.key not in found]
    if missing:
        Account.objects.using(alias()).bulk_create(
            [
                Account(
                    owner_kind=ref.owner_kind,
                    owner_id=ref.owner_id,
                    code=ref.code,
                    enterprise_id=ref.enterprise_id,
                    created_at=now,
                )
                for ref in missing
            ],
            ignore_conflicts=True,
        )
        found = _find_accounts(refs)
    customers = [found[ref.key].pk for ref in refs if not ref.is_platform]
    locked = Account.objects.using(alias()).select_for_update().filter(pk__in=customers).order_by("pk")
    return {**found, **{(row.owner_kind, row.owner_id, row.code): row for row in locked}}


def _find_accounts(refs: Sequence[AccountRef]) -> dict[Key, Account]:
    by_kind: dict[tuple[str, str], list[str]] = defaultdict(list)
    for ref in refs:
        by_kind[ref.owner_kind, ref.code].append(ref.owner_id)
    wanted = Q()
    for (owner_kind, code), owner_ids in by_kind.items():
        wanted |= Q(owner_kind=owner_kind, code=code, owner_id__in=owner_ids)
    rows = Account.objects.using(alias()).filter(wanted)
    return {(row.owner_kind, row.owner_id, row.code): row for row in rows}


def _move_balances(entry: Entry, accounts: Mapping[Key, Account]) -> Mapping[tuple[Key, Bucket], int]:
    """Applies the lines to the locked customer rows by one UPDATE; returns the balance after per bucket."""
    balances: dict[tuple[Key, Bucket], int] = {}
    changed: dict[int, Account] = {}
    for line in entry.lines:
        if line.account.is_platform:
            continue
        row = accounts[line.account.key]
        if line.bucket is Bucket.AVAILABLE:
            row.available_fen += line.amount_fen
            balances[line.account.key, line.bucket] = row.available_fen
        else:
            row.frozen_fen += line.amount_fen
            balances[line.account.key, line.bucket] = row.frozen_fen
        changed[row.pk] = row
    for row in changed.values():
        if row.available_fen < 0:
            raise InsufficientFunds({"missing_fen": -row.available_fen})
        if row.frozen_fen < 0:
            raise HoldExceeded({"account": str(row)})
    if changed:
        _update_balances([changed[key] for key in sorted(changed)])
    return balances


def _update_balances(rows: Sequence[Account]) -> None:
    """One statement however many rows; the versions read under lock are its condition."""
    connection = connections[alias()]
    when = " ".join(["WHEN %s THEN %s"] * len(rows))
    places = ", ".join(["%s"] * len(rows))
    ids = [row.pk for row in rows]
    available = [value for row in rows for value in (row.pk, row.available_fen)]
    frozen = [value for row in rows for value in (row.pk, row.frozen_fen)]
    versions = [value for row in rows for value in (row.pk, row.version)]
    table = connection.ops.quote_name(Account._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET available_fen = CASE id {when} END, frozen_fen = CASE id {when} END, "  # noqa: S608 - only placeholders
            f"version = version + 1 WHERE id IN ({places}) AND version = CASE id {when} END",
            [*available, *frozen, *ids, *versions],
        )
        if cursor.rowcount != len(rows):
            raise Busy({"reason": "account rows changed"})


def _move_holds(changes: Sequence[HoldChange], accounts: Mapping[Key, Account], now: dt.datetime) -> None:
    for change in sorted(changes, key=lambda change: change.key):
        account = accounts[change.account.key]
        if isinstance(change, OpenHold):
            _open_hold(change, account, now)
        else:
            _reduce_hold(change, account, now)


def _open_hold(change: OpenHold, account: Account, now: dt.datetime) -> None:
    rows = Hold.objects.using(alias())
    try:
        with transaction.atomic(using=alias()):
            rows.create(
                key=change.key,
                account=account,
                amount_fen=change.amount_fen,
                remaining_fen=change.amount_fen,
                opened_at=now,
            )
    except IntegrityError as error:
        if not rows.filter(key=change.key).exists():
            raise
        raise HoldConflict({"hold": change.key}) from error


def _reduce_hold(change: HoldChange, account: Account, now: dt.datetime) -> None:
    rows = Hold.objects.using(alias())
    hold = rows.select_for_update().filter(key=change.key, account=account).first()
    if hold is None or hold.state != Hold.State.OPEN:
        raise HoldNotOpen({"hold": change.key})
    rest = hold.remaining_fen - change.amount_fen
    if rest < 0:
        raise HoldExceeded({"hold": change.key, "missing_fen": -rest})
    resolved = Hold.State.RELEASED if isinstance(change, ReleaseHold) else Hold.State.SETTLED
    rows.filter(pk=hold.pk).update(
        remaining_fen=rest,
        state=resolved if rest == 0 else Hold.State.OPEN,
        resolved_at=now if rest == 0 else None,
    )

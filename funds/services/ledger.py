"""The one posting door.

Journal, postings, account rows and hold rows are one transaction, opened by the caller together with the outbox row of
what must happen next. A balance changes by one relative UPDATE whose condition keeps it from falling below zero, never
by a value computed from an earlier read. Source: design `money.md` ("How a movement is made safe"), `faults.md` 3.1.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from django.db import connections, transaction

from foundation.db import roles, transactions
from foundation.errors import Broken, Rejected
from funds.domain import digests
from funds.domain.entries import Bucket, Entry, HoldChange, OpenHold
from funds.models import Account
from funds.services import rows
from funds.services.rows import Balance, Key

Result = TypeVar("Result")

KNOWN_ACCOUNTS_LIMIT = 200_000
"""Account ids one process remembers (about 40 MB); then it starts anew."""
_known_accounts: dict[Key, int] = {}
"""Ids never change and accounts are never removed, so what was read and committed once stays true."""


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


class DayClosed(Broken):
    """The journal's moment lies in a day that was closed; nothing moved."""

    code = "day_closed"


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
    the holds in key order, then the customer accounts (the hot rows) in id order, until the transaction ends. Raises
    InsufficientFunds, HoldNotOpen, HoldExceeded, HoldConflict, JournalConflict, DayClosed; the caller's transaction
    must then roll back. The number of statements does not grow with the number of lines.
    """
    transactions.assert_in_transaction(using=alias())
    with connections[alias()].cursor() as cursor:
        moment = rows.moment_text(cursor, now)
        ids = _known_ids(cursor, entry)
        if len(ids) < len({line.account.key for line in entry.lines}):
            if rows.find_journal(cursor, entry=entry) is not None:
                return _first(cursor, entry)  # a repeat must not even open an account
            ids = _open_accounts(cursor, entry, now)
        try:
            journal_id = rows.insert_journal(cursor, entry=entry, digest=_digest(entry, ids, now), moment=moment)
        except rows.DayIsClosed as error:
            raise DayClosed({"kind": entry.kind, "reference": entry.reference}) from error
        if journal_id is None:
            return _first(cursor, entry)
        _move_holds(cursor, entry.holds, ids, moment)
        _move_balances(cursor, entry, ids)
        lines = [(ids[line.account.key], line) for line in entry.lines]
        rows.insert_postings(cursor, journal_id=journal_id, lines=lines, moment=moment)
    return PostedJournal(
        journal_id=journal_id,
        kind=entry.kind,
        reference=entry.reference,
        order_no=entry.order_no,
        source_no=entry.source_no,
        created=True,
    )


def forget_accounts() -> None:
    """Drops the remembered account ids; for programs that change to another database while they run."""
    _known_accounts.clear()


def _first(cursor: Any, entry: Entry) -> PostedJournal:
    standing = rows.find_journal(cursor, entry=entry)
    if standing is None or (standing.total_fen, standing.order_no) != (entry.total_fen, entry.order_no):
        raise JournalConflict({"kind": entry.kind, "reference": entry.reference})
    return PostedJournal(
        journal_id=standing.journal_id,
        kind=entry.kind,
        reference=entry.reference,
        order_no=standing.order_no,
        source_no=standing.source_no,
        created=False,
    )


def _digest(entry: Entry, ids: Mapping[Key, int], now: dt.datetime) -> str:
    return digests.journal_digest(
        kind=entry.kind,
        reference=entry.reference,
        order_no=entry.order_no,
        source_no=entry.source_no,
        actor=entry.actor,
        memo=entry.memo,
        created_at=now,
        lines=[(ids[line.account.key], line.bucket, line.amount_fen, line.category) for line in entry.lines],
    )


def _known_ids(cursor: Any, entry: Entry) -> dict[Key, int]:
    """Ids of the accounts that exist. What is read becomes known to the process when this transaction has committed."""
    keys = {line.account.key for line in entry.lines}
    ids = {key: _known_accounts[key] for key in keys if key in _known_accounts}
    if len(ids) < len(keys):
        found = rows.find_account_ids(cursor, keys - ids.keys())
        transaction.on_commit(partial(_remember, found), using=alias())
        ids |= found
    return ids


def _open_accounts(cursor: Any, entry: Entry, now: dt.datetime) -> dict[Key, int]:
    """Opens what is missing, together with whoever does the same at this moment."""
    refs = {line.account.key: line.account for line in entry.lines}
    Account.objects.using(alias()).bulk_create(
        [
            Account(
                owner_kind=ref.owner_kind,
                owner_id=ref.owner_id,
                code=ref.code,
                enterprise_id=ref.enterprise_id,
                created_at=now,
            )
            for ref in sorted(refs.values())
        ],
        ignore_conflicts=True,
    )
    return _known_ids(cursor, entry)


def _remember(found: Mapping[Key, int]) -> None:
    if len(_known_accounts) + len(found) > KNOWN_ACCOUNTS_LIMIT:
        _known_accounts.clear()
    _known_accounts.update(found)


def _move_balances(cursor: Any, entry: Entry, ids: Mapping[Key, int]) -> None:
    """Applies the customers' lines; refuses what would fall below zero."""
    changes = {
        (ids[line.account.key], line.bucket): line.amount_fen for line in entry.lines if not line.account.is_platform
    }
    if not changes:
        return
    debits = {place: fen for place, fen in changes.items() if fen < 0}
    accounts = {account_id for account_id, _ in changes}
    if len(debits) > 1:  # then a row count does not tell which of them failed
        _check_debits(debits, rows.read_balances(cursor, accounts, lock=True))
    if not rows.change_balances(cursor, changes):
        _check_debits(debits, rows.read_balances(cursor, accounts))
        # A credit was committed since the UPDATE looked. It did find too little: that was the answer at that moment.
        raise HoldExceeded({}) if Bucket.FROZEN in {bucket for _, bucket in debits} else InsufficientFunds({})


def _check_debits(debits: Mapping[tuple[int, Bucket], int], present: Mapping[int, Balance]) -> None:
    """Raises for the first bucket that does not hold what is to be taken from it."""
    for (account_id, bucket), fen in debits.items():
        rest = _pocket(present[account_id], bucket) + fen
        if rest < 0 and bucket is Bucket.AVAILABLE:
            raise InsufficientFunds({"missing_fen": -rest})
        if rest < 0:
            raise HoldExceeded({"account": account_id, "missing_fen": -rest})


def _pocket(balance: Balance, bucket: Bucket) -> int:
    return balance.available_fen if bucket is Bucket.AVAILABLE else balance.frozen_fen


def _move_holds(cursor: Any, changes: tuple[HoldChange, ...], ids: Mapping[Key, int], moment: str) -> None:
    for change in sorted(changes, key=lambda change: change.key):
        account_id = ids[change.account.key]
        if isinstance(change, OpenHold):
            if not rows.insert_hold(cursor, change=change, account_id=account_id, moment=moment):
                raise HoldConflict({"hold": change.key})
        elif not rows.reduce_hold(cursor, change=change, account_id=account_id, moment=moment):
            found = rows.read_hold(cursor, key=change.key)
            if found is not None and found[:2] == (account_id, "OPEN") and found[2] < change.amount_fen:
                raise HoldExceeded({"hold": change.key, "missing_fen": change.amount_fen - found[2]})
            raise HoldNotOpen({"hold": change.key})

"""The statements of the posting door, as literal SQL that reads the same on MariaDB and SQLite.

Django's query building cost six times what MariaDB needed for a transfer; here each step is one statement however many
lines an entry has. Whole numbers and members of our own enums are written into the text, everything else is a
parameter. Only funds.services.ledger calls this module.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import IntegrityError, OperationalError

from funds.domain.entries import Bucket, Entry, Line, OpenHold, ReleaseHold, SpendHold
from funds.domain.triggers import DAY_IS_CLOSED

Key = tuple[str, str, str]
"""(owner kind, owner id, code): what makes an account unique."""

SHORT_ENTRY_LINES = 6
"""Up to here one INSERT … SELECT is quicker than a SELECT and an INSERT."""


class DayIsClosed(Exception):
    """The trigger on journals refused a moment inside a closed day."""


class Balance(NamedTuple):
    """One account row as it stands in this transaction."""

    available_fen: int
    frozen_fen: int


@dataclass(frozen=True, kw_only=True)
class StandingJournal:
    """The row under (kind, reference)."""

    journal_id: int
    order_no: str
    source_no: str
    total_fen: int


def insert_journal(cursor: Any, *, entry: Entry, digest: str, moment: str) -> int | None:
    """Id of the new row; None when (kind, reference) stands already. Raises DayIsClosed."""
    try:
        cursor.execute(
            "INSERT INTO funds_journal (kind, reference, order_no, source_no, actor, memo, debit_total_fen, "
            "credit_total_fen, posting_count, digest, created_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                entry.kind,
                entry.reference,
                entry.order_no,
                entry.source_no,
                entry.actor,
                entry.memo,
                entry.total_fen,
                entry.total_fen,
                len(entry.lines),
                digest,
                moment,
            ),
        )
    except (IntegrityError, OperationalError) as error:
        if DAY_IS_CLOSED in str(error):
            raise DayIsClosed from error
        if isinstance(error, IntegrityError) and find_journal(cursor, entry=entry) is not None:
            return None
        raise
    return int(cursor.lastrowid)


def find_journal(cursor: Any, *, entry: Entry) -> StandingJournal | None:
    """The journal that stands under the entry's (kind, reference)."""
    cursor.execute(
        "SELECT id, order_no, source_no, credit_total_fen FROM funds_journal WHERE kind = %s AND reference = %s",
        (entry.kind, entry.reference),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    return StandingJournal(journal_id=row[0], order_no=row[1], source_no=row[2], total_fen=row[3])


def find_account_ids(cursor: Any, keys: Iterable[Key]) -> dict[Key, int]:
    """Ids of the accounts that exist, by one statement."""
    owners: dict[tuple[str, str], list[str]] = defaultdict(list)
    for owner_kind, owner_id, code in keys:
        owners[owner_kind, code].append(owner_id)
    wanted, values = [], []
    for (owner_kind, code), owner_ids in owners.items():
        wanted.append(f"(owner_kind = %s AND code = %s AND owner_id IN ({_places(len(owner_ids))}))")
        values += [owner_kind, code, *owner_ids]
    cursor.execute(
        f"SELECT id, owner_kind, owner_id, code FROM funds_account WHERE {' OR '.join(wanted)}",  # noqa: S608
        values,
    )
    return {(row[1], row[2], row[3]): row[0] for row in cursor.fetchall()}


def change_balances(cursor: Any, changes: Mapping[tuple[int, Bucket], int]) -> bool:
    """Adds signed fen to buckets of customer rows in one conditional UPDATE; False when a row would fall below zero.

    The rows are locked in id order until the transaction ends. A False leaves some rows changed: roll back.
    """
    ids = sorted({account_id for account_id, _ in changes})
    assignments, conditions = [], [f"id IN ({', '.join(map(str, ids))})"]
    for bucket, column in ((Bucket.AVAILABLE, "available_fen"), (Bucket.FROZEN, "frozen_fen")):
        amounts = [(account_id, fen) for (account_id, where), fen in sorted(changes.items()) if where is bucket]
        if not amounts:
            continue
        assignments.append(f"{column} = {column} + {_case(amounts)}")
        debits = [(account_id, -fen) for account_id, fen in amounts if fen < 0]
        if debits:
            conditions.append(f"{column} >= {_case(debits)}")
    hint = " FORCE INDEX (PRIMARY)" if cursor.db.vendor == "mysql" else ""
    cursor.execute(
        f"UPDATE funds_account{hint} SET {', '.join(assignments)}, version = version + 1 "  # noqa: S608 - integers only
        f"WHERE {' AND '.join(conditions)}"
    )
    return bool(cursor.rowcount == len(ids))


def read_balances(cursor: Any, ids: Iterable[int], *, lock: bool = False) -> dict[int, Balance]:
    """The rows as this transaction sees them; `lock` keeps them, in id order, until it ends."""
    suffix = " ORDER BY id FOR UPDATE" if lock and cursor.db.features.has_select_for_update else ""
    cursor.execute(
        "SELECT id, available_fen, frozen_fen FROM funds_account "  # noqa: S608 - integers only
        f"WHERE id IN ({', '.join(map(str, sorted(ids)))}){suffix}"
    )
    return {row[0]: Balance(row[1], row[2]) for row in cursor.fetchall()}


def insert_postings(cursor: Any, *, journal_id: int, lines: Sequence[tuple[int, Line]], moment: str) -> None:
    """All (account id, line) of a journal, with the customers' balances after them.

    A few lines read the balance of their own row in the same statement; many are written faster as plain values.
    """
    balances: dict[int, Balance] = {}
    customers = {account_id for account_id, line in lines if not line.account.is_platform}
    is_short = len(lines) <= SHORT_ENTRY_LINES
    if customers and not is_short:
        balances = read_balances(cursor, customers)
    rows = []
    for account_id, line in lines:
        column = "available_fen" if line.bucket is Bucket.AVAILABLE else "frozen_fen"
        balance = "NULL" if line.account.is_platform else column
        if balances and account_id in balances:
            balance = str(getattr(balances[account_id], column))
        row = (
            f"{journal_id}, {account_id}, '{line.bucket.value}', {line.amount_fen}, '{line.category.value}', "
            f"{balance}, %s"
        )
        source = f" FROM funds_account WHERE id = {account_id}" if balance == column else ""
        rows.append(f"SELECT {row}{source}" if is_short else f"({row})")
    cursor.execute(
        "INSERT INTO funds_posting (journal_id, account_id, bucket, amount_fen, category, balance_after_fen, "
        f"created_at) {' UNION ALL '.join(rows) if is_short else 'VALUES ' + ', '.join(rows)}",
        [moment] * len(rows),
    )


def insert_hold(cursor: Any, *, change: OpenHold, account_id: int, moment: str) -> bool:
    """False when a hold of this key was opened before."""
    try:
        cursor.execute(
            "INSERT INTO funds_hold (`key`, account_id, amount_fen, remaining_fen, state, opened_at) "
            "VALUES (%s, %s, %s, %s, 'OPEN', %s)",
            (change.key, account_id, change.amount_fen, change.amount_fen, moment),
        )
    except IntegrityError:
        if read_hold(cursor, key=change.key) is None:
            raise
        return False
    return True


def reduce_hold(cursor: Any, *, change: SpendHold | ReleaseHold, account_id: int, moment: str) -> bool:
    """Takes from an open hold by one conditional UPDATE; False when it is not there, not open or too small.

    The column that the others are computed from comes last: MariaDB's assignments see each other in order.
    """
    resolved = "RELEASED" if isinstance(change, ReleaseHold) else "SETTLED"
    cursor.execute(
        f"UPDATE funds_hold SET state = CASE WHEN remaining_fen = %s THEN '{resolved}' ELSE 'OPEN' END, "  # noqa: S608
        "resolved_at = CASE WHEN remaining_fen = %s THEN %s ELSE NULL END, remaining_fen = remaining_fen - %s "
        "WHERE `key` = %s AND account_id = %s AND state = 'OPEN' AND remaining_fen >= %s",
        (
            change.amount_fen,
            change.amount_fen,
            moment,
            change.amount_fen,
            change.key,
            account_id,
            change.amount_fen,
        ),
    )
    return bool(cursor.rowcount == 1)


def read_hold(cursor: Any, *, key: str) -> tuple[int, str, int] | None:
    """(account id, state, remaining fen) of a hold."""
    cursor.execute("SELECT account_id, state, remaining_fen FROM funds_hold WHERE `key` = %s", (key,))
    row = cursor.fetchone()
    return None if row is None else (row[0], row[1], row[2])


def moment_text(cursor: Any, now: dt.datetime) -> str:
    """`now` as this database takes it in literal statements."""
    return str(cursor.db.ops.adapt_datetimefield_value(now))


def _case(amounts: Sequence[tuple[int, int]]) -> str:
    if len(amounts) == 1:
        account_id, fen = amounts[0]
        return f"(CASE WHEN id = {account_id} THEN {fen} ELSE 0 END)"
    return f"(CASE id {' '.join(f'WHEN {account_id} THEN {fen}' for account_id, fen in amounts)} ELSE 0 END)"


def _places(count: int) -> str:
    return ", ".join(["%s"] * count)

"""Day close (日结) and snapshots: what the books were at a moment, fixed once and proved against the postings later.

A day is closed in order, some minutes after it ended, in one transaction: totals, the trial balance per code of the
chart, and a snapshot of every account that moved. From then on the database refuses journals of that day (a trigger).
All sums are made by the database. Source: design `accounts.md` (I3, I12, section 4), `money.md`.
"""
# ruff: noqa: S608 - the texts are put together from our own constants only

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from django.db import connections

from foundation import clock
from foundation.errors import Broken, Rejected
from funds import reports
from funds.domain import chart
from funds.models import ClosedDay, Journal, TrialBalanceLine
from funds.services import ledger

GRACE = dt.timedelta(minutes=10)
"""A day is closed this long after its end: what was begun on it has committed or given up (retries take seconds)."""
SKEW = dt.timedelta(minutes=10)
"""Clocks of application nodes differ by less than this, so ids and moments agree when they are further apart."""
PLATFORM_SNAPSHOT_POSTINGS = 10_000
"""Postings since the last snapshot from which on a platform account gets another one before the day ends."""


class DayNotOver(Rejected):
    """The day still runs, or ended less than GRACE ago."""

    code = "day_not_over"
    http_status = 409
    message_en = "The day is not over yet."
    message_zh = "该日尚未结束。"


class DayOutOfOrder(Rejected):
    """Days are closed one after the other; the details name the next one."""

    code = "day_out_of_order"
    http_status = 409
    message_en = "Another day must be closed first."
    message_zh = "请按顺序日结。"


class JournalArrivedLate(Broken):
    """A journal of the day was inserted while the day was being closed; nothing was written, close it again."""

    code = "journal_arrived_late"


def next_day_to_close() -> dt.date | None:
    """The day after the last closed one, or the first day with a journal; None while there is no journal."""
    last = _last_closed()
    if last is not None:
        return last.day + dt.timedelta(days=1)
    first = Journal.objects.using(ledger.alias()).order_by("created_at").values_list("created_at", flat=True).first()
    return None if first is None else clock.business_date(first)


def close_day(*, day: dt.date, now: dt.datetime) -> ClosedDay:
    """Closes one business day; a day that is closed already is returned as it stands.

    Locks the journals of the day's last hour, which waits for those that are still being posted. Raises DayNotOver,
    DayOutOfOrder, JournalArrivedLate.
    """
    standing = ClosedDay.objects.using(ledger.alias()).filter(day=day).first()
    if standing is not None:
        return standing
    expected = next_day_to_close()
    if expected is not None and day != expected:
        raise DayOutOfOrder({"next_day": expected.isoformat()})
    if now < clock.day_start(day + dt.timedelta(days=1)) + GRACE:
        raise DayNotOver({"day": day.isoformat()})
    return ledger.in_transaction(lambda: _close(day, now))


def close_due_days(*, now: dt.datetime, limit: int = 400) -> list[dt.date]:
    """Closes every day that is over, oldest first, each in its own transaction; returns those closed now."""
    closed: list[dt.date] = []
    while len(closed) < limit:
        day = next_day_to_close()
        if day is None or now < clock.day_start(day + dt.timedelta(days=1)) + GRACE:
            break
        close_day(day=day, now=now)
        closed.append(day)
    return closed


def snapshot_platform_accounts(*, now: dt.datetime, at_least: int = PLATFORM_SNAPSHOT_POSTINGS) -> int:
    """A snapshot as of GRACE ago of every platform account with many postings since its last one; returns how many.

    Platform accounts carry no balance row; this keeps reading theirs short on a busy day. Safe to repeat.
    """
    taken_at = now - GRACE
    last = _last_closed()
    since, from_id = (last.ends_at, last.later_posting_id) if last else (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), 0)

    def work() -> int:
        _wait_for_open_journals(before=taken_at)
        return _write_snapshots(
            taken_at=taken_at,
            since=since,
            from_id=from_id,
            owners="= 'PLATFORM'",
            having=f"HAVING COUNT(*) >= {int(at_least)}",
        )

    return ledger.in_transaction(work)


def _last_closed() -> ClosedDay | None:
    return ClosedDay.objects.using(ledger.alias()).order_by("-day").first()


def _close(day: dt.date, now: dt.datetime) -> ClosedDay:
    starts_at, ends_at = clock.day_start(day), clock.day_start(day + dt.timedelta(days=1))
    last = _last_closed()
    from_id = last.later_posting_id if last else 0
    _wait_for_open_journals(before=ends_at)
    journals = _journal_totals(starts_at, ends_at)
    sums = _posting_sums(from_id, starts_at, ends_at)
    _write_snapshots(taken_at=ends_at, since=starts_at, from_id=from_id, owners="<> ''", having="")
    closed = ClosedDay.objects.using(ledger.alias()).create(
        day=day,
        ends_at=ends_at,
        journal_count=journals[0],
        posting_count=journals[1],
        debit_fen=sum(debit for debit, _ in sums.values()),
        credit_fen=sum(credit for _, credit in sums.values()),
        later_posting_id=_later_posting_id(from_id, ends_at),
        closed_at=now,
    )
    _write_trial_balance(closed, last, sums)
    if _journal_totals(starts_at, ends_at) != journals:
        raise JournalArrivedLate({"day": day.isoformat()})
    return closed


def _wait_for_open_journals(*, before: dt.datetime) -> None:
    """A locking read waits for rows that were inserted and not committed yet (SQLite has one writer: nothing to do)."""
    if connections[ledger.alias()].vendor != "mysql":
        return
    _query(
        "SELECT COUNT(*) FROM (SELECT id FROM funds_journal WHERE created_at >= %s AND created_at < %s "
        "LOCK IN SHARE MODE) t",
        [before - dt.timedelta(hours=1), before],
    )


def _journal_totals(starts_at: dt.datetime, ends_at: dt.datetime) -> tuple[int, int]:
    """(journals, postings they say they have) of a span."""
    rows = _query(
        "SELECT COUNT(*), COALESCE(SUM(posting_count), 0) FROM funds_journal "
        "WHERE created_at >= %s AND created_at < %s",
        [starts_at, ends_at],
    )
    return int(rows[0][0]), int(rows[0][1])


def _posting_sums(from_id: int, starts_at: dt.datetime, ends_at: dt.datetime) -> dict[str, tuple[int, int]]:
    """(debit, credit), both positive, per code of the trial balance."""
    rows = _query(
        "SELECT a.code, m.bucket, SUM(m.debit), SUM(m.credit) FROM (SELECT p.account_id, p.bucket, "
        "SUM(CASE WHEN p.amount_fen < 0 THEN -p.amount_fen ELSE 0 END) AS debit, "
        "SUM(CASE WHEN p.amount_fen > 0 THEN p.amount_fen ELSE 0 END) AS credit "
        f"FROM funds_posting p{reports.in_id_order()} WHERE p.id >= %s AND p.created_at >= %s AND p.created_at < %s "
        "GROUP BY p.account_id, p.bucket) m JOIN funds_account a ON a.id = m.account_id GROUP BY a.code, m.bucket",
        [from_id, starts_at, ends_at],
    )
    return {
        chart.report_code(code, is_frozen=bucket == "FROZEN"): (int(debit), int(credit))
        for code, bucket, debit, credit in rows
    }


def _later_posting_id(from_id: int, ends_at: dt.datetime) -> int:
    """Below this id stands no posting of `ends_at` or later: ids and moments agree when SKEW apart."""
    rows = _query("SELECT MAX(id) FROM funds_posting WHERE id >= %s AND created_at < %s", [from_id, ends_at - SKEW])
    return from_id if rows[0][0] is None else int(rows[0][0]) + 1


def _write_snapshots(*, taken_at: dt.datetime, since: dt.datetime, from_id: int, owners: str, having: str) -> int:
    """One row per account with postings in [since, taken_at): the snapshot at `since` or before, plus those postings.

    `since` is the end of a closed day (or before everything), so that earlier snapshot holds all that came before.
    """
    newest = (
        "COALESCE((SELECT s.{column} FROM funds_accountsnapshot s WHERE s.account_id = m.account_id "
        "AND s.taken_at <= %s ORDER BY s.taken_at DESC LIMIT 1), 0)"
    )
    later_id = _later_posting_id(from_id, taken_at)
    with connections[ledger.alias()].cursor() as cursor:
        cursor.execute(
            "INSERT INTO funds_accountsnapshot (account_id, taken_at, available_fen, frozen_fen, later_posting_id) "
            f"SELECT m.account_id, %s, {newest.format(column='available_fen')} + m.available, "
            f"{newest.format(column='frozen_fen')} + m.frozen, %s FROM (SELECT p.account_id, "
            "SUM(CASE WHEN p.bucket = 'AVAILABLE' THEN p.amount_fen ELSE 0 END) AS available, "
            "SUM(CASE WHEN p.bucket = 'FROZEN' THEN p.amount_fen ELSE 0 END) AS frozen "
            f"FROM funds_posting p{reports.in_id_order()} WHERE p.id >= %s AND p.created_at >= %s "
            f"AND p.created_at < %s GROUP BY p.account_id {having}) m "
            f"JOIN funds_account a ON a.id = m.account_id WHERE a.owner_kind {owners}",
            _adapted([taken_at, since, since, later_id, from_id, since, taken_at]),
        )
        return int(cursor.rowcount)


def _write_trial_balance(closed: ClosedDay, last: ClosedDay | None, sums: Mapping[str, tuple[int, int]]) -> None:
    opening: dict[str, int] = defaultdict(int)
    if last is not None:
        lines = TrialBalanceLine.objects.using(ledger.alias()).filter(day=last)
        opening.update(lines.values_list("code", "closing_fen"))
    rows = []
    for code in sorted(opening.keys() | sums.keys()):
        debit, credit = sums.get(code, (0, 0))
        rows.append(
            TrialBalanceLine(
                day=closed,
                code=code,
                opening_fen=opening[code],
                debit_fen=debit,
                credit_fen=credit,
                closing_fen=opening[code] + credit - debit,
            )
        )
    TrialBalanceLine.objects.using(ledger.alias()).bulk_create(rows)


def _query(sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
    with connections[ledger.alias()].cursor() as cursor:
        cursor.execute(sql, _adapted(values))
        return list(cursor.fetchall())


def _adapted(values: list[Any]) -> list[Any]:
    adapt = connections[ledger.alias()].ops.adapt_datetimefield_value
    return [adapt(value) if isinstance(value, dt.datetime) else value for value in values]

"""The proof of the ledger: every invariant by one set-based statement, fast enough for millions of rows each night.

Of the selectors' layer. At rest, or the figures move. Source: design `money.md`, `accounts.md` section 3.
"""
# ruff: noqa: S608 - the texts are put together from our own constants only

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import connections

from foundation.db import roles
from foundation.proof import ProofLine
from funds import reports
from funds.domain import chart

SHOWN = 5


def prove() -> list[ProofLine]:
    """Journals, postings, accounts, holds, enterprises and adjustments agree."""
    along = reports.in_id_order()
    return [
        _line(
            "all postings sum to zero",
            "SELECT 1, total FROM (SELECT SUM(amount_fen) AS total FROM funds_posting) t WHERE total <> 0",
        ),
        _line(
            "each journal sums to zero and has all its lines",
            "SELECT j.id, COALESCE(p.total, -1) FROM funds_journal j LEFT JOIN (SELECT journal_id, "
            "SUM(amount_fen) AS total, COUNT(*) AS line_count, "
            "SUM(CASE WHEN amount_fen > 0 THEN amount_fen ELSE 0 END) AS credit "
            f"FROM funds_posting{along} GROUP BY journal_id) p ON p.journal_id = j.id "
            "WHERE p.total IS NULL OR p.total <> 0 OR p.line_count <> j.posting_count "
            "OR p.credit <> j.credit_total_fen",
        ),
        _line(
            "customer balances equal their postings",
            "SELECT a.id, a.available_fen + a.frozen_fen FROM funds_account a LEFT JOIN (SELECT account_id, "
            "SUM(CASE WHEN bucket = 'AVAILABLE' THEN amount_fen ELSE 0 END) AS available, "
            "SUM(CASE WHEN bucket = 'FROZEN' THEN amount_fen ELSE 0 END) AS frozen "
            f"FROM funds_posting{along} GROUP BY account_id) p ON p.account_id = a.id "
            "WHERE a.owner_kind <> 'PLATFORM' AND "
            "(a.available_fen <> COALESCE(p.available, 0) OR a.frozen_fen <> COALESCE(p.frozen, 0))",
        ),
        _line(
            "balances after follow each other",
            "SELECT p.id, p.balance_after_fen FROM (SELECT p.id, p.balance_after_fen, p.amount_fen, "
            "LAG(p.balance_after_fen) OVER (PARTITION BY p.account_id, p.bucket ORDER BY p.id) AS before_fen "
            f"FROM funds_posting p{along} WHERE p.category <> 'PLATFORM') p "
            "WHERE p.balance_after_fen IS NULL OR COALESCE(p.before_fen, 0) + p.amount_fen <> p.balance_after_fen",
        ),
        _line(
            "frozen equals the open holds",
            "SELECT a.id, a.frozen_fen FROM funds_account a LEFT JOIN funds_hold h ON h.account_id = a.id "
            "GROUP BY a.id, a.frozen_fen HAVING a.frozen_fen <> COALESCE(SUM(h.remaining_fen), 0)",
        ),
        _line(
            "no balance is negative",
            "SELECT id, available_fen FROM funds_account WHERE available_fen < 0 OR frozen_fen < 0",
        ),
        _line(
            "holds are resolved exactly when they are empty",
            "SELECT id, remaining_fen FROM funds_hold WHERE remaining_fen < 0 OR remaining_fen > amount_fen "
            "OR (state = 'OPEN') <> (remaining_fen > 0)",
        ),
        _enterprise_rule(),
        *_adjustments(),
    ]


def _enterprise_rule() -> ProofLine:
    """Recharge + income − withdrawal − consumption = balance, per enterprise, from the postings' categories."""
    return _line(
        "recharge + income - withdrawal - consumption = balance, per enterprise",
        "SELECT b.enterprise_id, b.balance - COALESCE(m.moved, 0) FROM (SELECT enterprise_id, "
        "SUM(available_fen + frozen_fen) AS balance FROM funds_account WHERE owner_kind <> 'PLATFORM' "
        "GROUP BY enterprise_id) b LEFT JOIN (SELECT a.enterprise_id, SUM(p.amount_fen) AS moved FROM "
        f"(SELECT account_id, SUM(amount_fen) AS amount_fen FROM funds_posting{reports.in_id_order()} "
        "WHERE category IN ('RECHARGE', 'INCOME', 'WITHDRAWAL', 'CONSUMPTION') GROUP BY account_id) p "
        "JOIN funds_account a ON a.id = p.account_id GROUP BY a.enterprise_id) m "
        "ON m.enterprise_id = b.enterprise_id WHERE b.balance <> COALESCE(m.moved, 0)",
    )


def _adjustments() -> list[ProofLine]:
    """Nothing is adjusted without an approval, nothing approved stays unposted, and what is posted was approved."""
    return [
        _line(
            "every approved adjustment has its journal and every such journal its adjustment",
            "SELECT a.number, a.total_fen FROM funds_adjustment a LEFT JOIN funds_journal j ON j.id = a.journal_id "
            "AND j.kind = 'adjustment' AND j.reference = a.number AND j.credit_total_fen = a.total_fen "
            "WHERE a.state = 'APPROVED' AND j.id IS NULL UNION ALL SELECT j.reference, j.credit_total_fen "
            "FROM funds_journal j LEFT JOIN funds_adjustment a ON a.journal_id = j.id AND a.state = 'APPROVED' "
            "WHERE j.kind = 'adjustment' AND a.id IS NULL",
        ),
        _line(
            "journals of adjustments have the approved lines",
            "SELECT a.number, l.line_no FROM funds_adjustment a JOIN funds_adjustmentline l ON l.adjustment_id = a.id "
            "WHERE a.state = 'APPROVED' AND NOT EXISTS (SELECT 1 FROM funds_posting p JOIN funds_account c "
            "ON c.id = p.account_id WHERE p.journal_id = a.journal_id AND p.bucket = 'AVAILABLE' "
            "AND p.amount_fen = l.amount_fen AND p.category = l.category AND c.owner_kind = l.owner_kind "
            "AND c.owner_id = l.owner_id AND c.code = l.code)",
        ),
        _line(
            "maker and checker of an adjustment are two persons",
            "SELECT number, total_fen FROM funds_adjustment WHERE state IN ('APPROVED', 'REJECTED') "
            "AND (decided_by_id IS NULL OR decided_by_id = proposed_by_id)",
        ),
    ]


def prove_closing() -> list[ProofLine]:
    """Closed days, their trial balances and the snapshots agree with the postings as they stand now."""
    return [
        _line(
            "closed days have the journals they were closed with",
            "SELECT d.day, d.journal_count FROM funds_closedday d LEFT JOIN (SELECT c.day, COUNT(*) AS journals, "
            "SUM(j.posting_count) AS postings FROM funds_closedday c JOIN funds_journal j "
            f"ON j.created_at < c.ends_at AND j.created_at >= {_day_before('c.ends_at')} GROUP BY c.day) f "
            "ON f.day = d.day WHERE COALESCE(f.journals, 0) <> d.journal_count "
            "OR COALESCE(f.postings, 0) <> d.posting_count",
        ),
        _line(
            "each trial balance sums to zero and follows the day before",
            "SELECT n.day_id, SUM(n.closing_fen) FROM funds_trialbalanceline n GROUP BY n.day_id "
            "HAVING SUM(n.closing_fen) <> 0 OR SUM(n.debit_fen) <> SUM(n.credit_fen) UNION ALL "
            "SELECT n.day_id, n.opening_fen FROM funds_trialbalanceline n JOIN funds_closedday d ON d.day = n.day_id "
            f"LEFT JOIN funds_closedday b ON b.ends_at = {_day_before('d.ends_at')} "
            "LEFT JOIN funds_trialbalanceline o ON o.day_id = b.day AND o.code = n.code "
            "WHERE n.opening_fen <> COALESCE(o.closing_fen, 0)",
        ),
        _line(
            "the last trial balance equals the postings",
            "SELECT t.code, t.closing_fen FROM funds_trialbalanceline t "
            "JOIN (SELECT MAX(day) AS day FROM funds_closedday) l ON l.day = t.day_id "
            "LEFT JOIN (SELECT " + _report_code() + " AS code, SUM(p.amount_fen) AS total FROM (SELECT q.account_id, "
            f"q.bucket, SUM(q.amount_fen) AS amount_fen FROM funds_posting q{reports.in_id_order()} "
            "WHERE q.created_at < (SELECT MAX(ends_at) FROM funds_closedday) GROUP BY q.account_id, q.bucket) p "
            "JOIN funds_account a ON a.id = p.account_id GROUP BY 1) f ON f.code = t.code "
            "WHERE t.closing_fen <> COALESCE(f.total, 0)",
        ),
        _line(
            "the newest snapshot of each account equals its postings",
            "SELECT s.account_id, s.available_fen FROM (SELECT account_id, MAX(taken_at) AS taken_at "
            "FROM funds_accountsnapshot GROUP BY account_id) m JOIN funds_accountsnapshot s "
            "ON s.account_id = m.account_id AND s.taken_at = m.taken_at LEFT JOIN (SELECT p.account_id, "
            "SUM(CASE WHEN p.bucket = 'AVAILABLE' THEN p.amount_fen ELSE 0 END) AS available, "
            "SUM(CASE WHEN p.bucket = 'FROZEN' THEN p.amount_fen ELSE 0 END) AS frozen "
            f"FROM funds_posting p{reports.in_id_order()} JOIN (SELECT account_id, MAX(taken_at) AS taken_at "
            "FROM funds_accountsnapshot GROUP BY account_id) l ON l.account_id = p.account_id "
            "WHERE p.created_at < l.taken_at GROUP BY p.account_id) f ON f.account_id = s.account_id "
            "WHERE s.available_fen <> COALESCE(f.available, 0) OR s.frozen_fen <> COALESCE(f.frozen, 0)",
        ),
    ]


def prove_ageing(*, now: dt.datetime) -> ProofLine:
    """Money in transit, to be returned or in suspense is younger than the chart allows (design accounts.md, I9).

    First in, first out: what stood there at the limit and was not taken out since is too old.
    """
    old: list[tuple[str, int]] = []
    aged = [title for title in chart.TITLES if title.max_age_days is not None]
    for title in aged:
        limit = now - dt.timedelta(days=title.max_age_days or 0)
        sign = -1 if title.is_debit_normal else 1
        rows = _rows(
            "SELECT a.owner_id, SUM(CASE WHEN p.created_at < %s OR p.amount_fen * %s < 0 THEN p.amount_fen * %s "
            "ELSE 0 END) FROM funds_account a JOIN funds_posting p ON p.account_id = a.id "
            "WHERE a.owner_kind = 'PLATFORM' AND a.code = %s GROUP BY a.owner_id",
            [connections[_alias()].ops.adapt_datetimefield_value(limit), sign, sign, title.code],
        )
        old += [(f"{title.code} {owner}".strip(), int(rest)) for owner, rest in rows if rest > 0]
    return ProofLine(
        name="money in transit and in suspense is younger than its limit",
        ok=not old,
        detail=", ".join(f"{name} ({rest})" for name, rest in old[:SHOWN]),
        figures={"accounts": len(aged), "too_old_fen": sum(rest for _, rest in old)},
    )


def _line(name: str, sql: str) -> ProofLine:
    """`sql` selects what breaks the invariant: (row, figure)."""
    broken = _rows(sql, [])
    detail = ", ".join(f"{row} ({figure})" for row, figure in broken[:SHOWN])
    return ProofLine(name=name, ok=not broken, detail=detail, figures={"broken": len(broken)})


def _rows(sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
    with connections[_alias()].cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def _report_code() -> str:
    """The code of the trial balance as an SQL expression over account `a` and posting `p`."""
    whens = " ".join(f"WHEN '{title.code}' THEN '{title.frozen_code}'" for title in chart.TITLES if title.frozen_code)
    return f"CASE WHEN p.bucket = 'FROZEN' THEN CASE a.code {whens} END ELSE a.code END"


def _day_before(column: str) -> str:
    """Business days have 24 hours: Asia/Shanghai knows no daylight saving time."""
    if connections[_alias()].vendor == "mysql":
        return f"{column} - INTERVAL 1 DAY"
    return f"datetime({column}, '-1 day')"


def _alias() -> str:
    return roles.alias_for("funds")

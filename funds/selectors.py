"""Reads of the ledger: wallets, statements, journals, and the proof of its own invariants."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db import connections
from django.db.models import Sum

from foundation.db import roles
from foundation.proof import ProofLine
from funds.domain.entries import AccountRef, Bucket, Category
from funds.models import Account, Journal, Posting


@dataclass(frozen=True, kw_only=True)
class Wallet:
    """A customer's two buckets in fen."""

    available_fen: int
    frozen_fen: int


@dataclass(frozen=True, kw_only=True)
class StatementLine:
    """One posting of a statement. `balance_after_fen` is of the line's bucket."""

    posting_id: int
    kind: str
    order_no: str
    bucket: Bucket
    category: Category
    amount_fen: int
    balance_after_fen: int
    created_at: dt.datetime


@dataclass(frozen=True, kw_only=True)
class StatementPage:
    """Newest first; `next_before` is the posting to go on before, None at the end."""

    items: tuple[StatementLine, ...]
    next_before: int | None


def get_wallet(*, account: AccountRef) -> Wallet:
    """The balance; an account without any posting has nothing."""
    row = _row(account)
    return Wallet(available_fen=row.available_fen if row else 0, frozen_fen=row.frozen_fen if row else 0)


def list_statement(*, account: AccountRef, before: int | None, limit: int) -> StatementPage:
    """One page of an account's postings, newest first by posting id; `limit` 1 … 100."""
    row = _row(account)
    if row is None:
        return StatementPage(items=(), next_before=None)
    postings = Posting.objects.using(_alias()).filter(account=row).select_related("journal").order_by("-id")
    if before is not None:
        postings = postings.filter(id__lt=before)
    rows = list(postings[: limit + 1])
    shown = rows[:limit]
    return StatementPage(
        items=tuple(
            StatementLine(
                posting_id=posting.pk,
                kind=posting.journal.kind,
                order_no=posting.journal.order_no,
                bucket=Bucket(posting.bucket),
                category=Category(posting.category),
                amount_fen=posting.amount_fen,
                balance_after_fen=posting.balance_after_fen or 0,
                created_at=posting.created_at,
            )
            for posting in shown
        ),
        next_before=shown[-1].pk if len(rows) > limit else None,
    )


def get_journal(*, kind: str, reference: str) -> Journal | None:
    """The journal under (kind, reference)."""
    return Journal.objects.using(_alias()).filter(kind=kind, reference=reference).first()


def list_journals(*, order_no: str) -> list[Journal]:
    """All journals of an order, oldest first, postings prefetched."""
    rows = Journal.objects.using(_alias()).filter(order_no=order_no)
    return list(rows.prefetch_related("postings__account").order_by("id"))


def iterate_journals(*, kind: str) -> Iterator[Journal]:
    """Every journal of a kind, streaming."""
    return Journal.objects.using(_alias()).filter(kind=kind).iterator(chunk_size=2000)


def find_references(*, kinds: Sequence[str], references: Sequence[str]) -> set[tuple[str, str]]:
    """Which (kind, reference) of these are booked: one query for a batch of up to some thousand references."""
    rows = Journal.objects.using(_alias()).filter(kind__in=list(kinds), reference__in=list(references))
    return set(rows.values_list("kind", "reference"))


def platform_balance_fen(*, account: AccountRef) -> int:
    """Sum of a platform account's postings, credit positive (an asset such as 1110 is negative)."""
    row = _row(account)
    if row is None:
        return 0
    return Posting.objects.using(_alias()).filter(account=row).aggregate(total=Sum("amount_fen"))["total"] or 0


def prove() -> list[ProofLine]:
    """Every invariant of the ledger itself, each by one set-based statement; at rest, or the figures move."""
    return [
        _proof(
            "all postings sum to zero",
            "SELECT 1, total FROM (SELECT SUM(amount_fen) AS total FROM funds_posting) t WHERE total <> 0",
        ),
        _proof(
            "each journal sums to zero and has all its lines",
            "SELECT j.id, COALESCE(SUM(p.amount_fen), -1) FROM funds_journal j "
            "LEFT JOIN funds_posting p ON p.journal_id = j.id GROUP BY j.id, j.posting_count, j.credit_total_fen "
            "HAVING COALESCE(SUM(p.amount_fen), -1) <> 0 OR COUNT(p.id) <> j.posting_count "
            "OR SUM(CASE WHEN p.amount_fen > 0 THEN p.amount_fen ELSE 0 END) <> j.credit_total_fen",
        ),
        _proof(
            "customer balances equal their postings",
            "SELECT a.id, a.available_fen + a.frozen_fen FROM funds_account a "
            "LEFT JOIN funds_posting p ON p.account_id = a.id WHERE a.owner_kind <> 'PLATFORM' "
            "GROUP BY a.id, a.available_fen, a.frozen_fen HAVING a.available_fen <> "
            "COALESCE(SUM(CASE WHEN p.bucket = 'AVAILABLE' THEN p.amount_fen ELSE 0 END), 0) OR a.frozen_fen <> "
            "COALESCE(SUM(CASE WHEN p.bucket = 'FROZEN' THEN p.amount_fen ELSE 0 END), 0)",
        ),
        _proof(
            "balances after follow each other",
            "SELECT p.id, p.balance_after_fen FROM (SELECT p.id, p.balance_after_fen, p.amount_fen, "
            "LAG(p.balance_after_fen) OVER (PARTITION BY p.account_id, p.bucket ORDER BY p.id) AS before_fen "
            "FROM funds_posting p JOIN funds_account a ON a.id = p.account_id WHERE a.owner_kind <> 'PLATFORM') p "
            "WHERE p.balance_after_fen IS NULL OR COALESCE(p.before_fen, 0) + p.amount_fen <> p.balance_after_fen",
        ),
        _proof(
            "frozen equals the open holds",
            "SELECT a.id, a.frozen_fen FROM funds_account a LEFT JOIN funds_hold h ON h.account_id = a.id "
            "GROUP BY a.id, a.frozen_fen HAVING a.frozen_fen <> COALESCE(SUM(h.remaining_fen), 0)",
        ),
        _proof(
            "no balance is negative",
            "SELECT id, available_fen FROM funds_account WHERE available_fen < 0 OR frozen_fen < 0",
        ),
        _proof(
            "holds are resolved exactly when they are empty",
            "SELECT id, remaining_fen FROM funds_hold WHERE remaining_fen < 0 OR remaining_fen > amount_fen "
            "OR (state = 'OPEN') <> (remaining_fen > 0)",
        ),
        _enterprise_rule(),
    ]


def _enterprise_rule() -> ProofLine:
    """Recharge + income − withdrawal − consumption = balance, per enterprise, from the postings' categories."""
    return _proof(
        "recharge + income - withdrawal - consumption = balance, per enterprise",
        "SELECT b.enterprise_id, b.balance - COALESCE(m.moved, 0) FROM (SELECT enterprise_id, "
        "SUM(available_fen + frozen_fen) AS balance FROM funds_account WHERE owner_kind <> 'PLATFORM' "
        "GROUP BY enterprise_id) b LEFT JOIN (SELECT a.enterprise_id, SUM(p.amount_fen) AS moved FROM funds_posting p "
        "JOIN funds_account a ON a.id = p.account_id WHERE p.category IN "
        "('RECHARGE', 'INCOME', 'WITHDRAWAL', 'CONSUMPTION') GROUP BY a.enterprise_id) m "
        "ON m.enterprise_id = b.enterprise_id WHERE b.balance <> COALESCE(m.moved, 0)",
    )


def _proof(name: str, sql: str) -> ProofLine:
    """`sql` selects what breaks the invariant: (row, figure)."""
    with connections[_alias()].cursor() as cursor:
        cursor.execute(sql)
        broken = cursor.fetchall()
    detail = ", ".join(f"{row} ({figure})" for row, figure in broken[:5])
    return ProofLine(name=name, ok=not broken, detail=detail, figures={"broken": len(broken)})


def _row(account: AccountRef) -> Account | None:
    owner_kind, owner_id, code = account.key
    return Account.objects.using(_alias()).filter(owner_kind=owner_kind, owner_id=owner_id, code=code).first()


def _alias() -> str:
    return roles.alias_for("funds")

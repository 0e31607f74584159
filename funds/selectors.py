"""Reads of the ledger: wallets, statements, journals, and the proof of its own invariants."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db.models import Prefetch, Window
from django.db.models.functions import RowNumber

from foundation.db import roles
from funds import reports
from funds.domain.entries import AccountRef, Bucket, Category, Line
from funds.models import Account, Adjustment, Hold, Journal, Posting


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


def list_journals(*, order_no: str, limit: int | None = None, lines: int | None = None) -> list[Journal]:
    """Journals of an order, oldest first, postings prefetched; `limit` journals and `lines` of each at most.

    `Journal.posting_count` says how many lines there are: that of a large packet has one for each receiver.
    """
    postings = Posting.objects.using(_alias()).select_related("account").order_by("id")
    if lines is not None:
        place = Window(RowNumber(), partition_by="journal_id", order_by="id")
        postings = postings.annotate(place=place).filter(place__lte=lines)
    rows = Journal.objects.using(_alias()).filter(order_no=order_no).order_by("id")
    return list(rows.prefetch_related(Prefetch("postings", queryset=postings))[:limit])


def count_journals(*, order_no: str) -> int:
    """How many journals an order has."""
    return Journal.objects.using(_alias()).filter(order_no=order_no).count()


def list_holds(*, keys: Sequence[str]) -> list[Hold]:
    """The holds under these keys, oldest first."""
    return list(Hold.objects.using(_alias()).filter(key__in=list(keys)).order_by("opened_at", "id"))


def list_adjustments(*, order_no: str, limit: int) -> list[Adjustment]:
    """Corrections of the books proposed for an order, newest first."""
    return list(Adjustment.objects.using(_alias()).filter(order_no=order_no).order_by("-id")[:limit])


def iterate_journals(*, kind: str) -> Iterator[Journal]:
    """Every journal of a kind, streaming."""
    return Journal.objects.using(_alias()).filter(kind=kind).iterator(chunk_size=2000)


def find_references(*, kinds: Sequence[str], references: Sequence[str]) -> set[tuple[str, str]]:
    """Which (kind, reference) of these are booked: one query for a batch of up to some thousand references."""
    rows = Journal.objects.using(_alias()).filter(kind__in=list(kinds), reference__in=list(references))
    return set(rows.values_list("kind", "reference"))


def platform_balance_fen(*, account: AccountRef) -> int:
    """Sum of a platform account's postings, credit positive (an asset such as 1110 is negative)."""
    return reports.balance_at(account=account).available_fen


def opened_at(*, account: AccountRef) -> dt.datetime | None:
    """When the account had its first posting; None before that."""
    row = _row(account)
    return row.created_at if row is not None else None


def _row(account: AccountRef) -> Account | None:
    owner_kind, owner_id, code = account.key
    return Account.objects.using(_alias()).filter(owner_kind=owner_kind, owner_id=owner_id, code=code).first()


def _alias() -> str:
    return roles.alias_for("funds")


@dataclass(frozen=True, kw_only=True)
class LineEffect:
    """What a line would do to its account now, in fen, credit positive; `is_new`: the account would be opened."""

    line: Line
    before_fen: int
    after_fen: int
    is_new: bool


def list_effects(*, lines: Sequence[Line]) -> list[LineEffect]:
    """Balances of the lines' accounts before and after them, read without locks: to be looked at, not to decide by."""
    effects = []
    for line in lines:
        is_new = _row(line.account) is None
        if line.account.is_platform:
            before = platform_balance_fen(account=line.account)
        else:
            before = get_wallet(account=line.account).available_fen
        effects.append(LineEffect(line=line, before_fen=before, after_fen=before + line.amount_fen, is_new=is_new))
    return effects


def get_journal_lines(*, journal_id: int) -> tuple[Journal, tuple[Line, ...]] | None:
    """A journal and its lines in the order of posting; None when there is no such journal."""
    journal = Journal.objects.using(_alias()).filter(pk=journal_id).first()
    if journal is None:
        return None
    postings = Posting.objects.using(_alias()).filter(journal=journal).select_related("account").order_by("id")
    return journal, tuple(
        Line(
            account=AccountRef(
                owner_kind=row.account.owner_kind,
                owner_id=row.account.owner_id,
                code=row.account.code,
                enterprise_id=row.account.enterprise_id,
            ),
            bucket=Bucket(row.bucket),
            amount_fen=row.amount_fen,
            category=Category(row.category),
        )
        for row in postings
    )

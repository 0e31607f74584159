"""The chain over journals finds what was changed, removed or added behind the ledger's back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import DatabaseError, connections, transaction

from foundation import jobs
from foundation.models import Alert
from funds.domain.entries import Bucket, Category, Entry, Line, platform_account
from funds.models import Journal, JournalSeal, Posting
from funds.services import sealing
from tests.integration.funds.moves import fresh, post, someone
from tests.worlds import NOW

LATER = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
"""Seals whatever other tests committed, at whatever time of the machine."""
SOON = NOW + dt.timedelta(minutes=6)


def journals(count: int) -> list[int]:
    """Ids of fresh journals of a kind that belongs to no order, for they may stay in the database."""
    owner = someone()
    clearing = platform_account("1110", "sealing-test")
    lines = (
        Line(account=clearing, bucket=Bucket.AVAILABLE, amount_fen=-10, category=Category.PLATFORM),
        Line(account=owner, bucket=Bucket.AVAILABLE, amount_fen=10, category=Category.RECHARGE),
    )
    return [post(Entry(kind="test_sealing", reference=fresh(), lines=lines)).journal_id for _ in range(count)]


@contextmanager
def without_triggers(*tables: str) -> Iterator[None]:
    """What somebody with the database's administration rights can do."""
    with connections["funds"].cursor() as cursor:
        found = {}
        for table in tables:
            for action in ("update", "delete"):
                name = f"{table}_no_{action}"
                cursor.execute(f"SHOW CREATE TRIGGER {name}")
                found[name] = cursor.fetchone()[2]
                cursor.execute(f"DROP TRIGGER {name}")
        try:
            yield
        finally:
            for statement in found.values():
                cursor.execute(statement)


def execute(sql: str, *values: object) -> None:
    with connections["funds"].cursor() as cursor:
        cursor.execute(sql, values)


def detail(**options: object) -> str:
    return sealing.verify(now=SOON, **options).detail  # type: ignore[arg-type]


@pytest.mark.django_db(databases="__all__")
def test_links_follow_each_other_and_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    sealing.seal_due(now=LATER)
    before = sealing.head()
    monkeypatch.setattr(sealing, "LINK_JOURNALS", 2)
    ids = journals(5)
    assert sealing.seal_due(now=LATER) == sealing.Sealed(links=3, journals=5)
    assert sealing.seal_due(now=LATER) == sealing.Sealed(links=0, journals=0)
    links = list(JournalSeal.objects.order_by("-number")[:3])[::-1]
    assert [link.last_id for link in links] == [ids[1], ids[3], ids[4]]
    assert [link.journal_count for link in links] == [2, 2, 1]
    assert links[0].previous_mac == (before[1] if before else "0" * 64)
    assert [link.previous_mac for link in links[1:]] == [link.mac for link in links[:-1]]
    seen: list[int] = []
    line = sealing.verify(now=SOON, anchor=before, progress=seen.append)
    assert line.ok, line.detail
    assert seen[-1] == line.figures["sealed"] >= 5


@pytest.mark.django_db(databases="__all__")
def test_young_journals_wait_and_old_ones_must_not() -> None:
    sealing.seal_due(now=LATER)
    journals(2)
    assert sealing.seal_due(now=NOW + dt.timedelta(minutes=4)) == sealing.Sealed(links=0, journals=0)
    waiting = sealing.verify(now=SOON)
    assert (waiting.ok, waiting.figures["unsealed"]) == (True, 2)
    late = sealing.verify(now=NOW + dt.timedelta(hours=3))
    assert not late.ok
    assert "is not sealed yet" in late.detail


@pytest.mark.django_db(databases="__all__")
def test_a_row_that_never_matched_its_digest_stops_the_chain_and_alerts() -> None:
    sealing.seal_due(now=LATER)
    execute(
        "INSERT INTO funds_journal (kind, reference, order_no, source_no, actor, memo, debit_total_fen, "
        "credit_total_fen, posting_count, digest, created_at) "
        "VALUES ('forged', %s, '', '', 'x', '', 1, 1, 2, REPEAT('a', 64), %s)",
        fresh(),
        NOW,
    )
    forged = Journal.objects.get(kind="forged").pk
    with pytest.raises(sealing.SealBroken) as refused:
        sealing.seal_due(now=LATER)
    assert refused.value.details == {"journals": [forged]}
    assert f"journal {forged} was changed" in detail()
    with pytest.raises(sealing.SealBroken):
        jobs.get("funds.seal_journals").execute()
    assert Alert.objects.filter(code="journal_changed").exists()


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("action", ["UPDATE funds_journalseal SET mac = mac", "DELETE FROM funds_journalseal"])
def test_database_refuses_to_change_seals(action: str) -> None:
    journals(1)
    sealing.seal_due(now=LATER)
    with pytest.raises(DatabaseError, match="insert-only"), transaction.atomic(using="funds"):
        execute(action)


@pytest.mark.usefixtures("committed_db")
@pytest.mark.parametrize(
    ("change", "undo"),
    [
        ("UPDATE funds_journal SET memo = 'x' WHERE id = {id}", "UPDATE funds_journal SET memo = '' WHERE id = {id}"),
        (
            "UPDATE funds_posting SET amount_fen = amount_fen + 1 WHERE journal_id = {id} AND amount_fen > 0",
            "UPDATE funds_posting SET amount_fen = amount_fen - 1 WHERE journal_id = {id} AND amount_fen > 0",
        ),
        (
            "UPDATE funds_posting SET category = 'INCOME' WHERE journal_id = {id} AND amount_fen > 0",
            "UPDATE funds_posting SET category = 'RECHARGE' WHERE journal_id = {id} AND amount_fen > 0",
        ),
    ],
)
def test_a_changed_row_is_found_and_named(change: str, undo: str) -> None:
    ids = journals(3)
    sealing.seal_due(now=LATER)
    with without_triggers("funds_journal", "funds_posting"):
        execute(change.format(id=ids[1]))
        try:
            found = sealing.verify(now=SOON)
        finally:
            execute(undo.format(id=ids[1]))
    assert not found.ok
    assert f"journal {ids[1]} was changed" in found.detail
    assert f"journal {ids[0]}" not in found.detail
    assert sealing.verify(now=SOON).ok


@pytest.mark.usefixtures("committed_db")
def test_a_change_that_fits_its_own_digest_is_found_by_the_seal() -> None:
    """Who knows how digests are made can make a row fit; the seal's key is what he does not have."""
    ids = journals(2)
    sealing.seal_due(now=LATER)
    link = JournalSeal.objects.order_by("-number")[0]
    row = Journal.objects.get(pk=ids[0])
    with without_triggers("funds_journal"):
        execute("UPDATE funds_journal SET actor = 'thief', digest = '' WHERE id = %s", row.pk)
        try:
            content = sealing._contents([Journal.objects.get(pk=row.pk)])[0]
            execute("UPDATE funds_journal SET digest = %s WHERE id = %s", content.computed, row.pk)
            found = detail()
        finally:
            execute("UPDATE funds_journal SET actor = %s, digest = %s WHERE id = %s", row.actor, row.digest, row.pk)
    assert found == f"seal {link.number} (journals {link.first_id} to {link.last_id}): what it covers was changed"
    assert detail() == ""


@pytest.mark.usefixtures("committed_db")
def test_a_removed_journal_is_found_by_the_count() -> None:
    ids = journals(2)
    sealing.seal_due(now=LATER)
    link = JournalSeal.objects.order_by("-number")[0]
    row = Journal.objects.get(pk=ids[0])
    lines = list(Posting.objects.filter(journal=row))
    with without_triggers("funds_journal", "funds_posting"):
        execute("DELETE FROM funds_posting WHERE journal_id = %s", row.pk)
        execute("DELETE FROM funds_journal WHERE id = %s", row.pk)
        found = detail()
        row.save(force_insert=True)
        Posting.objects.bulk_create(lines)
    span = f"seal {link.number} (journals {link.first_id} to {link.last_id})"
    assert found == f"{span}: {link.journal_count - 1} journals instead of {link.journal_count}"
    assert detail() == ""


@pytest.mark.usefixtures("committed_db")
def test_a_chain_made_anew_is_found_by_the_noted_head() -> None:
    journals(2)
    sealing.seal_due(now=LATER)
    noted = sealing.head()
    assert noted is not None
    assert detail(anchor=noted) == ""
    assert detail(anchor=(noted[0], "f" * 64)) == f"seal {noted[0]} is not the one that was noted"

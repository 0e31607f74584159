"""The chain over journals finds what was changed, removed or added behind the ledger's back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import DatabaseError, connections, transaction

from foundation import jobs
from foundation.models import Alert
from funds import proof
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


OTHERS: dict[tuple[str, str], object] = {
    ("funds_journal", "created_at"): NOW - dt.timedelta(microseconds=1),
    ("funds_posting", "created_at"): NOW + dt.timedelta(days=400),
    ("funds_journal", "digest"): "",
    ("funds_posting", "bucket"): "FROZEN",
    ("funds_posting", "category"): "INCOME",
}
"""Another value for a column; 7 more for a number, "x" for a text that is not here."""
PROVED = {("funds_posting", "balance_after_fen")}
"""Found by `money prove`, which follows each account's balances: no journal says them."""


def columns() -> list[tuple[str, str]]:
    """Every column of a journal and of its lines but their keys, so that a new one is not forgotten."""
    return [
        (model._meta.db_table, item.column)
        for model in (Journal, Posting)
        for item in model._meta.concrete_fields
        if not item.primary_key
    ]


@pytest.mark.usefixtures("committed_db")
@pytest.mark.parametrize("is_sealed", [True, False], ids=["sealed", "not sealed yet"])
@pytest.mark.parametrize(("table", "column"), columns())
def test_whatever_is_changed_in_one_row_is_found(table: str, column: str, is_sealed: bool) -> None:
    sealing.seal_due(now=LATER)
    ids = journals(3)
    if is_sealed:
        sealing.seal_due(now=LATER)
    key = "id" if table == "funds_journal" else "journal_id"
    model = Journal if table == "funds_journal" else Posting
    row = model.objects.filter(**{key: ids[1]}).order_by("-id").values()[0]
    was = row[column]
    other = OTHERS.get((table, column), was + 7 if isinstance(was, int) else "x")
    if column in ("debit_total_fen", "credit_total_fen"):
        # A CHECK wants both equal.
        change = f"UPDATE {table} SET debit_total_fen = %s, credit_total_fen = %s WHERE id = %s"
        values: tuple[object, ...] = (other, other, row["id"])
    else:
        change, values = f"UPDATE {table} SET {column} = %s WHERE id = %s", (other, row["id"])
    back = (*(was for _ in values[1:]), row["id"])
    with without_triggers(table), unchecked_keys():
        execute(change, *values)
        try:
            found = detail()
            proved = [line.name for line in proof.prove() if not line.ok]
        finally:
            execute(change, *back)
    if (table, column) in PROVED:
        assert (found, proved) == ("", ["balances after follow each other"])
    else:
        assert f"journal {ids[1]} was changed" in found
        assert f"journal {ids[0]}" not in found
        assert f"journal {ids[2]} was" not in found
    assert detail() == ""


@contextmanager
def unchecked_keys() -> Iterator[None]:
    """Without foreign keys, as an administrator may work."""
    execute("SET SESSION foreign_key_checks = 0")
    try:
        yield
    finally:
        execute("SET SESSION foreign_key_checks = 1")


@contextmanager
def removed(journal_id: int, *more: str) -> Iterator[None]:
    """A journal with its lines is gone, as are the rows of the tables `more` that come after it."""
    row = Journal.objects.get(pk=journal_id)
    lines = list(Posting.objects.filter(journal=row))
    with without_triggers("funds_journal", "funds_posting", *more):
        execute("DELETE FROM funds_posting WHERE journal_id = %s", row.pk)
        execute("DELETE FROM funds_journal WHERE id = %s", row.pk)
        try:
            yield
        finally:
            row.save(force_insert=True)
            Posting.objects.bulk_create(lines)


@pytest.mark.usefixtures("committed_db")
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_a_removed_journal_is_found_by_the_count(place: int) -> None:
    sealing.seal_due(now=LATER)
    ids = journals(3)
    sealing.seal_due(now=LATER)
    link = JournalSeal.objects.order_by("-number")[0]
    assert (link.first_id <= ids[0], link.last_id) == (True, ids[2])
    with removed(ids[place]):
        found = detail()
    assert found == f"seal {link.number} (journals {link.first_id} to {link.last_id}): 2 journals instead of 3"
    assert detail() == ""


@pytest.mark.usefixtures("committed_db")
def test_a_removed_line_is_found() -> None:
    ids = journals(2)
    sealing.seal_due(now=LATER)
    line = Posting.objects.filter(journal_id=ids[1]).order_by("-id")[0]
    with without_triggers("funds_posting"):
        execute("DELETE FROM funds_posting WHERE id = %s", line.pk)
        try:
            found = detail()
        finally:
            line.save(force_insert=True)
    assert found.startswith(f"journal {ids[1]} was changed")
    assert detail() == ""


@pytest.mark.usefixtures("committed_db")
def test_the_last_journal_removed_together_with_its_seal_is_found_by_the_noted_head() -> None:
    """A chain that was cut at its end is a chain: only what was noted outside of the database knows better."""
    sealing.seal_due(now=LATER)
    ids = journals(2)
    sealing.seal_due(now=LATER)
    noted = sealing.head()
    assert noted is not None
    seal = JournalSeal.objects.get(number=noted[0])
    with removed(ids[1], "funds_journalseal"):
        execute("DELETE FROM funds_journalseal WHERE number = %s", seal.number)
        try:
            assert detail() == ""
            assert detail(anchor=noted) == f"seal {noted[0]} is not the one that was noted"
            # Made anew with what is left: the number stands again, the mac does not.
            assert sealing.seal_due(now=LATER) == sealing.Sealed(links=1, journals=1)
            assert detail() == ""
            assert detail(anchor=noted) == f"seal {noted[0]} is not the one that was noted"
        finally:
            execute("DELETE FROM funds_journalseal WHERE number = %s", seal.number)
            seal.save(force_insert=True)
    assert detail(anchor=noted) == ""


@pytest.mark.usefixtures("committed_db")
def test_the_last_journal_removed_before_it_is_sealed_is_found_by_the_books() -> None:
    """Nothing covers it yet (a few minutes): the customer's balance does not fit his postings any more."""
    sealing.seal_due(now=LATER)
    ids = journals(2)
    with removed(ids[1]):
        found, proved = detail(), {line.name for line in proof.prove() if not line.ok}
    assert found == ""
    assert "customer balances equal their postings" in proved
    assert detail() == ""


def swap(first: int, second: int) -> None:
    """Two journals exchange their numbers, with all their lines."""
    for one, other in ((first, 10**15), (second, first), (10**15, second)):
        execute("UPDATE funds_journal SET id = %s WHERE id = %s", other, one)
        execute("UPDATE funds_posting SET journal_id = %s WHERE journal_id = %s", other, one)


@pytest.mark.usefixtures("committed_db")
def test_a_swapped_pair_is_found() -> None:
    """Each fits its own digest, which knows no number; the seal knows their order."""
    ids = journals(3)
    sealing.seal_due(now=LATER)
    link = JournalSeal.objects.order_by("-number")[0]
    with without_triggers("funds_journal", "funds_posting"), unchecked_keys():
        swap(ids[0], ids[2])
        try:
            found = detail()
        finally:
            swap(ids[0], ids[2])
    assert found == f"seal {link.number} (journals {link.first_id} to {link.last_id}): what it covers was changed"
    assert detail() == ""


@pytest.mark.usefixtures("committed_db")
def test_lines_swapped_between_two_journals_are_found() -> None:
    ids = journals(2)
    sealing.seal_due(now=LATER)
    lines = [Posting.objects.get(journal_id=number, amount_fen__lt=0) for number in ids]
    with without_triggers("funds_posting"):
        execute("UPDATE funds_posting SET amount_fen = -11 WHERE id = %s", lines[0].pk)
        execute("UPDATE funds_posting SET amount_fen = -9 WHERE id = %s", lines[1].pk)
        try:
            found = detail()
        finally:
            execute("UPDATE funds_posting SET amount_fen = -10 WHERE id IN (%s, %s)", lines[0].pk, lines[1].pk)
    assert found.startswith(f"journal {ids[0]} was changed; journal {ids[1]} was changed")
    assert detail() == ""


@pytest.mark.usefixtures("committed_db")
def test_swapped_seals_are_found() -> None:
    numbers = []
    for _ in range(2):
        journals(1)
        sealing.seal_due(now=LATER)
        numbers.append((sealing.head() or (0, ""))[0])
    exchange = "UPDATE funds_journalseal SET number = %s WHERE number = %s"
    steps = ((0, numbers[0]), (numbers[0], numbers[1]), (numbers[1], 0))
    with without_triggers("funds_journalseal"):
        for values in steps:
            execute(exchange, *values)
        try:
            found = detail()
        finally:
            for values in steps:
                execute(exchange, *values)
    assert found.startswith(f"seal {numbers[0]} does not follow the one before it")
    assert detail() == ""


@pytest.mark.usefixtures("committed_db")
def test_a_chain_made_anew_is_found_by_the_noted_head() -> None:
    journals(2)
    sealing.seal_due(now=LATER)
    noted = sealing.head()
    assert noted is not None
    assert detail(anchor=noted) == ""
    assert detail(anchor=(noted[0], "f" * 64)) == f"seal {noted[0]} is not the one that was noted"

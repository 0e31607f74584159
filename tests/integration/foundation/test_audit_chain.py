"""Entries of the audit trail cannot be changed, and who gets past the triggers is found and named by `verify`."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction
from django.test import override_settings

from foundation import audit, audit_chain, clock
from foundation.models import AuditEntry, AuditSeal

NOW = dt.datetime(2026, 3, 1, 4, 0, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(minutes=6)
CHIEF = audit.Origin(actor_name="chief", actor_id=7, address="10.0.0.9", request_id="request-1")

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture(autouse=True)
def _others_are_sealed(db: None) -> None:
    """Tests that commit leave entries of today: they are sealed first, within the test's own transaction."""
    audit_chain.seal_due(now=clock.now() + dt.timedelta(days=1), max_links=10_000)


def write(count: int, *, now: dt.datetime = NOW) -> list[int]:
    rows = [
        audit.record(
            action="staff.change",
            object_type="withdrawals.payoutpolicy",
            object_key="wechat",
            reason=f"reason {number}",
            before={"daily_cap_fen": number},
            after={"daily_cap_fen": number + 1},
            origin=CHIEF,
            now=now,
        )
        for number in range(count)
    ]
    return [row.pk for row in rows]


def past_the_triggers(statement: str, values: list[object]) -> None:
    """What somebody with the database's own password could do: the guard is switched off for one statement.

    Dropping a trigger would commit the test's transaction, so the statement works on a copy under the table's name.
    """
    table = "foundation_auditseal" if "foundation_auditseal" in statement else "foundation_auditentry"
    with connections["default"].cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE copied SELECT * FROM {table}")
        cursor.execute(f"CREATE TEMPORARY TABLE {table} SELECT * FROM copied")
        cursor.execute("DROP TEMPORARY TABLE copied")
        cursor.execute(statement, values)


@pytest.fixture
def unguarded() -> object:
    yield past_the_triggers
    with connections["default"].cursor() as cursor:
        for table in ("foundation_auditentry", "foundation_auditseal"):
            cursor.execute(f"DROP TEMPORARY TABLE IF EXISTS {table}")


Unguarded = Callable[[str, list[object]], None]


@pytest.mark.parametrize("model", [AuditEntry, AuditSeal])
@pytest.mark.parametrize("action", ["update", "delete"])
def test_the_database_refuses_to_change_or_delete(model: type, action: str) -> None:
    write(1)
    audit_chain.seal_due(now=LATER)
    count = model.objects.count()
    with pytest.raises(DatabaseError, match="insert-only"), transaction.atomic():
        if action == "delete":
            model.objects.all()._raw_delete("default")
        elif model is AuditEntry:
            AuditEntry.objects.update(reason="nicer")
        else:
            AuditSeal.objects.update(mac="0" * 64)
    assert model.objects.count() == count >= 1
    assert not AuditEntry.objects.filter(reason="nicer").exists()


def test_what_was_recorded_is_sealed_and_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_chain, "LINK_ENTRIES", 2)
    before = audit_chain.verify(now=LATER).figures["sealed"]
    write(5)
    write(1, now=LATER)
    assert audit_chain.seal_due(now=LATER) == audit_chain.Sealed(links=3, entries=5)
    assert audit_chain.seal_due(now=LATER) == audit_chain.Sealed(links=0, entries=0)
    line = audit_chain.verify(now=LATER)
    assert (line.ok, line.detail, line.figures["sealed"] - before, line.figures["unsealed"]) == (True, "", 5, 1)


def test_a_changed_entry_is_named_even_with_a_digest_that_fits(unguarded: Unguarded) -> None:
    entries = write(4)
    audit_chain.seal_due(now=LATER)
    row = AuditEntry.objects.get(pk=entries[1])
    row.reason = "nicer"
    unguarded(
        "UPDATE foundation_auditentry SET reason = 'nicer', digest = %s WHERE id = %s",
        [audit.digest_of(row), entries[1]],
    )
    assert audit_chain.verify(now=LATER).detail == f"entry {entries[1]} was changed"


def test_removed_entries_are_named_the_first_one_first(unguarded: Unguarded) -> None:
    entries = write(5)
    audit_chain.seal_due(now=LATER)
    unguarded("DELETE FROM foundation_auditentry WHERE id IN (%s, %s)", [entries[3], entries[1]])
    line = audit_chain.verify(now=LATER)
    assert line.detail == f"entry {entries[1]} was removed; entry {entries[3]} was removed"
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("audit", "verify", "--json", stdout=out)
    assert ended.value.code == 1
    assert json.loads(out.getvalue())["detail"].startswith(f"entry {entries[1]} was removed")


@pytest.mark.parametrize("place", [0, 2, 4], ids=["first", "middle", "last"])
def test_a_removed_entry_is_named_wherever_it_stood(unguarded: Unguarded, place: int) -> None:
    entries = write(5)
    audit_chain.seal_due(now=LATER)
    unguarded("DELETE FROM foundation_auditentry WHERE id = %s", [entries[place]])
    assert audit_chain.verify(now=LATER).detail == f"entry {entries[place]} was removed"


def test_the_last_entries_removed_together_with_their_seal_are_found_by_the_noted_head(
    unguarded: Unguarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain that was cut at its end is a chain: only what was noted outside of the database knows better."""
    monkeypatch.setattr(audit_chain, "LINK_ENTRIES", 2)
    entries = write(4)
    audit_chain.seal_due(now=LATER)
    number, mac = audit_chain.head() or (0, "")
    unguarded("DELETE FROM foundation_auditentry WHERE id >= %s", [entries[2]])
    assert audit_chain.verify(now=LATER).detail.startswith(f"entry {entries[2]} was removed")
    unguarded("DELETE FROM foundation_auditseal WHERE number = %s", [number])
    assert audit_chain.verify(now=LATER).ok
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("audit", "verify", "--anchor", f"{number}:{mac}", stdout=out)
    assert f"seal {number} is not the one that was noted" in out.getvalue()


SWAP = "UPDATE {0} SET {1} = CASE {1} WHEN %s THEN %s ELSE %s END WHERE {1} IN (%s, %s)"


def test_a_swapped_pair_is_named(unguarded: Unguarded) -> None:
    """Each fits its own digest, which knows no number; the marks know it."""
    first, _, second, _ = write(4)
    audit_chain.seal_due(now=LATER)
    unguarded(SWAP.format("foundation_auditentry", "id"), [first, second, first, first, second])
    assert audit_chain.verify(now=LATER).detail == f"entry {first} was changed; entry {second} was changed"


def test_swapped_seals_are_found(unguarded: Unguarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_chain, "LINK_ENTRIES", 1)
    write(2)
    audit_chain.seal_due(now=LATER)
    second, _ = audit_chain.head() or (0, "")
    first = second - 1
    unguarded(SWAP.format("foundation_auditseal", "number"), [first, second, first, first, second])
    assert audit_chain.verify(now=LATER).detail.startswith(f"seal {first} does not follow the one before it")


@pytest.mark.parametrize("is_sealed", [True, False], ids=["sealed", "not sealed yet"])
@pytest.mark.parametrize("column", [item.column for item in AuditEntry._meta.concrete_fields if not item.primary_key])
def test_whatever_is_changed_in_an_entry_is_found(unguarded: Unguarded, column: str, is_sealed: bool) -> None:
    """Every column, so that a new one is not forgotten."""
    entries = write(3)
    if is_sealed:
        audit_chain.seal_due(now=LATER)
    others = {"happened_at": NOW + dt.timedelta(microseconds=1), "actor_id": 8}
    others |= dict.fromkeys(("before", "after", "details"), '{"daily_cap_fen": 99}')
    unguarded(
        f"UPDATE foundation_auditentry SET `{column}` = %s WHERE id = %s", [others.get(column, "other"), entries[1]]
    )
    assert audit_chain.verify(now=LATER).detail == f"entry {entries[1]} was changed"


def test_a_changed_entry_is_not_sealed_and_is_found_before(unguarded: Unguarded) -> None:
    entries = write(2)
    unguarded("UPDATE foundation_auditentry SET actor_name = 'nobody' WHERE id = %s", [entries[0]])
    assert audit_chain.verify(now=NOW).detail == f"entry {entries[0]} was changed"
    seals = AuditSeal.objects.count()
    with pytest.raises(audit_chain.TrailChanged):
        audit_chain.seal_due(now=LATER)
    assert AuditSeal.objects.count() == seals


def test_a_changed_seal_and_a_chain_cut_at_its_end_are_found(
    unguarded: Unguarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_chain, "LINK_ENTRIES", 1)
    write(3)
    audit_chain.seal_due(now=LATER)
    number, mac = audit_chain.head() or (0, "")
    assert audit_chain.verify(now=LATER, anchor=(number, mac)).ok
    unguarded("DELETE FROM foundation_auditseal WHERE number = %s", [number])
    assert audit_chain.verify(now=LATER).ok
    assert audit_chain.verify(now=LATER, anchor=(number, mac)).detail == f"seal {number} is not the one that was noted"


def test_a_seal_made_without_the_key_does_not_fit(unguarded: Unguarded) -> None:
    write(1)
    audit_chain.seal_due(now=LATER)
    number, _ = audit_chain.head() or (0, "")
    unguarded("UPDATE foundation_auditseal SET mac = %s WHERE number = %s", ["0" * 64, number])
    assert audit_chain.verify(now=LATER).detail.startswith(f"seal {number} (entries ")
    with override_settings(LEDGER_SEAL_KEYS={"other": b"x" * 32}):
        assert "is not among LEDGER_SEAL_KEYS" in audit_chain.verify(now=LATER).detail


def test_secrets_are_not_kept() -> None:
    assert audit.hidden("password", "argon2$abc").startswith("(hidden, ")
    assert audit.hidden("previous_secret", "") == ""
    assert audit.hidden("phone", "v1:2026:QUJD").startswith("(closed with 2026, ")
    assert (audit.hidden("code", "wechat"), audit.hidden("daily_cap_fen", 5)) == ("wechat", 5)
    assert audit.difference({"a": 1, "b": 2}, {"a": 1, "b": 3}) == ({"b": 2}, {"b": 3})


def test_who_acts_is_said_once_for_all_that_is_recorded() -> None:
    with audit.acting(audit.Scene(origin=CHIEF, reason="quarterly review")):
        row = audit.record(action="staff.reveal", object_type="identity.employee", object_key="5", now=NOW)
    stored = AuditEntry.objects.get(pk=row.pk)
    assert (stored.actor_id, stored.address, stored.request_id) == (7, "10.0.0.9", "request-1")
    assert (stored.reason, stored.digest) == ("quarterly review", audit.digest_of(stored))
    assert audit.record(action="job.purge", now=NOW).actor_name == "system"

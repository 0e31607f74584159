"""What the database itself refuses: whoever writes, by whatever way."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError, transaction

from reconciliation.models import (
    CarriedOver,
    DayClose,
    DayEvent,
    Difference,
    DifferenceEvent,
    RawFile,
    RowProblem,
    Run,
    RunEvent,
)

pytestmark = pytest.mark.django_db(databases="__all__")

NOW = dt.datetime(2026, 11, 22, 2, 0, tzinfo=dt.UTC)


@pytest.fixture
def run() -> Run:
    return Run.objects.create(
        channel="wechat",
        account=uuid.uuid4().hex,
        kind="TRADE",
        day=dt.date(2026, 11, 21),
        deadline_at=NOW,
        created_at=NOW,
        changed_at=NOW,
    )


def person() -> Any:
    return get_user_model().objects.create(username=uuid.uuid4().hex, is_staff=True)


def difference(run: Run, **kwargs: Any) -> Difference:
    values = {
        "run": run,
        "fingerprint": uuid.uuid4().hex,
        "kind": "THEIRS_ONLY",
        "row_kind": "PAYMENT",
        "number": "AT1",
        "their_amount_fen": 100,
        "value_fen": 100,
        "is_incoming": True,
        "created_at": NOW,
    }
    return Difference.objects.create(**{**values, **kwargs})


def refused(rows: Any, **changes: Any) -> None:
    before = list(rows.values())
    with pytest.raises(DatabaseError), transaction.atomic(using="default"):
        rows.update(**changes)
    assert list(rows.values()) == before


def not_deleted(row: Any) -> None:
    rows = type(row).objects.filter(pk=row.pk)
    with pytest.raises(DatabaseError), transaction.atomic(using="default"):
        rows._raw_delete(rows.db)
    assert rows.exists()


def test_events_files_and_problems_are_insert_only(run: Run) -> None:
    file = RawFile.objects.create(run=run, sha256="0" * 64, size_bytes=1, stored_at=NOW)
    found = difference(run)
    close = DayClose.objects.create(
        channel="wechat", account=run.account, day=run.day, signed_by=person(), signed_at=NOW
    )
    rows = [
        (file, {"sha256": "1" * 64}),
        (RowProblem.objects.create(run=run, file=file, line_no=2, code="x", found_at=NOW), {"code": "y"}),
        (RunEvent.objects.create(run=run, state="PLANNED", code="x", actor="x", happened_at=NOW), {"code": "y"}),
        (
            DifferenceEvent.objects.create(difference=found, state="OPEN", code="x", actor="x", happened_at=NOW),
            {"code": "y"},
        ),
        (DayEvent.objects.create(close=close, state="SIGNED_OFF", code="x", actor="x", happened_at=NOW), {"code": "y"}),
    ]
    for row, changes in rows:
        refused(type(row).objects.filter(pk=row.pk), **changes)
        not_deleted(row)
    for row in (run, found, close):
        not_deleted(row)


def test_one_run_for_a_bill_and_no_state_without_a_file(run: Run) -> None:
    with pytest.raises(DatabaseError), transaction.atomic(using="default"):
        Run.objects.create(
            channel="wechat", account=run.account, kind="TRADE", day=run.day, deadline_at=NOW, created_at=NOW,
            changed_at=NOW,
        )  # fmt: skip
    rows = Run.objects.filter(pk=run.pk)
    refused(rows, state="FETCHED")  # has no file
    file = RawFile.objects.create(run=run, sha256="0" * 64, size_bytes=1, stored_at=NOW)
    refused(rows, state="SIGNED_OFF", file=file)
    refused(rows, day=dt.date(2026, 1, 1))
    assert rows.update(state="FETCHED", file=file) == 1


def test_nobody_resolves_what_he_proposed(run: Run) -> None:
    maker, checker = person(), person()
    found = difference(run)
    rows = Difference.objects.filter(pk=found.pk)
    refused(rows, state="RESOLVED", resolution="FORCE", resolved_at=NOW, proposed_by=maker, approved_by=checker)
    refused(rows, state="PROPOSED", resolution="FORCE", proposed_by=maker, reason="short")
    refused(rows, their_amount_fen=101)
    refused(rows, kind="AMOUNT")
    assert rows.update(state="PROPOSED", resolution="FORCE", proposed_by=maker, reason="It is the same thing.") == 1
    refused(rows, state="RESOLVED", approved_by=maker, resolved_at=NOW)
    refused(rows, state="RESOLVED", approved_by=checker, resolved_at=NOW, resolution="REFUND")
    refused(rows, state="RESOLVED", resolved_at=NOW)
    assert rows.update(state="RESOLVED", approved_by=checker, resolved_at=NOW) == 1
    refused(rows, state="OPEN", proposed_by=None, approved_by=None, resolution="", resolved_at=None)


def test_what_moves_money_has_a_journal(run: Run) -> None:
    found = difference(run)
    rows = Difference.objects.filter(pk=found.pk)
    rows.update(state="PROPOSED", resolution="SUSPENSE", proposed_by=person(), reason="Written off to 1910.")
    refused(rows, state="RESOLVED", approved_by=person(), resolved_at=NOW)
    assert rows.update(state="RESOLVED", approved_by=person(), resolved_at=NOW, journal_no="17") == 1


def test_a_day_is_reopened_by_two(run: Run) -> None:
    maker, checker = person(), person()
    close = DayClose.objects.create(
        channel="wechat", account=run.account, day=run.day, signed_by=checker, signed_at=NOW
    )
    rows = DayClose.objects.filter(pk=close.pk)
    refused(rows, state="REOPENED", proposed_by=maker, reopened_by=checker, reopened_at=NOW)  # nobody asked
    assert rows.update(state="REOPENING", proposed_by=maker, reason="A row arrived late.") == 1
    refused(rows, state="REOPENED", reopened_by=maker, reopened_at=NOW)
    refused(rows, state="REOPENED", reopened_by=checker, reopened_at=NOW, reason="Another reason, later.")
    assert rows.update(state="REOPENED", reopened_by=checker, reopened_at=NOW) == 1


def test_a_carried_item_ends_once(run: Run) -> None:
    item = CarriedOver.objects.create(
        run=run, fingerprint="f", row_kind="PAYMENT", number="AT1", is_ours=True, is_incoming=True, our_amount_fen=1,
        created_at=NOW,
    )  # fmt: skip
    rows = CarriedOver.objects.filter(pk=item.pk)
    refused(rows, our_amount_fen=2)
    refused(rows, state="PAIRED")  # without its moment
    assert rows.update(state="PAIRED", ended_at=NOW, ended_run=run) == 1
    refused(rows, state="WAITING", ended_at=None)

"""Block and allow lists: what they do to decisions, who may add to them, import, and the door's set."""

from __future__ import annotations

import datetime as dt

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from foundation import door
from foundation.errors import PermissionDenied
from risk.domain.tables import Outcome
from risk.jobs import Purge
from risk.models import Counter, ListEntry
from risk.services import lists, publishing
from tests import worlds
from tests.integration.risk.asking import ask, person, staff
from tests.worlds import NOW

pytestmark = pytest.mark.django_db(databases="__all__")
TODAY = dt.date(2026, 11, 22)


def entry(kind: str, subject_kind: str, value: str, days: int = 30, reason: str = "test") -> lists.NewEntry:
    return lists.NewEntry(
        kind=kind, subject_kind=subject_kind, value=value, expires_on=TODAY + dt.timedelta(days=days), reason=reason
    )


def put(kind: str, subject_kind: str, value: str, who: User | None = None, **more: int) -> ListEntry:
    return lists.add(entries=[entry(kind, subject_kind, value, **more)], staff_id=(who or staff()).pk, now=NOW)[0]


@pytest.mark.parametrize(
    ("subject_kind", "typed", "field", "value"),
    [
        ("CARD", "6222 0202 0000 4444", "card_no", "6222020200004444"),
        ("PHONE", "138-0000-0001", "phone", "13800000001"),
        ("ADDRESS", "2001:DB8::1", "address", "2001:db8::1"),
    ],
)
def test_a_block_counts_at_once_and_until_its_last_day(subject_kind: str, typed: str, field: str, value: str) -> None:
    who = person(**{field: value})
    assert ask(who).outcome is Outcome.PASS
    row = put("BLOCK", subject_kind, typed, days=1)
    verdict = ask(who)
    assert (verdict.outcome, verdict.rule_code, verdict.until) == (Outcome.REJECT, "BLOCK_LIST", None)
    assert ask(person()).outcome is Outcome.PASS
    assert row.expires_at == dt.datetime(2026, 11, 23, 16, 0, tzinfo=dt.UTC)
    assert ask(who, now=row.expires_at - dt.timedelta(microseconds=1)).outcome is Outcome.REJECT
    assert ask(who, now=row.expires_at).outcome is Outcome.PASS


def test_values_are_encrypted_and_masked() -> None:
    row = put("BLOCK", "CARD", "6222020200004444")
    assert row.value_shown == "**** 4444"
    assert "6222020200004444" not in f"{row.value_index}{row.value_closed}{row.value_shown}"


def test_an_employee_is_blocked_by_code_and_as_a_payee() -> None:
    employee = worlds.make_world(1).employees[0]
    put("BLOCK", "EMPLOYEE", f"{employee.enterprise.code}/{employee.code}")
    assert ask(person(employee_id=employee.pk)).outcome is Outcome.REJECT
    assert ask(person(payee_employee_id=employee.pk)).outcome is Outcome.REJECT


def test_an_allow_entry_counts_when_a_second_person_confirmed_it_and_outranks_blocks() -> None:
    employee, maker, checker = worlds.make_world(1).employees[0], staff(), staff()
    who = person(employee_id=employee.pk, card_no="6222020200005555")
    put("BLOCK", "CARD", "6222020200005555")
    row = put("ALLOW", "EMPLOYEE", str(employee.pk), maker)
    assert ask(who).outcome is Outcome.REJECT
    with pytest.raises(lists.EntrySamePerson):
        lists.confirm(entry_id=row.pk, staff_id=maker.pk, now=NOW)
    with pytest.raises(IntegrityError), transaction.atomic():
        ListEntry.objects.filter(pk=row.pk).update(confirmed_by_id=maker.pk, confirmed_at=NOW)
    assert ask(who).outcome is Outcome.REJECT
    lists.confirm(entry_id=row.pk, staff_id=checker.pk, now=NOW)
    assert ask(who, 2_000_000).rule_code == "ALLOW_LIST"
    lists.remove(entry_id=row.pk, reason="over", staff_id=checker.pk, now=NOW)
    assert ask(who).outcome is Outcome.REJECT


def test_a_payee_on_the_allow_list_helps_nobody_else() -> None:
    employee = worlds.make_world(1).employees[0]
    row = put("ALLOW", "EMPLOYEE", str(employee.pk))
    lists.confirm(entry_id=row.pk, staff_id=staff().pk, now=NOW)
    assert ask(person(payee_employee_id=employee.pk), 2_000_000).outcome is Outcome.REJECT


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (entry("BLOCK", "CARD", "12"), "12 to 19 digits"),
        (entry("BLOCK", "PHONE", "23800000001"), "11 digits"),
        (entry("BLOCK", "ADDRESS", "300.1.1.1"), "no network address"),
        (entry("BLOCK", "EMPLOYEE", "nobody/e1"), "no employee"),
        (entry("BLOCK", "ENTERPRISE", "企业"), "no enterprise"),
        (entry("ALLOW", "PHONE", "13800000001"), "Only employees"),
        (entry("ALLOW", "CARD", "6222020200004444", days=91), "90 days"),
        (entry("BLOCK", "CARD", "6222020200004444", days=-1), "between today"),
        (entry("BLOCK", "CARD", "6222020200004444", reason=" "), "reason"),
        (entry("GREY", "CARD", "6222020200004444"), "BLOCK or ALLOW"),
    ],
)
def test_wrong_entries_are_refused_and_nothing_is_added(wrong: lists.NewEntry, problem: str) -> None:
    before = ListEntry.objects.count()
    with pytest.raises(lists.EntryInvalid) as caught:
        lists.add(entries=[entry("BLOCK", "PHONE", "13800009999"), wrong], staff_id=staff().pk, now=NOW)
    assert problem in caught.value.details["problem"]
    assert ListEntry.objects.count() == before


def test_lists_need_their_permissions() -> None:
    with pytest.raises(PermissionDenied):
        lists.add(entries=[entry("BLOCK", "PHONE", "13800009999")], staff_id=staff("confirm_lists").pk, now=NOW)
    row = put("ALLOW", "CARD", "6222020200006666")
    with pytest.raises(PermissionDenied):
        lists.confirm(entry_id=row.pk, staff_id=staff("edit_lists").pk, now=NOW)


def test_a_preview_says_what_every_line_would_do_and_writes_nothing() -> None:
    put("BLOCK", "PHONE", "13800000007")
    before = ListEntry.objects.count()
    text = (
        "\ufefflist,what,value,expires,reason\n"
        "block,phone,13800000008,2026-12-31,spam\n"
        "BLOCK,PHONE,13800000007,2026-12-31,again\n"
        "BLOCK,PHONE,138 0000 0008,2026-12-31,twice in the file\n"
        "BLOCK,PHONE,1,2026-12-31,short\n"
        "BLOCK,PHONE,13800000009,31.12.2026,date\n"
        "BLOCK,PHONE\n"
    )
    lines = lists.preview(text=text, now=NOW)
    assert [(line.shown, line.is_known, line.problem) for line in lines] == [
        ("138****0008", False, ""),
        ("138****0007", True, ""),
        ("138****0008", True, ""),
        ("", False, "A phone number has 11 digits and starts with 1."),
        ("", False, "The date must be like 2026-12-31."),
        ("", False, "Needs 5 columns."),
    ]
    assert ListEntry.objects.count() == before
    for bad in ("", "x" * 100_001, 'a,"b\n'):
        with pytest.raises(lists.EntryInvalid):
            lists.preview(text=bad, now=NOW)


def test_adding_again_adds_nothing() -> None:
    wanted, who = [entry("BLOCK", "PHONE", "13800000011"), entry("BLOCK", "PHONE", "13800000012")], staff()
    assert len(lists.add(entries=wanted, staff_id=who.pk, now=NOW)) == 2
    assert lists.add(entries=wanted, staff_id=who.pk, now=NOW) == []


def test_the_door_gets_blocked_employees_and_addresses() -> None:
    employee = worlds.make_world(1).employees[0]
    put("BLOCK", "EMPLOYEE", str(employee.pk))
    gone = put("BLOCK", "ADDRESS", "203.0.113.77")
    put("BLOCK", "ADDRESS", "203.0.113.78")
    lists.remove(entry_id=gone.pk, reason="mistake", staff_id=staff().pk, now=NOW)
    try:
        publishing.publish_blocked(now=NOW)
        assert door.admit([f"employee:{employee.pk}"]).is_blocked
        assert door.admit(["address:203.0.113.78"]).is_blocked
        assert door.admit(["address:203.0.113.77"]).is_admitted
        publishing.publish_blocked(now=NOW + dt.timedelta(days=31))
        assert door.admit([f"employee:{employee.pk}", "address:203.0.113.78"]).is_admitted
    finally:
        door.publish_blocked([])


def test_old_counters_are_purged_and_those_of_the_year_stay() -> None:
    who = person()
    ask(who)
    mine = Counter.objects.filter(name__startswith=f"withdrawal:e{who.employee_id}:")
    assert mine.count() == 3
    Purge().run(now=NOW + dt.timedelta(days=399))
    assert mine.count() == 3
    Purge().run(now=NOW + dt.timedelta(days=402))
    assert mine.count() == 0

"""Closed data in the clear: who may, with which reason, how often, and what is written before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import models
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from foundation import audit, clock, crypto, encryption, ids, reveal
from foundation.admin_reveal import RevealAdmin
from foundation.models import AuditEntry
from identity.models import Employee
from paysys.roles import ROLES
from risk.models import ListEntry
from risk.services import lists
from tests import worlds
from tests.integration.risk import asking
from tests.integration.withdrawals import people
from withdrawals.models import BankCard, WechatAccount

pytestmark = pytest.mark.django_db(databases="__all__")
REASON = "Ticket 4711: the bank asks for the number"
MAY = {"finance manager"}
PHONE = "13800001234"


def member(role: str) -> tuple[Client, User]:
    user = User.objects.create_user(f"r-{ids.new_id()[:12]}", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client, user


@pytest.fixture
def card() -> BankCard:
    return people.bind_card(worlds.make_world(1).employees[0])


def page_of(row: models.Model, page: str = "reveal") -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}", args=[row.pk])


def rows_of(user: User) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(actor_id=user.pk, action=reveal.ACTION).order_by("id"))


def open_values(row: models.Model) -> dict[str, str]:
    """Field → what is really in it, for each that the row's page reveals."""
    shown = admin.site._registry[type(row)]
    assert isinstance(shown, RevealAdmin)
    columns = [encryption.column_of(model=type(row), field=name) for name, _ in shown.revealed]
    return {one.field: crypto.decrypt(getattr(row, one.field), column=one.closed_as) for one in columns}


def closed_rows() -> Iterator[models.Model]:
    person = worlds.make_world(1).employees[0]
    worlds.give_money(person, 1_000_000)
    people.bind_payees(person)
    person.phone = crypto.encrypt(PHONE, column="identity_employee.phone")
    person.save()
    yield person
    yield people.apply(person)
    yield BankCard.objects.get(employee_id=person.pk)
    yield WechatAccount.objects.get(pk=person.pk)
    entry = lists.NewEntry(
        kind=ListEntry.Kind.BLOCK,
        subject_kind=ListEntry.Subject.PHONE,
        value=PHONE,
        expires_on=clock.business_date(clock.now()) + dt.timedelta(days=30),
        reason="x",
    )
    editor = asking.staff("edit_lists")
    yield lists.add(entries=[entry], staff_id=editor.pk, now=clock.now())[0]


def test_every_kind_of_closed_row_is_shown_after_its_row_in_the_trail() -> None:
    client, user = member("finance manager")
    rows = list(closed_rows())
    assert {type(row) for row in rows} == {
        model for model, one in admin.site._registry.items() if isinstance(one, RevealAdmin)
    }
    for row in rows:
        wanted = open_values(row)
        page = client.get(page_of(row))
        assert page.status_code == 200
        assert "no-store" in page["Cache-Control"]
        assert page_of(row) in client.get(page_of(row, "change")).content.decode(), "no link on the row's page"
        assert not any(text in page.content.decode() for text in wanted.values())
        shown = client.post(page_of(row), {"reason": REASON})
        assert shown.status_code == 200
        assert "no-store" in shown["Cache-Control"]
        assert all(wanted.values())
        assert all(text in shown.content.decode() for text in wanted.values()), row
        said = rows_of(user)[-1]
        assert (said.object_type, said.object_key) == (row._meta.label_lower, str(row.pk))
        assert (said.reason, said.details) == (REASON, {"fields": list(wanted)})
        assert said.address != ""
        assert not any(text in str(vars(said)) for text in wanted.values())
    assert len(rows_of(user)) == len(rows)


@pytest.mark.parametrize("role", [role.name for role in ROLES])
def test_the_table_of_roles_says_who_may(role: str, card: BankCard) -> None:
    client, user = member(role)
    is_allowed = role in MAY
    assert (client.post(page_of(card), {"reason": REASON}).status_code == 200) == is_allowed
    assert client.get(page_of(card)).status_code == (200 if is_allowed else 403)
    assert len(rows_of(user)) == is_allowed
    page = client.get(page_of(card, "change"))
    assert (page_of(card) in page.content.decode()) == is_allowed


@pytest.mark.parametrize("reason", ["", "short", "aaaaaaaaaaaaaaaa", " . . . . . . . . ", "x" + " " * 40])
def test_without_a_reason_nothing_is_opened_and_no_row_says_so(reason: str, card: BankCard) -> None:
    client, user = member("finance manager")
    answer = client.post(page_of(card), {"reason": reason})
    assert answer.status_code == 400
    assert open_values(card)["card_no"] not in answer.content.decode()
    assert rows_of(user) == []


def test_too_many_within_an_hour_are_refused_and_the_next_hour_begins_anew(settings: Settings, card: BankCard) -> None:
    settings.REVEALS_PER_HOUR = 2
    client, user = member("finance manager")
    other, _ = member("finance manager")
    wanted = open_values(card)["card_no"]
    answers = [client.post(page_of(card), {"reason": REASON}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [wanted in answer.content.decode() for answer in answers] == [True, True, False]
    assert len(rows_of(user)) == 2
    assert other.post(page_of(card), {"reason": REASON}).status_code == 200
    later = clock.now() + reveal.WINDOW
    with audit.acting(audit.Scene(origin=audit.Origin(actor_name=user.username, actor_id=user.pk))):
        found = reveal.reveal(row=card, fields=["card_no"], reason=REASON, now=later)
    assert [item.text for item in found] == [wanted]


def test_what_cannot_be_recorded_is_not_opened(card: BankCard, monkeypatch: pytest.MonkeyPatch) -> None:
    _, user = member("finance manager")
    opened: list[str] = []
    monkeypatch.setattr(crypto, "decrypt", lambda stored, **_: opened.append(stored))
    with pytest.raises(reveal.NobodyReveals):
        reveal.reveal(row=card, fields=["card_no"], reason=REASON, now=clock.now())

    def refused(**_: object) -> None:
        raise RuntimeError("the trail is not writable")

    monkeypatch.setattr(audit, "record", refused)
    with (
        audit.acting(audit.Scene(origin=audit.Origin(actor_name=user.username, actor_id=user.pk))),
        pytest.raises(RuntimeError, match="not writable"),
    ):
        reveal.reveal(row=card, fields=["card_no"], reason=REASON, now=clock.now())
    assert opened == []


def test_a_column_that_is_not_registered_is_refused(card: BankCard) -> None:
    with pytest.raises(ValueError, match="bank_name"):
        reveal.reveal(row=card, fields=["bank_name"], reason=REASON, now=clock.now())


def test_an_empty_value_is_shown_as_none() -> None:
    client, _ = member("finance manager")
    person = worlds.make_world(1).employees[0]
    Employee.objects.filter(pk=person.pk).update(phone="")
    assert "<code>–</code>" in client.post(page_of(person), {"reason": REASON}).content.decode()


def test_what_is_shown_stays_out_of_what_a_program_prints(card: BankCard) -> None:
    assert PHONE not in repr(reveal.Revealed(name="phone", text=PHONE))

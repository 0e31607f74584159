"""While two index keys are in use, what was written under either is found, and nothing stands there twice."""

from __future__ import annotations

import datetime as dt
import io

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from pytest_django import Settings

from foundation import clock, crypto, encryption
from identity.services import phone_codes
from risk.domain.facts import Action
from risk.models import ListEntry
from risk.services import deciding, lists
from tests.worlds import make_world
from withdrawals.models import CARD_COLUMN, BankCard
from withdrawals.services import binding

pytestmark = pytest.mark.django_db(databases="__all__")

FIRST, SECOND = b"5" * 32, b"6" * 32
CARD = "6222020200007777"


def know(settings: Settings, **keys: bytes) -> None:
    settings.BLIND_INDEX_KEYS = keys


def entry() -> lists.NewEntry:
    ends = clock.business_date(clock.now()) + dt.timedelta(days=3)
    return lists.NewEntry(kind="BLOCK", subject_kind="CARD", value=CARD, expires_on=ends, reason="stolen")


def is_blocked(reference: str) -> bool:
    verdict = deciding.decide(
        action=Action.WITHDRAWAL,
        subject=deciding.Subject(employee_id=9_000_001, enterprise_id=9_000_001, card_no=CARD),
        amount_fen=100,
        channel="kuaiqian",
        reference=reference,
        now=clock.now(),
    )
    return bool(verdict.decision.facts["on_block_list"])


def rotate_lists() -> str:
    out = io.StringIO()
    call_command("encryption", "rotate", "--table", "risk_listentry", stdout=out)
    return out.getvalue()


def test_a_list_entry_is_found_while_there_are_two_keys(settings: Settings) -> None:
    person = User.objects.create_user("lister", password="x", is_staff=True)
    person.user_permissions.add(Permission.objects.get(codename="edit_lists"))
    know(settings, first=FIRST)
    (old,) = lists.add(entries=[entry()], staff_id=person.pk, now=clock.now())
    know(settings, first=FIRST, second=SECOND)
    assert is_blocked("during")
    assert lists.add(entries=[entry()], staff_id=person.pk, now=clock.now()) == []
    know(settings, second=SECOND)
    assert not is_blocked("too early")
    know(settings, first=FIRST, second=SECOND)
    # A trigger keeps indexes as they were confirmed: the command says so, and both keys must stay.
    with pytest.raises(CommandError, match="risk_listentry: 1 rows are found by an older index key, which must stay"):
        rotate_lists()
    assert ListEntry.objects.values_list("value_index", "value_closed").get() == (old.value_index, old.value_closed)
    assert is_blocked("after")
    # Removed and added again by people it stands under the newest.
    lists.remove(entry_id=old.pk, reason="new index key", staff_id=person.pk, now=clock.now())
    (new,) = lists.add(entries=[entry()], staff_id=person.pk, now=clock.now())
    assert new.value_index != old.value_index
    assert rotate_lists().endswith("nothing is left to close\n")
    know(settings, second=SECOND)
    assert is_blocked("with the second key alone")


def test_a_bound_card_is_not_bound_again_under_the_new_key(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    employee = make_world(1).employees[0]
    monkeypatch.setattr(phone_codes, "use", lambda **_named: None)
    know(settings, first=FIRST)
    index = crypto.blind_index(CARD, column=CARD_COLUMN)
    card = BankCard.objects.create(
        employee_id=employee.pk,
        enterprise_id=employee.enterprise_id,
        holder=crypto.encrypt("张三", column="withdrawals_bankcard.holder"),
        card_no=crypto.encrypt(CARD, column=CARD_COLUMN),
        card_index=index,
        active_index=index,
        card_masked="**** 7777",
        phone=crypto.encrypt("13800005678", column="withdrawals_bankcard.phone"),
        phone_masked="138****5678",
        bank_code="ICBC",
        bank_name="工商银行",
        verification_no="v-index-keys",
        created_at=clock.now(),
    )
    know(settings, first=FIRST, second=SECOND)
    bound = binding.bind_card(
        employee_id=employee.pk,
        enterprise_id=employee.enterprise_id,
        holder="张三",
        card_no=CARD,
        bank_code="ICBC",
        branch="",
        phone="13800005678",
        phone_code="123456",
        now=clock.now(),
    )
    assert (bound.pk, BankCard.objects.filter(employee_id=employee.pk).count()) == (card.pk, 1)
    encryption.rotate(table=BankCard._meta.db_table)
    card.refresh_from_db()
    written = crypto.blind_index(CARD, column=CARD_COLUMN)
    assert (card.card_index, card.active_index) == (written, written)
    assert written != index

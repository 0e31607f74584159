"""List entries when keys change: the closed value follows its key, and nothing else of an entry moves with it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from pytest_django import Settings

from foundation import crypto
from risk.models import ListEntry
from risk.services import lists
from tests.integration.risk.asking import ask, person, staff
from tests.integration.risk.test_lists import put
from tests.worlds import NOW

pytestmark = pytest.mark.django_db(databases="__all__")
KEYS = {"old": b"1" * 32, "new": b"2" * 32}
INDEX_KEYS = {"first": b"3" * 32}
CARD, OTHER_CARD = "6222020200001111", "6222020200002222"


@pytest.fixture
def confirmed(settings: Settings) -> ListEntry:
    """An allow entry that two people made, closed with the old key; both keys are there."""
    settings.ENCRYPTION_KEYS = {"old": KEYS["old"]}
    settings.BLIND_INDEX_KEYS = INDEX_KEYS
    row = put("ALLOW", "CARD", CARD)
    lists.confirm(entry_id=row.pk, staff_id=staff().pk, now=NOW)
    settings.ENCRYPTION_KEYS = KEYS
    return ListEntry.objects.get(pk=row.pk)


def content(row: ListEntry) -> dict[str, Any]:
    return ListEntry.objects.values().get(pk=row.pk)


def closed(text: str, settings: Settings, *kids: str) -> str:
    settings.ENCRYPTION_KEYS = {kid: KEYS[kid] for kid in kids}
    return crypto.encrypt(text, column=lists.CLOSED_COLUMN)


def test_a_confirmed_entry_gets_the_new_key_and_stays_what_it_was(confirmed: ListEntry, settings: Settings) -> None:
    before, out = content(confirmed), io.StringIO()
    call_command("encryption", "rotate", "--table", "risk_listentry", stdout=out)
    assert out.getvalue() == "risk_listentry: 1 rows closed with new\nnothing is left to close\n"
    after = content(confirmed)
    assert {name for name in after if after[name] != before[name]} == {"value_closed"}
    settings.ENCRYPTION_KEYS = {"new": KEYS["new"]}
    assert crypto.decrypt(after["value_closed"], column=lists.CLOSED_COLUMN) == CARD
    with pytest.raises(crypto.CannotDecrypt) as caught:
        crypto.decrypt(before["value_closed"], column=lists.CLOSED_COLUMN)
    assert caught.value.details == {"column": lists.CLOSED_COLUMN, "kid": "old", "reason": "no such version or key"}
    assert ask(person(card_no=CARD), 2_000_000).rule_code == "ALLOW_LIST"


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        ("value_closed = %(same_key)s", "a closed value changes only with its key, and alone"),
        ("value_closed = ''", "a closed value changes only with its key, and alone"),
        ("value_closed = 'open'", "a closed value changes only with its key, and alone"),
        ("value_closed = 'v2:new:AAAA'", "a closed value changes only with its key, and alone"),
        ("value_closed = 'v1::AAAA'", "a closed value changes only with its key, and alone"),
        ("value_closed = %(new_key)s, value_index = %(other_index)s", "cannot be changed|and alone"),
        ("value_closed = %(new_key)s, value_shown = '**** 2222'", "cannot be changed|and alone"),
        ("value_closed = %(new_key)s, expires_at = '2036-01-01'", "cannot be changed|and alone"),
        ("value_closed = %(new_key)s, confirmed_by_id = 7", "is confirmed|and alone"),
        (
            "value_closed = %(new_key)s, removed_at = '2026-11-23', removed_by_id = 7, removal_reason = 'x'",
            "a closed value changes only with its key, and alone",
        ),
        ("value_index = %(other_index)s", "a list entry cannot be changed"),
        ("added_by_id = 7", "a list entry cannot be changed"),
        ("confirmed_by_id = 7", "this entry is confirmed"),
        ("confirmed_by_id = NULL, confirmed_at = NULL", "this entry is confirmed"),
    ],
)
def test_the_database_refuses_every_other_change(
    confirmed: ListEntry, settings: Settings, assignments: str, message: str
) -> None:
    values = {
        "pk": confirmed.pk,
        "same_key": closed(OTHER_CARD, settings, "old"),
        "new_key": closed(OTHER_CARD, settings, "old", "new"),
        "other_index": crypto.blind_index(f"CARD:{OTHER_CARD}", column="risk_listentry.value"),
    }
    before = content(confirmed)
    with pytest.raises(DatabaseError, match=message), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE risk_listentry SET {assignments} WHERE id = %(pk)s", values)
    assert content(confirmed) == before


def test_the_trigger_lets_the_new_key_s_value_through_when_it_comes_alone(
    confirmed: ListEntry, settings: Settings
) -> None:
    fresh = closed(CARD, settings, "old", "new")
    assert ListEntry.objects.filter(pk=confirmed.pk).update(value_closed=fresh) == 1
    assert ListEntry.objects.get(pk=confirmed.pk).value_closed == fresh


def test_an_entry_is_still_removed_as_before(confirmed: ListEntry) -> None:
    lists.remove(entry_id=confirmed.pk, reason="over", staff_id=staff().pk, now=NOW)
    assert content(confirmed)["removal_reason"] == "over"
    assert ask(person(card_no=CARD), 2_000_000).rule_code != "ALLOW_LIST"

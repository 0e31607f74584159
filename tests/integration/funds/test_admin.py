"""The ledger in the admin: found by any number, followed by links, shown in yuan, changed by nobody."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from funds.domain import movements
from funds.domain.entries import AccountRef
from funds.models import Account, Hold, Journal, Posting
from tests.integration.funds.moves import fresh, frozen, post, recharged, someone

pytestmark = pytest.mark.django_db(databases="__all__")

TABLES = {"journal": Journal, "posting": Posting, "account": Account, "hold": Hold}


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_superuser(f"admin-{fresh()[:8]}", password="irrelevant"))
    return client


@pytest.fixture
def owner() -> AccountRef:
    """Somebody who recharged ¥1,234.56, of which ¥10.00 are frozen."""
    account = someone()
    recharged(account, 123_456)
    frozen(account, 1_000, fresh("k"))
    return account


def page(client: Client, address: str, **query: str) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200, (address, answer.status_code)
    return answer.content.decode()


def rows(client: Client, table: str, text: str) -> list[int]:
    """Primary keys that a search lists."""
    answer = client.get(reverse(f"admin:funds_{table}_changelist"), {"q": text})
    assert answer.status_code == 200
    return [row.pk for row in answer.context["cl"].result_list]


def test_a_journal_is_found_by_each_of_its_numbers(staff: Client) -> None:
    order_no, attempt_no = fresh(), fresh("AT")
    posted = post(
        movements.recharge(order_no=order_no, attempt_no=attempt_no, channel="wechat", owner=someone(), amount_fen=5)
    )
    postings = sorted(Posting.objects.filter(journal_id=posted.journal_id).values_list("pk", flat=True), reverse=True)
    for number in (order_no, attempt_no):
        assert rows(staff, "journal", number) == [posted.journal_id]
        assert rows(staff, "posting", f" {number} ") == postings
    for nothing in (order_no[:-1], "没有这个单号", "%", order_no.upper() + "X"):
        assert rows(staff, "journal", nothing) == []
        assert rows(staff, "posting", nothing) == []


def test_an_owner_finds_his_account_and_its_postings(staff: Client, owner: AccountRef) -> None:
    account = Account.objects.get(owner_id=owner.owner_id)
    assert rows(staff, "account", owner.owner_id) == [account.pk]
    assert len(rows(staff, "posting", owner.owner_id)) == 3


def test_links_lead_from_journal_to_account_to_its_postings_and_back(staff: Client, owner: AccountRef) -> None:
    account = Account.objects.get(owner_id=owner.owner_id)
    journal = Journal.objects.get(kind="recharge", postings__account=account)
    shown = page(staff, reverse("admin:funds_journal_change", args=[journal.pk]))
    account_address = reverse("admin:funds_account_change", args=[account.pk])
    assert f'href="{account_address}"' in shown
    assert reverse("admin:orders_orderindex_change", args=[journal.order_no]) in shown
    assert "¥1,234.56" in shown
    assert "123456" not in shown.replace(journal.order_no, "").replace(owner.owner_id, "")
    shown = page(staff, account_address)
    assert "¥1,224.56" in shown
    assert "¥10.00" in shown
    postings_address = reverse("admin:funds_posting_changelist") + f"?account__id__exact={account.pk}"
    assert postings_address in shown.replace("&amp;", "&")
    shown = page(staff, postings_address)
    assert f'href="{reverse("admin:funds_journal_change", args=[journal.pk])}"' in shown
    assert shown.count("¥") == 3


def test_a_platform_account_shows_the_sum_of_its_postings(staff: Client) -> None:
    recharged(someone(), 5)
    clearing = Account.objects.get(owner_kind="PLATFORM", code="1110", owner_id="wechat")
    total = sum(Posting.objects.filter(account=clearing).values_list("amount_fen", flat=True))
    shown = page(staff, reverse("admin:funds_account_change", args=[clearing.pk]))
    assert f"-¥{-total // 100:,}.{-total % 100:02d}" in shown


@pytest.mark.parametrize("table", sorted(TABLES))
def test_nothing_is_added_changed_or_deleted(staff: Client, owner: AccountRef, table: str) -> None:
    row = TABLES[table].objects.order_by("-pk").first()
    assert row is not None
    change = reverse(f"admin:funds_{table}_change", args=[row.pk])
    before = list(TABLES[table].objects.filter(pk=row.pk).values())
    assert page(staff, change)
    assert page(staff, reverse(f"admin:funds_{table}_changelist"))
    assert staff.get(reverse(f"admin:funds_{table}_add")).status_code == 403
    assert staff.post(change, {"_save": "Save"}).status_code == 403
    assert staff.post(reverse(f"admin:funds_{table}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    answer = staff.post(
        reverse(f"admin:funds_{table}_changelist"), {"action": "delete_selected", "_selected_action": row.pk}
    )
    assert "delete_selected" not in answer.content.decode()  # there are no actions: the list is shown again
    assert list(TABLES[table].objects.filter(pk=row.pk).values()) == before


def test_staff_without_the_permission_see_nothing(client: Client, owner: AccountRef) -> None:
    client.force_login(User.objects.create_user(f"clerk-{fresh()[:8]}", password="irrelevant", is_staff=True))
    for table in TABLES:
        assert client.get(reverse(f"admin:funds_{table}_changelist")).status_code == 403

"""Closed days, statements and enterprises as finance staff see them."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from funds.domain.entries import AccountRef, employee_account, enterprise_account
from funds.models import Account
from funds.services import closing
from tests import worlds
from tests.integration.funds.moves import fresh, someone
from tests.integration.funds.test_closing import CLEARING, at, freeze, recharge, transfer

pytestmark = pytest.mark.django_db(databases="__all__")
MARCH = {"since": "2020-03-01", "until": "2020-03-31"}


@pytest.fixture
def staff() -> Client:
    client = Client(headers={"accept-language": "en"})
    user = User.objects.create_user(f"auditor-{fresh()[:8]}", password="irrelevant", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    return client


def cells(client: Client, address: str, query: dict[str, str]) -> list[list[str]]:
    """Text of every table row's cells."""
    answer = client.get(address, query)
    assert answer.status_code == 200, answer.content.decode()[:2000]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", answer.content.decode().partition('id="content-main"')[2], re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in rows
    ]


def pk(account: AccountRef) -> int:
    return Account.objects.get(owner_kind=account.owner_kind, owner_id=account.owner_id, code=account.code).pk


def test_statement_shows_opening_lines_and_closing(staff: Client) -> None:
    owner = someone()
    recharge(owner, 100_000, at(1, 9))
    freeze(owner, 2_500, at(2, 9))
    address = reverse("admin:funds_account_statement", args=[pk(owner)])
    rows = cells(staff, address, {"since": "2020-03-02", "until": "2020-03-02"})
    assert rows[1] == ["Opening", "", "¥1,000.00"]
    assert [row[3:] for row in rows[2:4]] == [
        ["available", "internal", "-¥25.00", "¥975.00"],
        ["frozen", "internal", "¥25.00", "¥25.00"],
    ]
    assert rows[4] == ["Closing (frozen ¥25.00)", "", "¥975.00"]
    platform = cells(staff, reverse("admin:funds_account_statement", args=[pk(CLEARING)]), MARCH)
    assert platform[-1] == ["Closing", "", "-¥1,000.00"]


def test_wrong_days_are_said_and_do_no_harm(staff: Client) -> None:
    owner = someone()
    recharge(owner, 1, at(1, 9))
    address = reverse("admin:funds_account_statement", args=[pk(owner)])
    wrong = staff.get(address, {"since": "2020-03-05", "until": "2020-03-01"}).content.decode()
    assert "The first day lies behind the last one." in wrong
    assert "Enter a valid date." in staff.get(address, {"since": "x", "until": "2020-02-30"}).content.decode()
    assert staff.get(reverse("admin:funds_account_statement", args=[10**12])).status_code == 404


def test_enterprise_page_adds_up_and_leads_to_statements(staff: Client) -> None:
    world = worlds.make_world(2)
    enterprise_id = world.enterprise.pk
    money = enterprise_account(enterprise_id)
    first, second = (employee_account(person.pk, enterprise_id) for person in world.employees)
    recharge(money, 900_000, at(5, 9))
    transfer(money, first, 50_000, at(5, 10))
    transfer(first, second, 1_000, at(5, 11))
    freeze(second, 300, at(5, 12))
    address = reverse("admin:funds_enterprisebooks_change", args=[enterprise_id])
    rows = cells(staff, address, MARCH)
    assert rows[1][1:8] == ["¥0.00", "¥9,000.00", "¥510.00", "¥0.00", "¥510.00", "¥9,000.00", ""]
    assert [row[2:] for row in rows[2:]] == [
        ["¥0.00", "¥9,000.00", "¥0.00", "¥0.00", "¥500.00", "¥8,500.00", "¥0.00"],
        ["¥0.00", "¥0.00", "¥500.00", "¥0.00", "¥10.00", "¥490.00", "¥0.00"],
        ["¥0.00", "¥0.00", "¥10.00", "¥0.00", "¥0.00", "¥10.00", "¥3.00"],
    ]
    page = staff.get(address, MARCH).content.decode()
    assert reverse("admin:funds_account_statement", args=[pk(second)]) in page
    listed = staff.get(reverse("admin:funds_enterprisebooks_changelist")).content.decode()
    assert f"{world.enterprise.name}" in listed
    assert staff.get(reverse("admin:funds_enterprisebooks_change", args=[10**15])).status_code == 404
    assert staff.get(reverse("admin:funds_enterprisebooks_change", args=["x"])).status_code == 404


def test_closed_day_shows_its_trial_balance(staff: Client) -> None:
    recharge(someone(), 4_200, at(1, 9))
    closed = closing.close_day(day=at(1, 9).date(), now=at(2, 1))
    page = staff.get(reverse("admin:funds_closedday_change", args=[closed.pk])).content.decode()
    assert "1110 Channel clearing" in page
    assert "-¥42.00" in page
    chinese = staff.get(
        reverse("admin:funds_closedday_change", args=[closed.pk]), headers={"accept-language": "zh-hans"}
    ).content.decode()
    assert "1110 渠道待清算" in chinese


def test_books_need_the_permission(client: Client) -> None:
    client.force_login(User.objects.create_user(f"nobody-{fresh()[:8]}", password="irrelevant", is_staff=True))
    recharge(owner := someone(), 1, at(1, 9))
    addresses = [
        reverse("admin:funds_account_statement", args=[pk(owner)]),
        reverse("admin:funds_enterprisebooks_changelist"),
        reverse("admin:funds_enterprisebooks_change", args=[owner.enterprise_id]),
        reverse("admin:funds_closedday_changelist"),
    ]
    assert [client.get(address).status_code for address in addresses] == [403, 403, 403, 403]

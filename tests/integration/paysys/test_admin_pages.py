"""The admin as staff meet it: everything readable and searchable, nothing of money changeable, strangers kept out."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from foundation import clock, outbox
from foundation.models import Flag, Limit, OutboxEvent, StaffNotice
from funds import selectors as funds
from funds.models import Account, Adjustment, Journal
from gateway.models import ChannelSetting, ClientGrade, Credential
from identity.models import Employee
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")
MONEY = ("orders", "funds", "redpacket", "gateway", "foundation")
CONFIGURED = [ChannelSetting, ClientGrade, Credential, Flag, Limit]
"""Settings: staff with the permission add and change them; they hold no money."""
READ_ONLY = [model for model in admin.site._registry if model._meta.app_label in MONEY and model not in CONFIGURED]
PROPOSED = [Adjustment]
"""What can be added in the admin: a proposal moves nothing, another person must approve it."""
PERSONAL = [StaffNotice]
"""What every member of staff sees without a permission: his own rows."""


def url(model: type, page: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


@pytest.fixture
def staff() -> Client:
    """Somebody with every view permission and nothing else."""
    user = User.objects.create_user("auditor", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss", password="x"))
    return client


@pytest.fixture
def employee() -> Employee:
    return worlds.make_world(2).employees[0]


@pytest.mark.parametrize("model", list(admin.site._registry), ids=lambda model: model._meta.label)
def test_every_list_opens_and_takes_a_search(staff: Client, model: type) -> None:
    assert staff.get(url(model, "changelist")).status_code == 200
    assert staff.get(url(model, "changelist"), {"q": "RC1000100012026112309164310600011 红包"}).status_code == 200


@pytest.mark.parametrize("model", READ_ONLY, ids=lambda model: model._meta.label)
def test_nothing_of_money_can_be_added_or_deleted_not_even_by_a_superuser(boss: Client, model: type) -> None:
    count = model._default_manager.count() if model in PROPOSED else 0
    expected = 200 if model in PROPOSED else 403
    assert boss.get(url(model, "add")).status_code == expected
    assert boss.post(url(model, "add"), {}).status_code == expected
    assert boss.post(url(model, "delete", "1"), {"post": "yes"}).status_code in (302, 403)
    assert (model._default_manager.count() if model in PROPOSED else 0) == count


def test_order_page_shows_attempts_and_leads_to_the_books(staff: Client, employee: Employee) -> None:
    order_no = worlds.give_money(employee, 12_345)
    found = staff.get(reverse("admin:orders_orderindex_changelist"), {"q": order_no})
    assert found["Location"] == reverse("admin:orders_orderindex_change", args=[order_no])
    page = staff.get(reverse("admin:orders_orderindex_change", args=[order_no])).content.decode()
    attempt = next(iter(funds.list_journals(order_no=order_no))).source_no
    assert attempt in page
    assert f"{reverse('admin:funds_journal_changelist')}?q={order_no}" in page
    assert f"{reverse('admin:gateway_notice_changelist')}?q={attempt}" in page
    journals = staff.get(reverse("admin:funds_journal_changelist"), {"q": order_no}).content.decode()
    assert "¥123.45" in journals


def test_changing_a_journal_account_or_order_is_refused(boss: Client, employee: Employee) -> None:
    order_no = worlds.give_money(employee, 500)
    journal = Journal.objects.get(kind="recharge", reference=order_no)
    account = Account.objects.get(owner_id=str(employee.pk), code="2010")
    assert boss.post(url(Journal, "change", journal.pk), {"memo": "x"}).status_code == 403
    assert boss.post(url(Account, "change", account.pk), {"available_fen": 1}).status_code == 403
    assert boss.post(url(Account, "delete", account.pk), {"post": "yes"}).status_code == 403
    assert worlds.wallet_of(employee) == (500, 0)


def test_outbox_of_each_database_is_shown(staff: Client) -> None:
    for alias in ("default", "funds", "redpacket", "orders_0", "orders_1"):
        with outbox.transactions.transaction.atomic(using=alias):
            outbox.publish(using=alias, topic="test.topic", key=f"key-{alias}", payload={}, now=clock.now())
        page = staff.get(url(OutboxEvent, "changelist"), {"database": alias}).content.decode()
        assert f"key-{alias}" in page
        row = OutboxEvent.objects.using(alias).get(key=f"key-{alias}")
        shown = staff.get(url(OutboxEvent, "change", row.pk), {"_changelist_filters": f"database={alias}"})
        assert f"key-{alias}" in shown.content.decode()


def test_employee_page_never_shows_a_password(staff: Client, employee: Employee) -> None:
    page = staff.get(url(Employee, "change", employee.pk)).content.decode()
    assert employee.password not in page


@pytest.mark.parametrize("model", READ_ONLY, ids=lambda model: model._meta.label)
def test_staff_without_the_permission_and_strangers_see_nothing(model: type) -> None:
    clerk = Client()
    clerk.force_login(User.objects.create_user("clerk", password="x", is_staff=True))
    assert clerk.get(url(model, "changelist")).status_code == (200 if model in PERSONAL else 403)
    assert Client().get(url(model, "changelist")).status_code == 302

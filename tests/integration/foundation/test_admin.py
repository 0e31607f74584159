"""Operations in the admin: everything can be looked at, nothing changed."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client, RequestFactory
from django.urls import reverse

from foundation.admin import ReadOnlyAdmin
from foundation.models import Alert, IdempotencyRecord, JobLock, JobRun, NodeLease, OutboxEvent
from identity.models import Authenticator
from risk.models import ListEntry
from tests.worlds import NOW

pytestmark = [pytest.mark.django_db(databases="__all__"), pytest.mark.filterwarnings("ignore:No directory at")]

MODELS = [Alert, IdempotencyRecord, JobLock, JobRun, NodeLease, OutboxEvent]


@pytest.fixture
def chief(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("chief", password="x"))
    return client


def address(model: type, page: str, *arguments: object) -> str:
    return reverse(f"admin:foundation_{model.__name__.lower()}_{page}", args=arguments)


@pytest.mark.parametrize("model", MODELS)
def test_lists_open_and_nothing_can_be_added(chief: Client, model: type) -> None:
    assert chief.get(address(model, "changelist")).status_code == 200
    assert chief.get(address(model, "add")).status_code == 403


def test_nothing_can_be_changed_or_deleted_by_the_chief_either(chief: Client) -> None:
    lock = JobLock.objects.create(name="j", holder="h", locked_until=NOW)
    page = chief.get(address(JobLock, "change", "j"))
    assert page.status_code == 200
    assert b'name="_save"' not in page.content
    changed = {"holder": "me", "locked_until_0": "2030-01-01", "locked_until_1": "00:00:00"}
    assert chief.post(address(JobLock, "change", "j"), changed).status_code == 403
    assert chief.post(address(JobLock, "delete", "j"), {"post": "yes"}).status_code == 403
    chief.post(address(JobLock, "changelist"), {"action": "delete_selected", "_selected_action": "j", "post": "yes"})
    lock.refresh_from_db()
    assert (lock.holder, lock.locked_until) == ("h", NOW)


def test_staff_see_only_what_they_are_permitted(client: Client) -> None:
    staff = User.objects.create_user("staff", password="x", is_staff=True)
    client.force_login(staff)
    assert client.get(address(Alert, "changelist")).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_alert"))
    client.force_login(User.objects.get(pk=staff.pk))  # a session ends with the role it began with
    assert client.get(address(Alert, "changelist")).status_code == 200
    assert client.get(address(JobRun, "changelist")).status_code == 403


def test_the_outbox_of_each_database_is_shown(chief: Client) -> None:
    for alias in ("default", "funds", "orders_1"):
        OutboxEvent.objects.using(alias).create(
            topic="t", key=f"key-in-{alias}", payload={}, created_at=NOW, next_at=NOW
        )
    shown = chief.get(address(OutboxEvent, "changelist")).content.decode()
    assert ("key-in-funds" in shown, "key-in-default" in shown) == (True, False)
    shown = chief.get(address(OutboxEvent, "changelist") + "?database=orders_1").content.decode()
    assert ("key-in-orders_1" in shown, "key-in-funds" in shown) == (True, False)
    assert chief.get(address(OutboxEvent, "changelist") + "?database=nowhere").status_code == 200
    waiting = chief.get(address(OutboxEvent, "changelist") + "?database=orders_1&waiting=no").content.decode()
    assert "key-in-orders_1" not in waiting


def test_a_row_of_another_database_opens_from_its_list(chief: Client) -> None:
    rows = OutboxEvent.objects.using("orders_1")
    event = rows.create(topic="t", key="far-away", payload={"secret": 1}, created_at=NOW, next_at=NOW)
    page = chief.get(
        address(OutboxEvent, "change", event.pk) + "?_changelist_filters=database%3Dorders_1%26waiting%3Dyes"
    )
    assert page.status_code == 200
    assert "far-away" in page.content.decode()


@pytest.mark.parametrize("model", [Alert, OutboxEvent, IdempotencyRecord])
def test_searching_for_chinese_text_finds_nothing_and_does_not_fail(chief: Client, model: type) -> None:
    assert chief.get(address(model, "changelist"), {"q": "企业"}).status_code == 200


OWN_PAGES: dict[type, set[str]] = {ListEntry: {"add"}, Authenticator: {"delete"}}
"""What these allow goes through a page or a service of their own: an entry with its reason, a lost device."""


def test_every_read_only_admin_of_the_project_is_read_only() -> None:
    request = RequestFactory().get("/")
    request.user = User(is_superuser=True, is_active=True, is_staff=True)
    found = [one for one in admin.site._registry.values() if isinstance(one, ReadOnlyAdmin)]
    assert {one.model for one in found} >= set(MODELS)
    for one in found:
        may = {action for action in ("add", "change", "delete") if getattr(one, f"has_{action}_permission")(request)}
        assert may == OWN_PAGES.get(one.model, set()), one


def test_every_table_of_the_foundation_has_its_page() -> None:
    assert set(apps.get_app_config("foundation").get_models()) <= set(admin.site._registry)

"""The directory in the admin: names and switches may be edited; secrets are neither shown nor taken."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from identity.models import AccessToken, Employee
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def employee() -> Employee:
    return worlds.make_world(1).employees[0]


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_superuser(username="identity-staff", password=worlds.PASSWORD))
    return client


def test_no_page_shows_a_password_or_a_digest(staff: Client, employee: Employee) -> None:
    worlds.token_of(employee)
    row = AccessToken.objects.get(employee=employee)
    for page in [
        reverse("admin:identity_employee_changelist"),
        reverse("admin:identity_employee_change", args=[employee.pk]),
        reverse("admin:identity_accesstoken_changelist"),
        reverse("admin:identity_accesstoken_change", args=[row.pk]),
    ]:
        answer = staff.get(page)
        assert answer.status_code == 200
        assert employee.password not in answer.content.decode()
        assert row.digest not in answer.content.decode()


def test_staff_edit_name_and_switch_but_nothing_else(staff: Client, employee: Employee) -> None:
    before = (employee.password, employee.code, employee.enterprise_id)
    stranger = worlds.make_world(1).enterprise
    answer = staff.post(
        reverse("admin:identity_employee_change", args=[employee.pk]),
        {"name": "Renamed", "password": "taken-over", "code": "boss", "enterprise": str(stranger.pk)},
    )
    assert answer.status_code == 302, answer.content
    employee.refresh_from_db()
    assert (employee.name, employee.is_active) == ("Renamed", False)
    assert (employee.password, employee.code, employee.enterprise_id) == before


def test_tokens_and_people_are_neither_added_nor_deleted(staff: Client, employee: Employee) -> None:
    worlds.token_of(employee)
    row = AccessToken.objects.get(employee=employee)
    refused = [
        staff.post(reverse("admin:identity_accesstoken_change", args=[row.pk]), {"revoked_at": ""}),
        staff.post(reverse("admin:identity_accesstoken_delete", args=[row.pk]), {"post": "yes"}),
        staff.post(reverse("admin:identity_employee_delete", args=[employee.pk]), {"post": "yes"}),
        staff.get(reverse("admin:identity_accesstoken_add")),
    ]
    assert [answer.status_code for answer in refused] == [403, 403, 403, 403]
    assert AccessToken.objects.filter(pk=row.pk, employee=employee).exists()


def test_a_group_shows_its_members_and_takes_a_name_only(staff: Client) -> None:
    world = worlds.make_world(2)
    page = reverse("admin:identity_group_change", args=[world.group.pk])
    shown = staff.get(page).content.decode()
    assert all(str(person) in shown for person in world.employees)
    member = world.group.members.get(employee=world.employees[1])
    forms = {
        "members-TOTAL_FORMS": "2",
        "members-INITIAL_FORMS": "2",
        "members-0-id": str(world.group.members.get(employee=world.employees[0]).pk),
        "members-0-group": world.group.pk,
        "members-1-id": str(member.pk),
        "members-1-group": world.group.pk,
        "members-1-DELETE": "on",
    }
    assert staff.post(page, {"name": "New name", **forms}).status_code == 302
    world.group.refresh_from_db()
    assert world.group.name == "New name"
    assert world.group.members.filter(pk=member.pk).exists()

"""A member of staff whose role changed is out with his next click, whoever changed it and by whatever way."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from foundation import ids
from foundation.models import AuditEntry

pytestmark = pytest.mark.django_db(databases="__all__")
PAGE = reverse("admin:orders_orderindex_changelist")


def permission(codename: str) -> Permission:
    return Permission.objects.get(codename=codename)


@pytest.fixture
def user() -> User:
    made = User.objects.create_user(f"staff-{ids.new_id()[:12]}", password="x", is_staff=True)
    made.groups.add(Group.objects.get(name="auditor"))
    return made


@pytest.fixture
def client(user: User) -> Client:
    made = Client()
    made.force_login(user)
    assert made.get(PAGE).status_code == 200
    return made


CHANGES: dict[str, Callable[[User], object]] = {
    "another group": lambda user: user.groups.add(Group.objects.get(name="operator")),
    "no group": lambda user: user.groups.clear(),
    "a permission of his own": lambda user: user.user_permissions.add(permission("approve_withdrawal")),
    "a permission of the group": lambda user: user.groups.get().permissions.add(permission("approve_withdrawal")),
    "a permission taken from the group": lambda user: user.groups.get().permissions.remove(permission("view_alert")),
    "superuser": lambda user: User.objects.filter(pk=user.pk).update(is_superuser=True),
    "staff no longer": lambda user: User.objects.filter(pk=user.pk).update(is_staff=False),
    "closed": lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
    "another password": lambda user: (user.set_password("y"), user.save()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_role_ends_the_session(client: Client, user: User, change: str) -> None:
    CHANGES[change](user)
    answer = client.get(PAGE)
    assert answer.status_code == 302
    assert unquote(answer["Location"]) == f"{reverse('admin:login')}?next={PAGE}"
    assert client.get(PAGE).status_code == 302
    assert "_auth_user_id" not in client.session or change == "closed"  # Django then takes it for nobody's


def test_it_is_in_the_audit_trail_and_a_post_does_nothing(client: Client, user: User) -> None:
    user.groups.add(Group.objects.get(name="operator"))
    answer = client.post(reverse("admin:foundation_limit_add"), {"name": "web", "amount": 1, "reason": "x"})
    assert answer["Location"] == reverse("admin:login")
    rows = AuditEntry.objects.filter(action="session.ended", object_key=str(user.pk))
    assert [(row.actor_id, row.reason) for row in rows] == [(user.pk, "the role changed")]
    client.force_login(User.objects.get(pk=user.pk))
    assert client.get(PAGE).status_code == 200


def test_what_changes_nothing_of_the_role_ends_nothing(client: Client, user: User) -> None:
    user.first_name = "Li"
    user.save()
    Group.objects.get(name="operator").permissions.add(permission("approve_withdrawal"))
    assert client.get(PAGE).status_code == 200

"""Who may do what: the table of roles, the groups in the database, every page of the admin, and the document."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import URLPattern, reverse

from foundation import ids
from paysys import roles
from paysys.roles import OPPOSITES, ROLES, Role
from tests.system import ROOT

pytestmark = pytest.mark.django_db(databases="__all__")
DOCUMENT = ROOT / "docs" / "PERMISSIONS.md"
NEW = ROOT / ".local" / "PERMISSIONS.md"
"""What the document should say; written when it says something else."""
FUTURE = {"collect.refund_collection"}
"""A merchant's own people refund, by API; staff have no page for it."""


def client_of(role: Role) -> Client:
    user = User.objects.create_user(f"{role.name[:8]}-{ids.new_id()[:12]}", password="x", is_staff=True)
    user.groups.add(Group.objects.get(name=role.name))
    client = Client(raise_request_exception=True)
    client.force_login(user)
    return client


def pages() -> Iterator[tuple[str, str]]:
    """(name, address) of every page of every model in the admin; "0" for the key of a row."""
    for one in admin.site._registry.values():
        for pattern in one.get_urls():
            assert isinstance(pattern, URLPattern)
            # Left out: addresses of older Django versions, and histories, which ask as their row's page does.
            if pattern.name is None or pattern.name.endswith("_history"):
                continue
            arguments = ["0"] * len(pattern.pattern.converters) or ["0"] * pattern.pattern.regex.groups
            yield pattern.name, reverse(f"admin:{pattern.name}", args=arguments)


def may_open(client: Client, address: str) -> bool:
    answer = client.get(address)
    if answer.status_code == 405:
        answer = client.post(address)
    assert answer.status_code in (200, 302, 400, 403, 404, 409), f"{address}: {answer.status_code}"
    return answer.status_code != 403


def document() -> str:
    names = [role.name for role in ROLES]
    lines = [
        "# Who may do what",
        "",
        "Written by `paysys/roles.py`, compared by `tests/integration/paysys/test_roles.py`: edit that table, run",
        "the test, and take what it leaves in `.local/PERMISSIONS.md`. A role is a group in the admin. A superuser may",
        "open every page; the database still refuses him a decision about his own proposal.",
        "",
        "`change` is the page of one row: where nobody may change anything it only shows. Pages that answer a deed",
        "(approve, reject, replay) are listed by their own names.",
        "",
        "| Role | Meaning | May see | May do |",
        "|---|---|---|---|",
    ]
    for role in ROLES:
        may = ", ".join(f"`{name}`" for name in role.may) or "–"
        lines.append(f"| {role.name} | {role.meaning} | {', '.join(role.views)} | {may} |")
    lines += [
        "",
        "## Every page of the admin",
        "",
        "| Page | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    clients = [client_of(role) for role in ROLES]
    for name, address in sorted(pages()):
        cells = ["yes" if may_open(client, address) else "–" for client in clients]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def test_the_document_says_what_every_role_can_open() -> None:
    found = document()
    if found != (DOCUMENT.read_text() if DOCUMENT.exists() else ""):
        NEW.parent.mkdir(exist_ok=True)
        NEW.write_text(found)
    assert DOCUMENT.read_text() == found, f"docs/PERMISSIONS.md is not what stands in {os.path.relpath(NEW, ROOT)}"


def test_the_groups_are_what_the_table_says_and_become_it_again() -> None:
    for role in ROLES:
        group = Group.objects.get(name=role.name)
        wanted = {row.pk for row in roles.permissions_of(role)}
        assert set(group.permissions.values_list("pk", flat=True)) == wanted
    Group.objects.get(name="auditor").permissions.add(*Group.objects.get(name="operator").permissions.all())
    roles.synchronise()
    assert set(Group.objects.get(name="auditor").permissions.values_list("codename", flat=True)) == {
        row.codename for row in roles.permissions_of(next(role for role in ROLES if role.name == "auditor"))
    }


def test_nobody_decides_what_he_proposes_and_the_auditor_changes_nothing() -> None:
    for role in ROLES:
        for proposing, deciding in OPPOSITES:
            assert not {proposing, deciding} <= set(role.may), role.name
    auditor = next(role for role in ROLES if role.name == "auditor")
    assert auditor.may == ()
    assert all(row.codename.startswith("view_") for row in roles.permissions_of(auditor))
    for one in admin.site._registry.values():
        assert one.model._meta.app_label in auditor.views, f"the auditor cannot see {one.model._meta.label}"


def test_every_permission_of_our_own_belongs_to_a_role() -> None:
    """Whoever adds one says in the table whose it is."""
    own = {
        f"{model._meta.app_label}.{codename}"
        for model in apps.get_models()
        for codename, _name in model._meta.permissions
    }
    given = {name for role in ROLES for name in role.may}
    assert own - given == FUTURE


def test_an_unknown_permission_is_named() -> None:
    with pytest.raises(roles.UnknownPermission, match=r"x: funds\.approve_everything"):
        roles.permissions_of(Role(name="x", meaning="", views=(), may=("funds.approve_everything",)))

"""Who may do what: the table of roles, the groups in the database, every page of the admin, and the document."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.apps.registry import Apps
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import URLPattern, reverse

from foundation import clock, ids
from paysys import roles
from paysys.roles import OPPOSITES, ROLES, Role
from risk import selectors
from risk.models import ListEntry
from risk.services import lists
from tests import worlds
from tests.integration.risk import asking
from tests.integration.withdrawals import people
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


SECOND = {"risk_ruleversion_step": "approve", "risk_listentry_step": "confirm", "risk_ruleversion_row": 1}
"""What follows the row's key in an address."""
FIRST = {"risk_ruleversion_draft": "withdrawal"}
"""Where it is no row's key."""


def make_rows() -> None:
    """A row of what a role may do a deed to: a view that looks for its row first must not hide whom it lets in."""
    person = worlds.make_world(1).employees[0]
    worlds.give_money(person, 1_000_000)
    people.bind_payees(person)
    people.apply(person)
    editor = asking.staff("edit_rules", "edit_lists")
    rows, thresholds = selectors.get_content(version_id=asking.rule_set().active_id)
    asking.submitted(editor, rows, thresholds)
    entry = lists.NewEntry(
        kind=ListEntry.Kind.ALLOW,
        subject_kind=ListEntry.Subject.EMPLOYEE,
        value=str(person.pk),
        expires_on=clock.business_date(clock.now()) + dt.timedelta(days=30),
        reason="x",
    )
    lists.add(entries=[entry], staff_id=editor.pk, now=clock.now())


def pages() -> Iterator[tuple[str, str]]:
    """(name, address) of every page of every model in the admin, with the key of a row where there is one."""
    for model, one in admin.site._registry.items():
        row = model._base_manager.order_by("-pk").first() if model._meta.managed else None
        key = "0" if row is None else str(row.pk)
        for pattern in one.get_urls():
            assert isinstance(pattern, URLPattern)
            # Left out: addresses of older Django versions, and histories, which ask as their row's page does.
            if pattern.name is None or pattern.name.endswith("_history"):
                continue
            count = len(pattern.pattern.converters) or pattern.pattern.regex.groups
            arguments = [FIRST.get(pattern.name, key), *[SECOND.get(pattern.name, "0")] * count][:count]
            yield pattern.name, reverse(f"admin:{pattern.name}", args=arguments)


def may_open(client: Client, name: str, address: str) -> str:
    """yes: the page opens, and takes what is sent; see: it opens, but takes nothing; –: neither."""
    answer = client.get(address)
    assert answer.status_code in (200, 302, 400, 403, 404, 405, 409), f"{address}: {answer.status_code}"
    if answer.status_code == 403:
        return "–"
    if name.endswith(("_changelist", "_add", "_delete", "_history")):
        return "yes"
    sent = client.post(address, {"nothing": "x"})  # which no form takes
    assert sent.status_code in (200, 302, 400, 403, 404, 405, 409), f"{address}: {sent.status_code}"
    if answer.status_code == 405:
        return "–" if sent.status_code == 403 else "yes"
    return "see" if sent.status_code in (403, 405) else "yes"


def document() -> str:
    names = [role.name for role in ROLES]
    lines = [
        "# Who may do what",
        "",
        "Written by `paysys/roles.py`, compared by `tests/integration/paysys/test_roles.py`: edit that table, run",
        "the test, and take what it leaves in `.local/PERMISSIONS.md`. A role is a group in the admin. A superuser may",
        "open every page; the database still refuses him a decision about his own proposal.",
        "",
        "*yes*: the page opens and takes what is sent; *see*: it opens and takes nothing; –: 403. `change` is the page",
        "of one row. Pages of a deed (approve, reject, replay) stand by their own names.",
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
    make_rows()
    clients = [client_of(role) for role in ROLES]
    for name, address in sorted(pages()):
        cells = [may_open(client, name, address) for client in clients]
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


def test_groups_wait_until_every_app_is_migrated() -> None:
    """`migrate foundation` alone: permissions of other apps have no rows yet."""
    last = [config for config in apps.get_app_configs() if config.models_module is not None][-1]
    Group.objects.get(name="maker").permissions.clear()
    roles.after_migrate(sender=last, using="default", apps=Apps(["foundation"]))
    assert not Group.objects.get(name="maker").permissions.exists()
    roles.after_migrate(sender=last, using="default", apps=apps)
    assert Group.objects.get(name="maker").permissions.exists()

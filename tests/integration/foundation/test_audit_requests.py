"""What staff post in the admin, and their log-ins, stand in the audit trail with what changed and no secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group, Permission, User
from django.test import Client, RequestFactory
from django.urls import reverse

from foundation import audit, audit_requests
from foundation.models import AuditEntry, JobLock
from identity.models import Authenticator
from tests.worlds import NOW

pytestmark = [pytest.mark.django_db(databases="__all__"), pytest.mark.filterwarnings("ignore:No directory at")]


@pytest.fixture
def chief(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("chief", password="x"))
    return client


def rows_since(last: int) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(pk__gt=last).order_by("pk"))


def newest() -> int:
    row = AuditEntry.objects.order_by("-pk").first()
    return row.pk if row else 0


def post(client: Client, address: str, data: dict[str, Any], **headers: Any) -> tuple[Any, AuditEntry]:
    """The answer and the one row that it left."""
    last = newest()
    answer = client.post(address, data, **headers)
    (row,) = rows_since(last)
    assert row.digest == audit.digest_of(row)
    return answer, row


def test_a_change_is_one_row_with_who_from_where_and_what(chief: Client) -> None:
    group = Group.objects.create(name="auditors")
    permission = Permission.objects.get(codename="view_alert")
    answer, row = post(
        chief,
        reverse("admin:auth_group_change", args=[group.pk]),
        {"name": "readers", "permissions": [permission.pk], "reason": "new year's list"},
        REMOTE_ADDR="10.1.2.3",
        HTTP_X_REQUEST_ID="request-0001",
    )
    assert answer.status_code == 302
    assert (row.action, row.object_type, row.object_key) == ("staff.change", "auth.group", str(group.pk))
    assert (row.actor_name, row.actor_id) == ("chief", User.objects.get(username="chief").pk)
    assert (row.address, row.request_id, row.reason) == ("10.1.2.3", "request-0001", "new year's list")
    assert row.before == {"name": "auditors", "permissions": []}
    assert row.after == {"name": "readers", "permissions": [str(permission.pk)]}
    assert row.details == {
        "view": "admin:auth_group_change",
        "fields": ["name", "permissions", "reason"],
        "status": 302,
    }


def test_what_was_added_and_deleted_is_kept_whole(chief: Client) -> None:
    _, row = post(chief, reverse("admin:auth_group_add"), {"name": "new ones"})
    group = Group.objects.get(name="new ones")
    whole = {"id": group.pk, "name": "new ones", "permissions": []}
    assert (row.action, row.object_key, row.before, row.after) == ("staff.add", str(group.pk), None, whole)
    _, row = post(chief, reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"})
    assert (row.action, row.object_key, row.before, row.after) == ("staff.delete", str(group.pk), whole, None)
    assert not Group.objects.filter(pk=group.pk).exists()


def test_an_action_on_a_list_names_all_objects(chief: Client) -> None:
    first, second = (Group.objects.create(name=name) for name in ("one", "two"))
    keys = [str(first.pk), str(second.pk)]
    data = {"action": "delete_selected", "_selected_action": keys, "post": "yes"}
    _, row = post(chief, reverse("admin:auth_group_changelist"), data)
    assert (row.action, row.object_type, row.object_key) == ("staff.changelist", "auth.group", "")
    assert (row.details["action"], row.details["objects"]) == ("delete_selected", keys)
    assert row.before is not None
    assert {key: value["name"] for key, value in row.before.items()} == {keys[0]: "one", keys[1]: "two"}
    assert row.after is None


def test_a_refused_attempt_is_recorded_and_changed_nothing(chief: Client) -> None:
    JobLock.objects.create(name="j", holder="h", locked_until=NOW)
    answer, row = post(chief, reverse("admin:foundation_joblock_change", args=["j"]), {"holder": "me"})
    assert (answer.status_code, row.details["status"]) == (403, 403)
    assert (row.object_type, row.object_key, row.before, row.after) == ("foundation.joblock", "j", None, None)


def test_who_has_not_typed_his_code_is_recorded_with_the_detour(client: Client) -> None:
    user = User.objects.create_superuser("half", password="x")
    Authenticator.objects.create(user=user, name="phone", confirmed=True)
    client.force_login(user)
    answer, row = post(client, reverse("admin:auth_group_add"), {"name": "sneaked"})
    assert (answer.status_code, row.action, row.details["status"]) == (302, "staff.add", 302)
    assert (row.object_key, row.after) == ("", None)
    assert not Group.objects.filter(name="sneaked").exists()


def test_no_secret_is_in_the_row(chief: Client) -> None:
    user = User.objects.create_user("clerk", password="first-password-9")
    old = user.password
    data = {"password1": "second-password-9", "password2": "second-password-9", "usable_password": "true"}
    answer, row = post(chief, reverse("admin:auth_user_password_change", args=[user.pk]), data)
    user.refresh_from_db()
    assert answer.status_code == 302
    assert user.password != old
    assert row.before is not None
    assert row.before["password"].startswith("(hidden, ")
    text = json.dumps([row.before, row.after, row.details, row.reason])
    assert not any(secret in text for secret in (old, user.password, "second-password-9", "first-password-9"))


def test_what_the_view_records_itself_has_the_same_origin(chief: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes: list[audit.Scene | None] = []

    def watched(self: Any, *arguments: Any, **named: Any) -> Any:
        scenes.append(audit.scene())
        return real(self, *arguments, **named)

    real = GroupAdmin.save_model
    monkeypatch.setattr(GroupAdmin, "save_model", watched)
    chief.post(reverse("admin:auth_group_add"), {"name": "seen"}, HTTP_X_REQUEST_ID="request-0002")
    (inside,) = scenes
    assert inside is not None
    assert (inside.origin.actor_name, inside.origin.request_id) == ("chief", "request-0002")
    assert audit.scene() is None


def test_pages_that_are_only_looked_at_leave_nothing(chief: Client) -> None:
    last = newest()
    assert chief.get(reverse("admin:auth_group_changelist")).status_code == 200
    assert Client().post(reverse("admin:auth_group_add"), {"name": "nobody's"}).status_code == 302
    assert rows_since(last) == []


def test_an_address_or_a_key_that_is_none_is_recorded(chief: Client) -> None:
    answer, row = post(chief, "/admin/no/such/page/", {"x": "1"})
    assert (answer.status_code, row.object_type, row.details["status"]) == (404, "", 404)
    answer, row = post(chief, "/admin/auth/group/abc/change/", {"name": "x"})
    assert (row.object_type, row.object_key, row.before, row.after) == ("auth.group", "abc", None, None)


def test_log_in_log_out_and_failures(client: Client) -> None:
    user = User.objects.create_user("clerk", password="right-password-9", is_staff=True)
    last = newest()
    address = reverse("admin:login")
    client.post(address, {"username": "clerk", "password": "wrong-password-9"}, REMOTE_ADDR="10.9.9.9")
    client.post(address, {"username": "hunter2-typed-here", "password": "x"})
    client.post(address, {"username": "clerk", "password": "right-password-9"})
    client.post(reverse("admin:logout"))
    rows = rows_since(last)
    assert [(row.action, row.actor_name, row.object_key) for row in rows] == [
        ("staff.log_in_failed", "clerk", str(user.pk)),
        ("staff.log_in_failed", "(unknown)", ""),
        ("staff.log_in", "clerk", str(user.pk)),
        ("staff.log_out", "clerk", str(user.pk)),
    ]
    assert rows[0].address == "10.9.9.9"
    assert len({row.request_id for row in rows}) == 4
    text = json.dumps([[row.before, row.after, row.details, row.object_name] for row in rows])
    assert "hunter2" not in text
    assert "password-9" not in text


def test_what_cannot_be_recorded_is_an_error_and_said(chief: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_named: Any) -> None:
        raise RuntimeError("the table is away")

    monkeypatch.setattr(audit, "record", broken)
    chief.raise_request_exception = False
    assert chief.post(reverse("admin:auth_group_add"), {"name": "seen"}).status_code == 500


def test_without_a_request_the_origin_is_the_account() -> None:
    user = User.objects.create_user("job", password="x")
    last = newest()
    audit_requests.note_log_in(sender=None, request=None, user=user)
    audit_requests.note_log_out(sender=None, request=RequestFactory().post("/"), user=None)
    (row,) = rows_since(last)
    assert (row.action, row.address, row.request_id) == ("staff.log_in", "", "")

"""Log-in and tokens over the API: what is issued, what is stored, and everything that is refused alike."""

from __future__ import annotations

import datetime as dt
import hashlib
from unittest.mock import patch

import pytest
from django.contrib.auth import hashers
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from foundation import clock
from foundation.errors import NotAuthenticated
from identity.models import AccessToken, Employee
from identity.services import login
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")

ADDRESS = "/api/v1/auth/login"


@pytest.fixture
def employee() -> Employee:
    return worlds.make_world(1).employees[0]


def body_of(person: Employee, **changes: object) -> dict[str, object]:
    body = {"enterprise": person.enterprise.code, "employee": person.code, "password": worlds.PASSWORD}
    return {**body, **changes}


def groups_with(client: Client, header: str) -> tuple[int, str]:
    """Status and error code of a call that needs a log-in."""
    answer = client.get("/api/v1/groups", headers={"Authorization": header})
    return answer.status_code, answer.json().get("error", {}).get("code", "")


def test_a_good_log_in_answers_the_token_and_who_it_is(client: Client, employee: Employee) -> None:
    with clock.frozen(worlds.NOW):
        answer = client.post(ADDRESS, body_of(employee), content_type="application/json")
        assert answer.status_code == 200, answer.content
        shown = answer.json()
        assert set(shown) == {"access_token", "expires_at", "employee"}
        assert shown["employee"] == {
            "enterprise": employee.enterprise.code,
            "employee": employee.code,
            "name": employee.name,
        }
        assert shown["expires_at"] == "2026-11-22T22:00:00+08:00"
        assert groups_with(client, f"Bearer {shown['access_token']}") == (200, "")
    employee.refresh_from_db()
    assert employee.last_login_at == worlds.NOW


def test_only_the_digest_of_a_token_is_stored(employee: Employee) -> None:
    token = worlds.token_of(employee)
    row = AccessToken.objects.get(employee=employee)
    assert row.digest == hashlib.sha256(token.encode()).hexdigest()
    assert len(token) == 43  # 32 bytes in base64url
    assert token != worlds.token_of(employee)


def test_the_lifetime_is_the_setting(employee: Employee, settings: Settings) -> None:
    settings.ACCESS_TOKEN_HOURS = 3
    issued = login.log_in(
        enterprise_code=employee.enterprise.code,
        employee_code=employee.code,
        password=worlds.PASSWORD,
        now=worlds.NOW,
    )
    assert issued.expires_at == worlds.NOW + dt.timedelta(hours=3)
    assert issued.employee == employee


@pytest.mark.parametrize(
    "changes",
    [
        {"password": "wrong-horse-battery"},
        {"password": worlds.PASSWORD + " "},
        {"password": worlds.PASSWORD.upper()},
        {"employee": "nobody"},
        {"employee": "E0001"},
        {"employee": "员工"},
        {"enterprise": "no-such"},
        {"enterprise": "企业😀"},
    ],
)
def test_whatever_is_wrong_the_answer_is_the_same(
    client: Client, employee: Employee, changes: dict[str, object]
) -> None:
    answer = client.post(ADDRESS, body_of(employee, **changes), content_type="application/json")
    assert answer.status_code == 401, answer.content
    error = answer.json()["error"]
    assert (error["code"], error["details"]) == ("not_authenticated", {})
    assert not AccessToken.objects.filter(employee=employee).exists()
    employee.refresh_from_db()
    assert employee.last_login_at is None


def test_an_inactive_employee_is_refused_like_a_wrong_password(client: Client, employee: Employee) -> None:
    Employee.objects.filter(pk=employee.pk).update(is_active=False)
    answer = client.post(ADDRESS, body_of(employee), content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")
    assert not AccessToken.objects.filter(employee=employee).exists()


def test_the_same_code_in_another_enterprise_is_somebody_else(client: Client, employee: Employee) -> None:
    namesake = worlds.make_world(1).employees[0]
    namesake.set_password("quite-another-password")
    namesake.save()
    assert namesake.code == employee.code
    refused = client.post(
        ADDRESS, body_of(employee, enterprise=namesake.enterprise.code), content_type="application/json"
    )
    assert refused.status_code == 401
    assert not AccessToken.objects.filter(employee=namesake).exists()


@pytest.mark.parametrize("known", [True, False], ids=["wrong password", "unknown employee"])
def test_an_unknown_employee_costs_one_hash_like_a_wrong_password(employee: Employee, known: bool) -> None:
    """The hasher is counted, not timed: a clock would make this test a matter of luck."""
    hasher = hashers.get_hasher()
    real = type(hasher).encode
    calls: list[str] = []

    def counted(self: object, password: str, *rest: object, **options: object) -> str:
        calls.append(password)
        return real(self, password, *rest, **options)

    with patch.object(type(hasher), "encode", counted), pytest.raises(login.LoginFailed):
        login.log_in(
            enterprise_code=employee.enterprise.code,
            employee_code=employee.code if known else "nobody",
            password="wrong-horse-battery",
            now=worlds.NOW,
        )
    assert calls == ["wrong-horse-battery"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"password": 12345678}, "password"),
        ({"password": None}, "password"),
        ({"enterprise": ""}, "enterprise"),
        ({"employee": "e" * 33}, "employee"),
        ({"remember": True}, "remember"),
    ],
)
def test_a_malformed_body_names_the_field(
    client: Client, employee: Employee, changes: dict[str, object], field: str
) -> None:
    answer = client.post(ADDRESS, body_of(employee, **changes), content_type="application/json")
    assert answer.status_code == 400, answer.content
    error = answer.json()["error"]
    assert (error["code"], set(error["details"])) == ("invalid_request", {field})
    assert not AccessToken.objects.filter(employee=employee).exists()


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer nonsense", "Basic abc", "Bearer " + "x" * 129])
def test_without_a_good_token_the_answer_is_401(client: Client, header: str) -> None:
    headers = {"Authorization": header} if header else {}
    answer = client.get("/api/v1/groups", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"] == "Bearer"


def test_a_token_ends_at_its_expiry(client: Client, employee: Employee) -> None:
    with clock.frozen(worlds.NOW):
        token = worlds.token_of(employee)
    end = worlds.NOW + dt.timedelta(hours=12)
    with clock.frozen(end - dt.timedelta(microseconds=1)):
        assert groups_with(client, f"Bearer {token}") == (200, "")
    with clock.frozen(end):
        assert groups_with(client, f"Bearer {token}") == (401, "not_authenticated")


def test_revoking_ends_every_log_in_of_one_employee_only(client: Client) -> None:
    first, second = worlds.make_world(2).employees
    ended = [worlds.token_of(first), worlds.token_of(first)]
    kept = worlds.token_of(second)
    assert login.revoke_tokens(employee_id=first.pk, now=worlds.NOW) == 2
    assert [groups_with(client, f"Bearer {token}") for token in ended] == [(401, "not_authenticated")] * 2
    assert groups_with(client, f"Bearer {kept}") == (200, "")
    assert login.revoke_tokens(employee_id=first.pk, now=worlds.NOW) == 0


def test_switching_an_employee_off_ends_his_log_in(client: Client, employee: Employee) -> None:
    token = worlds.token_of(employee)
    Employee.objects.filter(pk=employee.pk).update(is_active=False)
    assert groups_with(client, f"Bearer {token}") == (401, "not_authenticated")


def test_the_stored_digest_is_no_token(employee: Employee) -> None:
    worlds.token_of(employee)
    digest = AccessToken.objects.get(employee=employee).digest
    with pytest.raises(NotAuthenticated):
        login.authenticate_token(token=digest, now=clock.now())


def test_a_token_is_looked_up_with_its_enterprise_in_one_query(
    employee: Employee, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    token = worlds.token_of(employee)
    with django_assert_num_queries(1):
        found = login.authenticate_token(token=token, now=clock.now())
        assert found.enterprise.code == employee.enterprise.code
    assert found == employee

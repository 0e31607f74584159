"""Guessing the password of an employee: ten from one place, fifty from everywhere, the same for names nobody has."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth import hashers
from django.test import Client
from pytest_django import Settings
from redis.exceptions import ConnectionError as RedisAway

from foundation import clock, redis
from identity.models import AccessToken, Employee
from identity.services import login, login_tries
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")
NEW_PASSWORD = "another-horse-battery"


@pytest.fixture
def employee() -> Employee:
    return worlds.make_world(1).employees[0]


def log_in(client: Client, enterprise: str, code: str, password: str, address: str = "203.0.113.1") -> Any:
    body = {"enterprise": enterprise, "employee": code, "password": password}
    return client.post("/api/v1/auth/login", body, content_type="application/json", REMOTE_ADDR=address)


def seen(answer: Any) -> tuple[int, dict[str, Any]]:
    """What tells one refusal from another; the request id always differs."""
    error = dict(answer.json().get("error", {}))
    error.pop("request_id", None)
    error.pop("details", None)
    return answer.status_code, error


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_the_eleventh_try_is_refused_unseen_even_with_the_right_password(
    client: Client, employee: Employee, settings: Settings, is_known: bool
) -> None:
    code = employee.code if is_known else "nobody"
    answers = [log_in(client, employee.enterprise.code, code, "wrong-horse") for _ in range(10)]
    assert [answer.status_code for answer in answers] == [401] * 10
    hasher = type(hashers.get_hasher())
    with patch.object(hasher, "encode", side_effect=AssertionError("a password was looked at")):
        locked = log_in(client, employee.enterprise.code, code, worlds.PASSWORD)
    assert (locked.status_code, locked.json()["error"]["code"]) == (429, "rate_limited")
    assert 0 < int(locked["Retry-After"]) <= settings.LOGIN_LOCK_SECONDS
    assert not AccessToken.objects.filter(employee=employee).exists()


def test_known_and_unknown_names_are_answered_alike_all_the_way(client: Client, employee: Employee) -> None:
    known = [seen(log_in(client, employee.enterprise.code, employee.code, "wrong")) for _ in range(12)]
    unknown = [seen(log_in(client, employee.enterprise.code, "nobody", "wrong")) for _ in range(12)]
    stranger = [seen(log_in(client, f"x{uuid.uuid4().hex[:8]}", employee.code, "wrong")) for _ in range(2)]
    assert known == unknown
    assert stranger == known[:2]
    assert [status for status, _ in known] == [401] * 10 + [429] * 2


def test_a_lock_is_one_names_and_one_addresss(client: Client) -> None:
    me, colleague = worlds.make_world(2).employees
    for _ in range(11):
        log_in(client, me.enterprise.code, me.code, "wrong")
    assert log_in(client, me.enterprise.code, me.code, worlds.PASSWORD).status_code == 429
    assert log_in(client, me.enterprise.code, me.code, worlds.PASSWORD, "198.51.100.7").status_code == 200
    assert log_in(client, me.enterprise.code, colleague.code, worlds.PASSWORD).status_code == 200


def test_guessing_from_everywhere_ends_too(client: Client, employee: Employee, settings: Settings) -> None:
    settings.LOGIN_TRIES = 12
    for number in range(12):
        answer = log_in(client, employee.enterprise.code, employee.code, "wrong", f"192.0.2.{number}")
        assert answer.status_code == 401
    assert log_in(client, employee.enterprise.code, employee.code, worlds.PASSWORD, "192.0.2.99").status_code == 429


def test_a_good_log_in_forgets_the_slips_before_it(client: Client, employee: Employee) -> None:
    for _ in range(3):
        for _ in range(9):
            assert log_in(client, employee.enterprise.code, employee.code, "wrong").status_code == 401
        assert log_in(client, employee.enterprise.code, employee.code, worlds.PASSWORD).status_code == 200


def test_a_lock_ends(client: Client, employee: Employee, settings: Settings) -> None:
    for _ in range(11):
        log_in(client, employee.enterprise.code, employee.code, "wrong")
    keys = login_tries._keys(employee.enterprise.code, employee.code, "203.0.113.1")
    lives = [redis.client().ttl(key) for key in keys]
    assert all(0 < life <= settings.LOGIN_LOCK_SECONDS for life in lives), lives
    redis.client().delete(*keys)  # the end of their lives
    assert log_in(client, employee.enterprise.code, employee.code, worlds.PASSWORD).status_code == 200


def test_guesses_at_one_moment_are_counted_like_others(employee: Employee) -> None:
    names = {"enterprise_code": employee.enterprise.code, "employee_code": employee.code, "address": "192.0.2.1"}

    def guess(_: int) -> bool:
        try:
            login_tries.take(**names)
        except login_tries.TooManyLogins:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(guess, range(64))) == 10


def test_without_redis_nobody_guesses(client: Client, employee: Employee, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object, **options: object) -> None:
        raise RedisAway

    monkeypatch.setattr(login_tries, "_script", lambda text: away)
    answer = log_in(client, employee.enterprise.code, employee.code, worlds.PASSWORD)
    assert (answer.status_code, answer.json()["error"]["code"], answer["Retry-After"]) == (503, "busy", "2")
    assert not AccessToken.objects.filter(employee=employee).exists()


def put_password(client: Client, token: str, old: str, new: str) -> Any:
    return client.put(
        "/api/v1/auth/password",
        {"old_password": old, "new_password": new},
        content_type="application/json",
        headers={"Authorization": f"Bearer {token}"},
    )


def test_a_new_password_ends_every_log_in(client: Client, employee: Employee) -> None:
    tokens = [worlds.token_of(employee) for _ in range(2)]
    assert put_password(client, tokens[0], worlds.PASSWORD, NEW_PASSWORD).status_code == 204
    assert login.list_valid_digests(digests=[login.digest_of(token) for token in tokens], now=clock.now()) == set()
    assert log_in(client, employee.enterprise.code, employee.code, worlds.PASSWORD).status_code == 401
    assert log_in(client, employee.enterprise.code, employee.code, NEW_PASSWORD).status_code == 200


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("wrong-horse", NEW_PASSWORD, (401, "not_authenticated")),
        (worlds.PASSWORD, "short", (400, "invalid_request")),
        (worlds.PASSWORD, "password123", (400, "invalid_request")),
        (worlds.PASSWORD, worlds.PASSWORD, (400, "invalid_request")),
    ],
)
def test_a_refused_password_changes_nothing(
    client: Client, employee: Employee, old: str, new: str, expected: tuple[int, str]
) -> None:
    token = worlds.token_of(employee)
    answer = put_password(client, token, old, new)
    assert (answer.status_code, answer.json()["error"]["code"]) == expected
    before = employee.password
    employee.refresh_from_db()
    assert employee.password == before
    assert login.authenticate_token(token=token, now=clock.now()) == employee


def test_the_old_password_cannot_be_guessed_with_a_stolen_log_in(client: Client, employee: Employee) -> None:
    token = worlds.token_of(employee)
    statuses = [put_password(client, token, f"guess-{number}", NEW_PASSWORD).status_code for number in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert put_password(client, token, worlds.PASSWORD, NEW_PASSWORD).status_code == 429

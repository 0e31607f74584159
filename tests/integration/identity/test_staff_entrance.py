"""Guesses of a staff password: counted before it is looked at, closed after too many, the same for unknown names."""

from __future__ import annotations

import pytest
import redis as redis_library
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from foundation import ids, redis

pytestmark = pytest.mark.django_db(databases="__all__")
LOGIN = reverse("admin:login")
PASSWORD = "a-long-password-of-staff"


@pytest.fixture
def name() -> str:
    user = User.objects.create_user(f"s{ids.new_id()[:16]}", password=PASSWORD, is_staff=True)
    return str(user.username)


@pytest.fixture(autouse=True)
def few_tries(settings: Settings) -> None:
    settings.LOGIN_TRIES_FROM_ADDRESS = 3
    settings.LOGIN_TRIES = 5
    settings.TRUSTED_PROXIES = 0


def log_in(name: str, password: str, *, address: str = "203.0.113.5") -> tuple[int, bool]:
    client = Client(REMOTE_ADDR=address, headers={"accept-language": "en"})
    answer = client.post(LOGIN, {"username": name, "password": password, "next": "/admin/"})
    if answer.status_code == 429:
        assert 0 < int(answer["Retry-After"]) <= 3600
        assert "Too many failed log-ins. Try again later." in answer.content.decode()
    return answer.status_code, "_auth_user_id" in client.session


def test_after_too_many_guesses_the_right_password_is_not_looked_at(name: str) -> None:
    assert [log_in(name, "wrong") for _ in range(3)] == [(200, False)] * 3
    assert log_in(name, PASSWORD) == (429, False)
    assert log_in(name.upper(), PASSWORD) == (429, False)
    assert log_in(name, PASSWORD, address="203.0.113.6") == (302, True)


def test_guesses_from_everywhere_count_together(name: str) -> None:
    assert [log_in(name, "wrong", address=f"203.0.113.{end}") for end in range(10, 15)] == [(200, False)] * 5
    assert log_in(name, PASSWORD, address="203.0.113.99") == (429, False)


def test_a_good_log_in_forgets_the_wrong_ones_of_its_address(name: str) -> None:
    for _ in range(2):
        assert log_in(name, "wrong") == (200, False)
        assert log_in(name, PASSWORD) == (302, True)
    assert log_in(name, PASSWORD) == (302, True)


def test_a_name_that_nobody_has_is_closed_like_any_other() -> None:
    nobody = f"n{ids.new_id()[:16]}"
    assert [log_in(nobody, "x")[0] for _ in range(4)] == [200, 200, 200, 429]


def test_one_name_does_not_close_another_from_the_same_address(name: str) -> None:
    nobody = f"n{ids.new_id()[:16]}"
    for _ in range(5):
        log_in(nobody, "x")
    assert log_in(name, PASSWORD) == (302, True)


def test_without_redis_staff_come_in(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = redis_library.Redis.from_url("redis://127.0.0.1:1/0")
    monkeypatch.setattr(redis, "client", lambda: broken)
    assert log_in(name, "wrong") == (200, False)
    assert log_in(name, PASSWORD) == (302, True)

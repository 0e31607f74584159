"""`GET wallet` and `GET wallet/entries`: one's own money only, newest first, and every odd question refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from foundation.api import cursors
from funds.domain import movements
from funds.domain.entries import AccountRef, employee_account
from identity.models import Employee
from tests import worlds
from tests.integration.funds.moves import fresh, frozen, post, recharged

pytestmark = pytest.mark.django_db(databases="__all__")

WALLET, ENTRIES = "/api/v1/wallet", "/api/v1/wallet/entries"


@pytest.fixture
def employees() -> list[Employee]:
    return worlds.make_world(2).employees


def account_of(employee: Employee) -> AccountRef:
    return employee_account(employee.pk, employee.enterprise_id)


def get(client: Client, employee: Employee, address: str, **query: Any) -> tuple[int, dict[str, Any]]:
    answer = client.get(address, query, headers={"Authorization": f"Bearer {worlds.token_of(employee)}"})
    return answer.status_code, answer.json()


def test_wallet_shows_both_buckets_of_the_caller_alone(client: Client, employees: list[Employee]) -> None:
    rich, poor = employees
    recharged(account_of(rich), 8888)
    frozen(account_of(rich), 1000, fresh("k"))
    assert get(client, rich, WALLET) == (200, {"available_fen": 7888, "frozen_fen": 1000, "currency": "CNY"})
    assert get(client, poor, WALLET) == (200, {"available_fen": 0, "frozen_fen": 0, "currency": "CNY"})


@pytest.mark.parametrize("address", [WALLET, ENTRIES])
def test_nobody_reads_without_a_log_in(client: Client, address: str) -> None:
    answer = client.get(address)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")


def test_entries_page_through_the_whole_statement(client: Client, employees: list[Employee]) -> None:
    owner, other = employees
    key = fresh("k")
    recharged(account_of(owner), 100)
    frozen(account_of(owner), 30, key)
    receivers = [movements.Receiver(account=account_of(other), amount_fen=30)]
    post(
        movements.settle_shares(
            reference=fresh(), order_no="", sender=account_of(owner), hold_key=key, receivers=receivers
        )
    )
    shown, cursor, pages = [], "", 0
    while True:
        status, page = get(client, owner, ENTRIES, limit=2, **({"cursor": cursor} if cursor else {}))
        assert status == 200
        shown += page["items"]
        pages += 1
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert pages == 2
    assert [(row["kind"], row["bucket"], row["amount_fen"], row["balance_after_fen"]) for row in shown] == [
        ("share_settlement", "FROZEN", -30, 0),
        ("freeze", "FROZEN", 30, 30),
        ("freeze", "AVAILABLE", -30, 70),
        ("recharge", "AVAILABLE", 100, 100),
    ]
    assert shown[0]["category"] == "CONSUMPTION"
    assert shown[3]["created_at"] == "2026-11-22T10:00:00+08:00"
    status, received = get(client, other, ENTRIES)
    assert (status, received["next_cursor"]) == (200, None)
    assert [(row["category"], row["amount_fen"]) for row in received["items"]] == [("INCOME", 30)]


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "nonsense"},
        {"cursor": cursors.encode(["1"])},
        {"cursor": cursors.encode([1, 2])},
        {"cursor": cursors.encode([True])},
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "1.5"},
        {"limit": "many"},
        {"page": "2"},
    ],
)
def test_an_odd_question_is_refused(client: Client, employees: list[Employee], query: dict[str, str]) -> None:
    status, body = get(client, employees[0], ENTRIES, **query)
    assert (status, body["error"]["code"]) == (400, "invalid_request")


def test_a_cursor_beyond_all_rows_is_an_end_not_an_error(client: Client, employees: list[Employee]) -> None:
    recharged(account_of(employees[0]), 5)
    for beyond in (0, -1, -(2**70)):
        found = get(client, employees[0], ENTRIES, cursor=cursors.encode([beyond]))
        assert found == (200, {"items": [], "next_cursor": None})
    status, page = get(client, employees[0], ENTRIES, cursor=cursors.encode([2**70]))
    assert (status, len(page["items"])) == (200, 1)

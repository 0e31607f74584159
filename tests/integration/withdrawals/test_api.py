"""The HTTP contract of withdrawals and bank cards (design api.md), through the URL map."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.test import Client
from pytest_django import Settings

from foundation import crypto, ids
from identity.models import MESSAGE_COLUMN, PHONE_COLUMN, Employee, ShortMessage
from simulator import credentials, server
from tests import worlds
from tests.integration.withdrawals import people
from withdrawals.models import BankCard, Withdrawal

pytestmark = pytest.mark.django_db(databases="__all__")
CARD = "6222020200112233445"


@dataclasses.dataclass(frozen=True)
class Caller:
    employee: Employee
    token: str

    def call(self, method: str, path: str, body: Any = None, *, key: str = "") -> Any:
        headers = {"Authorization": f"Bearer {self.token}", **({"Idempotency-Key": key} if key else {})}
        if body is None:
            return getattr(Client(), method)(f"/api/v1/{path}", headers=headers)
        return getattr(Client(), method)(f"/api/v1/{path}", body, content_type="application/json", headers=headers)

    def apply(self, body: dict[str, Any], *, key: str = "") -> Any:
        return self.call("post", "withdrawals", body, key=key or ids.new_id())


@pytest.fixture
def caller() -> Caller:
    employee = people.rich()
    return Caller(employee=employee, token=worlds.token_of(employee))


@pytest.fixture
def stranger() -> Caller:
    employee = people.rich()
    return Caller(employee=employee, token=worlds.token_of(employee))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[server.Handle, Path]]:
    directory = credentials.initialise(directory=tmp_path_factory.mktemp("simulator")).parent
    handle = server.start(directory=directory, port=0)
    yield handle, directory
    handle.stop()


@pytest.fixture
def bank(running: tuple[server.Handle, Path], settings: Settings) -> Iterator[str]:
    handle, directory = running
    settings.KUAIQIAN = {
        **settings.KUAIQIAN,
        "base_url": handle.url,
        "card_base_url": handle.url,
        "credentials_file": str(directory / "kuaiqian.json"),
    }
    yield handle.url
    requests.delete(f"{handle.url}/_sim/faults", timeout=5)


def error_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_applying_answers_withdrawal_and_order(caller: Caller) -> None:
    card = BankCard.objects.get(employee_id=caller.employee.pk)
    body = {"amount_fen": 10_000, "channel": "kuaiqian", "bank_card_id": card.pk}
    response = caller.apply(body, key="w-1")
    assert response.status_code == 201, response.content
    withdrawal, order = response.json()["withdrawal"], response.json()["order"]
    assert {name: withdrawal[name] for name in ("state", "amount_fen", "fee_fen", "channel", "bank_card_id")} == {
        "state": "APPLIED",
        "amount_fen": 10_000,
        "fee_fen": 0,
        "channel": "kuaiqian",
        "bank_card_id": card.pk,
    }
    assert (withdrawal["id"], order["kind"], order["state"]) == (order["order_no"], "WITHDRAWAL", "PENDING")
    assert withdrawal["payee"] == f"工商银行 {card.card_masked}"
    again = caller.apply(body, key="w-1")
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (response.json(), "true")
    assert Withdrawal.objects.filter(employee_id=caller.employee.pk).count() == 1
    assert caller.call("get", "wallet").json()["frozen_fen"] == 10_000


def test_a_withdrawal_is_its_owners_only(caller: Caller, stranger: Caller) -> None:
    made = caller.apply({"amount_fen": 100, "channel": "wechat"}).json()["withdrawal"]
    assert caller.call("get", f"withdrawals/{made['id']}").json()["withdrawal"] == made
    card = BankCard.objects.get(employee_id=caller.employee.pk)
    for response in (
        stranger.call("get", f"withdrawals/{made['id']}"),
        stranger.call("post", f"withdrawals/{made['id']}/cancel"),
        stranger.call("delete", f"bank-cards/{card.pk}"),
        stranger.apply({"amount_fen": 100, "channel": "kuaiqian", "bank_card_id": card.pk}),
        caller.call("get", "withdrawals/没有"),
    ):
        assert error_of(response) == (404, "not_found")
    cancelled = caller.call("post", f"withdrawals/{made['id']}/cancel").json()["withdrawal"]
    assert cancelled["state"] == "CANCELLED"
    assert caller.call("get", "wallet").json() == {"available_fen": 1_000_000, "frozen_fen": 0, "currency": "CNY"}


def test_lists_go_page_by_page(caller: Caller, stranger: Caller) -> None:
    made = [caller.apply({"amount_fen": 100 + n, "channel": "wechat"}).json()["withdrawal"]["id"] for n in range(3)]
    stranger.apply({"amount_fen": 100, "channel": "wechat"})
    first = caller.call("get", "withdrawals?limit=2").json()
    second = caller.call("get", f"withdrawals?limit=2&cursor={first['next_cursor']}").json()
    assert [row["id"] for row in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None
    assert error_of(caller.call("get", "withdrawals?cursor=x")) == (400, "invalid_request")


def test_the_fourth_of_a_day_is_refused_by_risk_with_reason_and_time(caller: Caller) -> None:
    for _ in range(3):
        assert caller.apply({"amount_fen": 100, "channel": "wechat"}).status_code == 201
    response = caller.apply({"amount_fen": 100, "channel": "wechat"})
    assert error_of(response) == (422, "risk_rejected")
    details = response.json()["error"]["details"]
    assert details["rule"]
    assert details["until"].endswith("T00:00:00+08:00")
    assert caller.call("get", "wallet").json()["frozen_fen"] == 300


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"amount_fen": 1.5, "channel": "wechat"}, (400, "invalid_request")),
        ({"amount_fen": 0, "channel": "wechat"}, (400, "invalid_request")),
        ({"amount_fen": 100, "channel": "alipay"}, (400, "invalid_request")),
        ({"amount_fen": 100, "channel": "wechat", "more": 1}, (400, "invalid_request")),
        ({"amount_fen": 99, "channel": "wechat"}, (422, "amount_not_allowed")),
        ({"amount_fen": 5_000_001, "channel": "wechat"}, (422, "amount_not_allowed")),
        ({"amount_fen": 100, "channel": "kuaiqian"}, (422, "payee_missing")),
        ({"amount_fen": 100, "channel": "kuaiqian", "bank_card_id": "x"}, (404, "not_found")),
    ],
)
def test_bad_applications_are_refused_and_move_nothing(
    caller: Caller, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert error_of(caller.apply(body)) == expected
    assert error_of(caller.call("post", "withdrawals", body)) in (expected, (400, "idempotency_key_required"))
    assert caller.call("get", "wallet").json()["frozen_fen"] == 0
    assert not Withdrawal.objects.filter(employee_id=caller.employee.pk).exists()


def code_for(caller: Caller, purpose: str) -> str:
    Employee.objects.filter(pk=caller.employee.pk).update(phone=crypto.encrypt("13812345678", column=PHONE_COLUMN))
    assert caller.call("post", "auth/phone-codes", {"purpose": purpose}).status_code == 202
    found = re.search(r"\d{6}", crypto.decrypt(ShortMessage.objects.latest("id").text, column=MESSAGE_COLUMN))
    assert found is not None
    return found[0]


def test_a_card_is_bound_with_the_banks_word_and_shown_masked(caller: Caller, bank: str) -> None:
    body = {"holder": "李雷", "card_no": CARD, "bank_code": "CMB", "phone": "13812345678", "phone_code": "000000"}
    assert error_of(caller.call("post", "bank-cards", body)) == (422, "phone_code_invalid")
    body["phone_code"] = code_for(caller, "bank_card")
    response = caller.call("post", "bank-cards", body)
    assert response.status_code == 201, response.content
    card = response.json()["bank_card"]
    assert (card["holder"], card["card_no"], card["phone"]) == ("*雷", "622202 **** 3445", "138****5678")
    assert CARD not in response.content.decode()
    assert caller.call("get", "bank-cards").json()["items"][-1] == card
    stored = BankCard.objects.get(pk=card["id"])
    assert all(CARD not in str(value) and "李雷" not in str(value) for value in vars(stored).values())
    assert caller.call("delete", f"bank-cards/{card['id']}").status_code == 204
    assert caller.call("delete", f"bank-cards/{card['id']}").status_code == 204
    assert card not in caller.call("get", "bank-cards").json()["items"]
    gone = caller.apply({"amount_fen": 100, "channel": "kuaiqian", "bank_card_id": card["id"]})
    assert error_of(gone) == (404, "not_found")


def test_particulars_that_are_none_are_named(caller: Caller) -> None:
    body = {"holder": "x", "card_no": "12ab", "bank_code": "XXX", "phone": "12345", "phone_code": "1"}
    response = caller.call("post", "bank-cards", body)
    assert error_of(response) == (400, "invalid_request")
    assert set(response.json()["error"]["details"]) == {"holder", "card_no", "bank_code", "phone"}


def test_wechat_is_bound_by_a_code(caller: Caller) -> None:
    body = {"openid": "oNewOpenId000000000000000000", "holder": "李雷", "phone_code": "000000"}
    assert error_of(caller.call("put", "wechat-account", body)) == (422, "phone_code_invalid")
    body["phone_code"] = code_for(caller, "wechat_account")
    assert caller.call("put", "wechat-account", body).status_code == 200

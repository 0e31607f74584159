"""Recharge over HTTP: scan, signed and encrypted notice, wallet; and everything that must change nothing."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from pytest_django import Settings

from foundation.models import Alert
from funds import selectors as funds
from identity.models import Employee
from orders import selectors as orders
from orders.domain.states import AttemptState, OrderState
from orders.services import numbers, opening
from payments.services import purchase
from tests import worlds
from tests.books import assert_books_balance
from tests.system import System

pytestmark = pytest.mark.usefixtures("committed_db")


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def employee() -> Employee:
    return worlds.make_world(1).employees[0]


@pytest.fixture
def token(employee: Employee) -> str:
    return worlds.token_of(employee)


def open_recharge(system: System, token: str, amount_fen: int = 10_000) -> dict:
    body = {"amount_fen": amount_fen, "channel": "wechat", "scene": "native"}
    answer = system.api(token, "POST", "recharges", body, key=uuid.uuid4().hex)
    assert answer.status_code == 201, answer.text
    return answer.json()


def attempt_of(bought: dict) -> str:
    return bought["order"]["attempts"][0]["attempt_no"]


def pay(system: System, bought: dict) -> None:
    answer = system.simulate("POST", "pay", {"payment": bought["payment"]})
    assert answer.status_code == 200, answer.text


def paid_recharge(system: System, token: str, employee: Employee) -> dict:
    before = worlds.wallet_of(employee)[0]
    bought = open_recharge(system, token)
    pay(system, bought)
    wait_for(lambda: worlds.wallet_of(employee)[0] == before + 10_000, "the wallet shows the recharge")
    return bought


def test_scan_pays_and_the_wallet_shows_the_money(system: System, token: str, employee: Employee) -> None:
    bought = open_recharge(system, token)
    assert bought["order"]["state"] == "PENDING"
    assert bought["payment"]["kind"] == "code_url"
    assert bought["payment"]["code_url"].startswith("weixin://wxpay/bizpayurl")
    pay(system, bought)
    wait_for(lambda: worlds.wallet_of(employee) == (10_000, 0), "the wallet shows 10 000 fen")
    shown = system.api(token, "GET", "wallet").json()
    assert shown == {"available_fen": 10_000, "frozen_fen": 0, "currency": "CNY"}
    order = system.api(token, "GET", f"orders/{bought['order']['order_no']}").json()["order"]
    assert order["state"] == "SUCCESS"
    assert order["paid_at"] is not None
    entries = system.api(token, "GET", "wallet/entries").json()
    assert [(row["kind"], row["amount_fen"], row["balance_after_fen"]) for row in entries["items"]] == [
        ("recharge", 10_000, 10_000)
    ]
    assert_books_balance()


def test_the_same_notice_ten_times_at_once_credits_once(system: System, token: str, employee: Employee) -> None:
    bought = paid_recharge(system, token, employee)
    with ThreadPoolExecutor(10) as pool:
        answers = list(
            pool.map(lambda _: system.simulate("POST", "notices/resend", {"attempt_no": attempt_of(bought)}), range(10))
        )
    statuses = {delivery["status"] for answer in answers for delivery in answer.json()["deliveries"]}
    assert statuses <= {200, 204}
    assert worlds.wallet_of(employee) == (10_000, 0)
    assert len(funds.list_journals(order_no=bought["order"]["order_no"])) == 1


@pytest.mark.parametrize("tamper", ["signature", "stale", "truncate"])
def test_a_bad_notice_changes_nothing_and_gets_a_4xx(
    system: System, token: str, employee: Employee, tamper: str
) -> None:
    system.simulate(
        "PUT", "faults", {"rules": [{"fault": "notice_never", "rate": 1.0, "channel": "wechat"}], "seed": 1}
    )
    try:
        bought = open_recharge(system, token)
        pay(system, bought)
        answer = system.simulate("POST", "notices/resend", {"attempt_no": attempt_of(bought), "tamper": tamper})
    finally:
        system.simulate("DELETE", "faults")
    assert [400 <= row["status"] < 500 for row in answer.json()["deliveries"]] == [True], answer.text
    assert worlds.wallet_of(employee) == (0, 0)
    assert orders.get_order(order_no=bought["order"]["order_no"]).state is OrderState.PENDING
    good = system.simulate("POST", "notices/resend", {"attempt_no": attempt_of(bought)})
    assert good.json()["deliveries"][0]["status"] in (200, 204)
    assert worlds.wallet_of(employee) == (10_000, 0)


def test_a_wrong_amount_is_refused_and_raises_an_alert(system: System, token: str, employee: Employee) -> None:
    system.simulate(
        "PUT", "faults", {"rules": [{"fault": "notice_never", "rate": 1.0, "channel": "wechat"}], "seed": 1}
    )
    try:
        bought = open_recharge(system, token)
        pay(system, bought)
        answer = system.simulate("POST", "notices/resend", {"attempt_no": attempt_of(bought), "tamper": "amount"})
    finally:
        system.simulate("DELETE", "faults")
    assert 400 <= answer.json()["deliveries"][0]["status"] < 500
    assert worlds.wallet_of(employee) == (0, 0)
    assert Alert.objects.filter(code="amount_mismatch", subject=attempt_of(bought)).count() == 1
    system.simulate("POST", "notices/resend", {"attempt_no": attempt_of(bought)})
    assert worlds.wallet_of(employee) == (10_000, 0)


def test_looking_at_a_pending_order_finds_a_payment_whose_notice_never_came(
    system: System, token: str, employee: Employee
) -> None:
    system.simulate(
        "PUT", "faults", {"rules": [{"fault": "notice_never", "rate": 1.0, "channel": "wechat"}], "seed": 1}
    )
    try:
        bought = open_recharge(system, token)
        pay(system, bought)
        order = system.api(token, "GET", f"orders/{bought['order']['order_no']}").json()["order"]
    finally:
        system.simulate("DELETE", "faults")
    assert order["state"] == "SUCCESS"
    assert worlds.wallet_of(employee) == (10_000, 0)


def test_closing_closes_at_the_provider_first(system: System, token: str, employee: Employee) -> None:
    bought = open_recharge(system, token)
    closed = system.api(token, "POST", f"orders/{bought['order']['order_no']}/close")
    assert closed.status_code == 200, closed.text
    assert closed.json()["order"]["state"] == "CLOSED"
    refused = system.simulate("POST", "pay", {"payment": bought["payment"]})
    assert refused.status_code == 409
    assert worlds.wallet_of(employee) == (0, 0)


def test_closing_a_paid_order_is_refused_and_books_the_payment(system: System, token: str, employee: Employee) -> None:
    system.simulate(
        "PUT", "faults", {"rules": [{"fault": "notice_never", "rate": 1.0, "channel": "wechat"}], "seed": 1}
    )
    try:
        bought = open_recharge(system, token)
        pay(system, bought)
        refused = system.api(token, "POST", f"orders/{bought['order']['order_no']}/close")
    finally:
        system.simulate("DELETE", "faults")
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "order_already_paid"
    assert worlds.wallet_of(employee) == (10_000, 0)


def test_two_attempts_paid_keeps_one_and_returns_the_other(
    system: System, token: str, employee: Employee, settings: Settings
) -> None:
    """The fifth scene of the second requirements text: an impatient person pays twice."""
    bought = open_recharge(system, token)
    order_no = bought["order"]["order_no"]
    order = orders.get_order(order_no=order_no)
    second_no = numbers.issue_attempt(order_no=order_no)
    second = opening.open_attempt(
        order_no=order_no, attempt_no=second_no, channel="wechat", scene="native", amount_fen=10_000, now=worlds.NOW
    )
    settings.PUBLIC_BASE_URL = system.base_url
    settings.WECHAT = {
        **settings.WECHAT,
        "base_url": system.simulator_url,
        "credentials_file": system.env["WECHAT_CREDENTIALS_FILE"],
    }
    payment = purchase.prepay(order=order, attempt=second, now=order.created_at)
    pay(system, bought)
    wait_for(lambda: worlds.wallet_of(employee) == (10_000, 0), "the first payment is booked")
    system.simulate("POST", "pay", {"payment": dict(payment)})

    def refunded() -> int:
        rows = system.simulate("GET", "books").json()["refunds"]
        return sum(row["amount_fen"] for row in rows if row["attempt_no"] == second_no and row["state"] == "SUCCESS")

    wait_for(lambda: refunded() == 10_000, "the provider gave the second payment back")
    kinds = ["recharge", "receipt_to_return", "refund_start", "refund_done"]
    wait_for(
        lambda: [journal.kind for journal in funds.list_journals(order_no=order_no)] == kinds,
        "the second payment came in, was sent back and arrived",
    )
    assert worlds.wallet_of(employee) == (10_000, 0)
    present = orders.get_order(order_no=order_no)
    assert present.state is OrderState.SUCCESS
    assert {row.state for row in present.attempts} == {AttemptState.SUCCESS}
    assert [row.attempt_no for row in present.attempts if row.is_effective] == [attempt_of(bought)]
    assert_books_balance()


def test_idempotency_key_answers_the_first_order_again(system: System, token: str) -> None:
    body = {"amount_fen": 700, "channel": "wechat", "scene": "native"}
    key = uuid.uuid4().hex
    first = system.api(token, "POST", "recharges", body, key=key)
    again = system.api(token, "POST", "recharges", body, key=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()
    other = system.api(token, "POST", "recharges", {**body, "amount_fen": 701}, key=key)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    missing = system.api(token, "POST", "recharges", body)
    assert (missing.status_code, missing.json()["error"]["code"]) == (400, "idempotency_key_required")


@pytest.mark.parametrize("amount", [1.5, "10", True, 0, -1, None, 10**30])
def test_an_amount_that_is_no_positive_integer_is_refused(system: System, token: str, amount: object) -> None:
    body = {"amount_fen": amount, "channel": "wechat", "scene": "native"}
    answer = system.api(token, "POST", "recharges", body, key=uuid.uuid4().hex)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "invalid_request"
    assert "amount_fen" in answer.json()["error"]["details"]


def test_somebody_elses_order_looks_like_none(system: System, token: str) -> None:
    bought = open_recharge(system, token)
    stranger = worlds.token_of(worlds.make_world(1).employees[0])
    answer = system.api(stranger, "GET", f"orders/{bought['order']['order_no']}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert system.api(stranger, "POST", f"orders/{bought['order']['order_no']}/close").status_code == 404


@pytest.mark.parametrize(
    "cursor", ["x", "W10", "WzEsMl0", "WyI5OTk5LTEyLTMxVDIzOjU5OjU5LTIzOjU5IiwgIlgiXQ", "=", "订单"]
)
def test_an_invented_cursor_is_refused(system: System, token: str, cursor: str) -> None:
    answer = system.api(token, "GET", f"orders?cursor={cursor}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


def test_a_charset_that_is_none_for_text_does_no_harm(system: System, token: str) -> None:
    answer = requests.get(
        f"{system.base_url}/api/v1/orders?kind=%C3%A9",
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json; charset=hex"},
        timeout=10,
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


def test_numbered_pages_over_http(system: System, token: str) -> None:
    made = [open_recharge(system, token, amount)["order"]["order_no"] for amount in (101, 102, 103)]
    first = system.api(token, "GET", "orders/pages?page=1&page_size=2").json()
    assert ([row["order_no"] for row in first["items"]], first["page"], first["total"]) == (made[:0:-1], 1, 3)
    second = requests.get(
        f"{system.base_url}/api/v1/orders/pages",
        params={"page": 2, "page_size": 2, "as_of": first["as_of"]},
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    ).json()
    assert [row["order_no"] for row in second["items"]] == made[:1]
    deep = system.api(token, "GET", "orders/pages?page=999999&page_size=100")
    assert (deep.status_code, deep.json()["error"]["code"]) == (422, "page_too_deep")


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=x",
        "page_size=101",
        "as_of=0001-01-01T00:00:00%2B08:00",
        "as_of=9999-12-31T23:59:59-23:59",
        "x=1",
    ],
)
def test_bad_page_queries_are_refused(system: System, token: str, query: str) -> None:
    answer = system.api(token, "GET", f"orders/pages?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")

"""Recharge through 99bill over HTTP: the payer's browser, the signed GET, the wallet; and what must change nothing."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from django.db import connections

from foundation.models import Alert
from funds import selectors as funds
from gateway.models import Notice
from identity.models import Employee
from orders import selectors as orders
from orders.domain.states import OrderState
from tests import worlds
from tests.books import assert_books_balance
from tests.system import System

pytestmark = pytest.mark.usefixtures("committed_db")
NEVER = {"rules": [{"fault": "notice_never", "rate": 1.0, "channel": "kuaiqian"}], "seed": 1}


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


def open_recharge(system: System, token: str, scene: str = "page") -> dict:
    body = {"amount_fen": 10_000, "channel": "kuaiqian", "scene": scene}
    answer = system.api(token, "POST", "recharges", body, key=uuid.uuid4().hex)
    assert answer.status_code == 201, answer.text
    return answer.json()


def attempt_of(bought: dict) -> str:
    return bought["order"]["attempts"][0]["attempt_no"]


def resend(system: System, bought: dict, **more: object) -> dict:
    answer = system.simulate("POST", "notices/resend", {"attempt_no": attempt_of(bought), **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["deliveries"][0]


def paid_silently(system: System, token: str) -> dict:
    """Paid, and 99bill sends no notice by itself."""
    system.simulate("PUT", "faults", NEVER)
    try:
        bought = open_recharge(system, token)
        assert system.simulate("POST", "pay", {"payment": bought["payment"]}).status_code == 200
    finally:
        system.simulate("DELETE", "faults")
    return bought


def test_the_browser_pays_and_the_wallet_shows_the_money(system: System, token: str, employee: Employee) -> None:
    bought = open_recharge(system, token)
    payment = bought["payment"]
    assert (payment["kind"], payment["method"]) == ("form", "POST")
    page = requests.post(payment["action"], data=payment["fields"], timeout=10)
    assert (page.status_code, "¥100.00" in page.text, "工商银行" in page.text) == (200, True, True)
    paid = requests.post(
        page.url,
        data={"code_url": page.url.partition("code_url=")[2].replace("%3A", ":"), "bank": "CMB", "action": "pay"},
        timeout=10,
    )
    assert "支付成功" in paid.text
    wait_for(lambda: worlds.wallet_of(employee) == (10_000, 0), "the wallet shows 10 000 fen")
    order = system.api(token, "GET", f"orders/{bought['order']['order_no']}").json()["order"]
    assert (order["state"], order["attempts"][0]["channel"]) == ("SUCCESS", "kuaiqian")
    stored = Notice.objects.get(channel="kuaiqian", number=attempt_of(bought))
    assert (stored.method, stored.path, b"bankId=CMB" in bytes(stored.body)) == ("GET", "/notify/kuaiqian", True)
    wait_for(lambda: Notice.objects.get(pk=stored.pk).state == "PROCESSED", "the notice is processed")
    assert_books_balance()


def test_a_phone_is_redirected_to_the_mobile_gateway(system: System, token: str, employee: Employee) -> None:
    bought = open_recharge(system, token, scene="h5")
    assert bought["payment"]["kind"] == "redirect"
    assert system.simulate("POST", "pay", {"payment": bought["payment"]}).status_code == 200
    wait_for(lambda: worlds.wallet_of(employee) == (10_000, 0), "the wallet shows 10 000 fen")


def test_a_scene_99bill_has_not_is_refused(system: System, token: str) -> None:
    body = {"amount_fen": 10_000, "channel": "kuaiqian", "scene": "native"}
    answer = system.api(token, "POST", "recharges", body, key=uuid.uuid4().hex)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "channel_refused")


def test_the_same_notice_ten_times_at_once_credits_once(system: System, token: str, employee: Employee) -> None:
    bought = paid_silently(system, token)
    with ThreadPoolExecutor(10) as pool:
        deliveries = list(pool.map(lambda _: resend(system, bought), range(10)))
    assert {row["status"] for row in deliveries} == {200}
    assert {row["body"] for row in deliveries} == {f"<result>1</result><redirecturl>{system.base_url}/</redirecturl>"}
    assert worlds.wallet_of(employee) == (10_000, 0)
    assert len(funds.list_journals(order_no=bought["order"]["order_no"])) == 1
    assert_books_balance()


@pytest.mark.parametrize("tamper", ["signature", "stale", "truncate"])
def test_a_bad_notice_changes_nothing_and_gets_a_4xx(
    system: System, token: str, employee: Employee, tamper: str
) -> None:
    bought = paid_silently(system, token)
    refused = resend(system, bought, tamper=tamper)
    assert (refused["status"], refused["body"]) == (401, "<result>0</result><redirecturl></redirecturl>")
    assert worlds.wallet_of(employee) == (0, 0)
    assert orders.get_order(order_no=bought["order"]["order_no"]).state is OrderState.PENDING
    assert resend(system, bought)["status"] == 200
    assert worlds.wallet_of(employee) == (10_000, 0)


def test_a_wrong_amount_is_refused_and_raises_an_alert(system: System, token: str, employee: Employee) -> None:
    bought = paid_silently(system, token)
    assert 400 <= resend(system, bought, tamper="amount")["status"] < 500
    assert worlds.wallet_of(employee) == (0, 0)
    assert Alert.objects.filter(code="amount_mismatch", subject=attempt_of(bought)).count() == 1
    assert resend(system, bought)["status"] == 200
    assert worlds.wallet_of(employee) == (10_000, 0)


def test_looking_at_a_pending_order_finds_a_payment_whose_notice_never_came(
    system: System, token: str, employee: Employee
) -> None:
    bought = paid_silently(system, token)
    order = system.api(token, "GET", f"orders/{bought['order']['order_no']}").json()["order"]
    assert order["state"] == "SUCCESS"
    assert worlds.wallet_of(employee) == (10_000, 0)


def test_closing_a_paid_order_books_it(system: System, token: str, employee: Employee) -> None:
    bought = paid_silently(system, token)
    answer = system.api(token, "POST", f"orders/{bought['order']['order_no']}/close")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "order_already_paid")
    assert worlds.wallet_of(employee) == (10_000, 0)


@pytest.mark.parametrize("has_arrived", [False, True])
def test_an_unpaid_order_stays_open_until_its_time_is_over(
    system: System, token: str, settings: object, has_arrived: bool
) -> None:
    """99bill cannot close: before the order's time is over the answer is "busy", afterwards the query is the proof."""
    from payments.services import closing

    bought = open_recharge(system, token)
    order_no = bought["order"]["order_no"]
    if has_arrived:
        assert requests.post(bought["payment"]["action"], data=bought["payment"]["fields"], timeout=10).ok
    answer = system.api(token, "POST", f"orders/{order_no}/close")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
    assert orders.get_order(order_no=order_no).state is OrderState.PENDING
    order = orders.get_order(order_no=order_no)
    assert order.expires_at is not None
    settings.KUAIQIAN = {  # type: ignore[attr-defined]
        **settings.KUAIQIAN,  # type: ignore[attr-defined]
        "base_url": system.simulator_url,
        "credentials_file": system.env["KUAIQIAN_CREDENTIALS_FILE"],
    }
    closed = closing.close_order(order_no=order_no, now=order.expires_at + dt.timedelta(seconds=1))
    assert closed.state is OrderState.CLOSED
    connections.close_all()

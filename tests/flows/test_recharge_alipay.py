"""Recharge by Alipay over HTTP: scan or open a page, signed form, wallet; and what must change nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import requests
from pytest_django import Settings

from foundation.models import Alert
from funds import selectors as funds
from gateway.models import Notice
from identity.models import Employee
from orders import selectors as orders
from orders.domain.states import AttemptState, OrderState
from orders.services import numbers, opening
from payments.services import purchase
from tests import worlds
from tests.books import assert_books_balance
from tests.flows.test_recharge import attempt_of, pay, wait_for
from tests.system import System

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def employee() -> Employee:
    return worlds.make_world(1).employees[0]


@pytest.fixture
def token(employee: Employee) -> str:
    return worlds.token_of(employee)


@pytest.fixture
def silent(system: System) -> Iterator[None]:
    """Alipay sends no notice by itself."""
    rule = {"fault": "notice_never", "rate": 1.0, "channel": "alipay"}
    assert system.simulate("PUT", "faults", {"rules": [rule], "seed": 1}).status_code == 200
    yield
    system.simulate("DELETE", "faults")


def open_recharge(system: System, token: str, scene: str = "native") -> dict:
    body = {"amount_fen": 10_000, "channel": "alipay", "scene": scene}
    answer = system.api(token, "POST", "recharges", body, key=uuid.uuid4().hex)
    assert answer.status_code == 201, answer.text
    return answer.json()


def resend(system: System, attempt_no: str, **more: object) -> list[dict]:
    answer = system.simulate("POST", "notices/resend", {"attempt_no": attempt_no, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["deliveries"]


def test_scan_pays_and_the_wallet_shows_the_money(system: System, token: str, employee: Employee) -> None:
    bought = open_recharge(system, token)
    assert bought["order"]["state"] == "PENDING"
    assert bought["payment"]["kind"] == "code_url"
    assert bought["payment"]["code_url"].startswith("https://qr.alipay.com/")
    pay(system, bought)
    wait_for(lambda: worlds.wallet_of(employee) == (10_000, 0), "the wallet shows 10 000 fen")
    order = system.api(token, "GET", f"orders/{bought['order']['order_no']}").json()["order"]
    assert (order["state"], order["attempts"][0]["channel"]) == ("SUCCESS", "alipay")
    assert order["paid_at"] is not None
    (journal,) = funds.list_journals(order_no=bought["order"]["order_no"])
    assert journal.kind == "recharge"
    assert_books_balance()


@pytest.mark.parametrize(("scene", "kind"), [("page", "form"), ("h5", "redirect")])
def test_a_page_is_opened_in_the_browser_and_paid(
    system: System, token: str, employee: Employee, scene: str, kind: str
) -> None:
    bought = open_recharge(system, token, scene)
    payment = bought["payment"]
    assert payment["kind"] == kind
    if kind == "form":
        page = requests.post(payment["action"], data=payment["fields"], timeout=10)
    else:
        page = requests.get(payment["url"], timeout=10)
    assert "¥100.00" in page.text
    code = page.url.partition("code_url=")[2]
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    requests.post(f"{system.simulator_url}/pay", data=f"code_url={code}&action=pay", headers=headers, timeout=10)
    wait_for(lambda: worlds.wallet_of(employee) == (10_000, 0), "the wallet shows 10 000 fen")
    assert_books_balance()


def test_ten_more_notices_credit_once_and_hear_success(system: System, token: str, employee: Employee) -> None:
    bought = open_recharge(system, token)
    pay(system, bought)
    wait_for(lambda: worlds.wallet_of(employee) == (10_000, 0), "the wallet shows 10 000 fen")
    said = resend(system, attempt_of(bought), times=10)
    assert said == [{"status": 200, "body": "success"}] * 10
    assert worlds.wallet_of(employee) == (10_000, 0)
    assert len(funds.list_journals(order_no=bought["order"]["order_no"])) == 1


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("tamper", ["signature", "stale", "truncate"])
def test_a_bad_notice_changes_nothing_and_gets_a_4xx(
    system: System, token: str, employee: Employee, tamper: str
) -> None:
    bought = open_recharge(system, token)
    pay(system, bought)
    assert resend(system, attempt_of(bought), tamper=tamper) == [{"status": 401, "body": "fail"}]
    assert worlds.wallet_of(employee) == (0, 0)
    assert orders.get_order(order_no=bought["order"]["order_no"]).state is OrderState.PENDING
    assert resend(system, attempt_of(bought)) == [{"status": 200, "body": "success"}]
    assert worlds.wallet_of(employee) == (10_000, 0)


@pytest.mark.usefixtures("silent")
def test_a_wrong_amount_is_refused_and_raises_an_alert(system: System, token: str, employee: Employee) -> None:
    bought = open_recharge(system, token)
    pay(system, bought)
    assert resend(system, attempt_of(bought), tamper="amount") == [{"status": 422, "body": "fail"}]
    assert worlds.wallet_of(employee) == (0, 0)
    assert Alert.objects.filter(code="amount_mismatch", subject=attempt_of(bought)).count() == 1
    assert resend(system, attempt_of(bought)) == [{"status": 200, "body": "success"}]
    assert worlds.wallet_of(employee) == (10_000, 0)


@pytest.mark.usefixtures("silent")
def test_looking_at_a_pending_order_finds_a_payment_whose_notice_never_came(
    system: System, token: str, employee: Employee
) -> None:
    bought = open_recharge(system, token)
    pay(system, bought)
    order = system.api(token, "GET", f"orders/{bought['order']['order_no']}").json()["order"]
    assert order["state"] == "SUCCESS"
    assert worlds.wallet_of(employee) == (10_000, 0)


def test_a_scanned_code_is_closed_at_the_provider_first(system: System, token: str, employee: Employee) -> None:
    bought = open_recharge(system, token)
    order_no = bought["order"]["order_no"]
    early = system.api(token, "POST", f"orders/{order_no}/close")
    assert (early.status_code, early.json()["error"]["code"]) == (503, "busy"), "Alipay does not know it yet"
    requests.get(f"{system.simulator_url}/pay", params={"code_url": bought["payment"]["code_url"]}, timeout=10)
    closed = system.api(token, "POST", f"orders/{order_no}/close")
    assert (closed.status_code, closed.json()["order"]["state"]) == (200, "CLOSED")
    assert system.simulate("POST", "pay", {"payment": bought["payment"]}).status_code == 409
    assert worlds.wallet_of(employee) == (0, 0)


@pytest.mark.parametrize(
    "body", [b"", b"trade_status=TRADE_SUCCESS", b"sign=AAAA&sign_type=RSA2&total_amount=100.00", b"\xff\x00"]
)
def test_a_forged_notice_is_kept_and_refused(system: System, body: bytes) -> None:
    marked = body + uuid.uuid4().hex.encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = requests.post(f"{system.base_url}/notify/alipay", data=marked, headers=headers, timeout=10)
    assert (answer.status_code, answer.text) == (401, "fail")
    assert Notice.objects.get(body=marked).state == Notice.State.REFUSED
    assert requests.get(f"{system.base_url}/notify/alipay", timeout=10).status_code == 405


def test_a_second_payment_goes_back_and_its_refund_notice_credits_nothing(
    system: System, token: str, employee: Employee, settings: Settings
) -> None:
    bought = open_recharge(system, token)
    order_no = bought["order"]["order_no"]
    order = orders.get_order(order_no=order_no)
    second_no = numbers.issue_attempt(order_no=order_no)
    second = opening.open_attempt(
        order_no=order_no, attempt_no=second_no, channel="alipay", scene="native", amount_fen=10_000, now=worlds.NOW
    )
    settings.PUBLIC_BASE_URL = system.base_url
    settings.ALIPAY = {
        **settings.ALIPAY,
        "gateway_url": system.env["ALIPAY_GATEWAY_URL"],
        "credentials_file": system.env["ALIPAY_CREDENTIALS_FILE"],
    }
    payment = purchase.prepay(order=order, attempt=second, now=order.created_at)
    pay(system, bought)
    wait_for(lambda: worlds.wallet_of(employee) == (10_000, 0), "the first payment is booked")
    system.simulate("POST", "pay", {"payment": dict(payment)})
    kinds = ["recharge", "receipt_to_return", "refund_start", "refund_done"]
    wait_for(
        lambda: [journal.kind for journal in funds.list_journals(order_no=order_no)] == kinds,
        "the second payment came in, was sent back and arrived",
    )
    (refund,) = (row for row in system.simulate("GET", "books").json()["refunds"] if row["attempt_no"] == second_no)
    assert (refund["amount_fen"], refund["state"]) == (10_000, "SUCCESS")
    said = resend(system, second_no, refund_no=refund["refund_no"], times=3)
    assert said == [{"status": 200, "body": "success"}] * 3
    assert worlds.wallet_of(employee) == (10_000, 0)
    assert [journal.kind for journal in funds.list_journals(order_no=order_no)] == kinds
    present = orders.get_order(order_no=order_no)
    assert present.state is OrderState.SUCCESS
    assert {row.state for row in present.attempts} == {AttemptState.SUCCESS}
    assert [row.attempt_no for row in present.attempts if row.is_effective] == [attempt_of(bought)]
    assert_books_balance()


def test_a_partial_refund_made_at_alipay_sends_success_again_and_credits_nothing(
    system: System, token: str, employee: Employee, settings: Settings
) -> None:
    """Staff gave a part back in the merchant centre: the notice says TRADE_SUCCESS of a number that we never issued."""
    from gateway.adapters.alipay import AlipayAdapter, AlipayConfig
    from gateway.ports import Outcome, RefundRequest

    bought = open_recharge(system, token)
    pay(system, bought)
    wait_for(lambda: worlds.wallet_of(employee) == (10_000, 0), "the wallet shows 10 000 fen")
    outside = AlipayAdapter(
        AlipayConfig(
            gateway_url=system.env["ALIPAY_GATEWAY_URL"],
            credentials_file=system.env["ALIPAY_CREDENTIALS_FILE"],
            timeout_seconds=5.0,
        )
    )
    refund_no = f"OUTSIDE{uuid.uuid4().hex[:20]}"
    request = RefundRequest(
        refund_no=refund_no,
        attempt_no=attempt_of(bought),
        amount_fen=3_000,
        paid_fen=10_000,
        reason="",
        notify_url="",
    )
    assert outside.refund(request).outcome is Outcome.SUCCESS
    assert resend(system, attempt_of(bought), refund_no=refund_no) == [{"status": 404, "body": "fail"}]
    assert Alert.objects.filter(code="notice_for_unknown_number", subject=refund_no).exists()
    assert worlds.wallet_of(employee) == (10_000, 0)
    assert [journal.kind for journal in funds.list_journals(order_no=bought["order"]["order_no"])] == ["recharge"]

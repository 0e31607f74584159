"""The five scenes of the requirements (high-concurrency payment, 1.3): what must not happen to the impatient buyer.

Against real web, worker, relay and simulator processes; each ends with books that balance.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from foundation import clock
from foundation.models import Alert
from foundation.tasks import run_job
from funds import selectors as funds
from funds.domain.entries import enterprise_account
from identity.models import Employee
from orders import selectors as orders
from orders.domain.states import AttemptState, OrderState
from orders.services import advancing
from payments.services import closing
from tests import worlds
from tests.books import assert_books_balance
from tests.flows.test_recharge import attempt_of, pay, wait_for
from tests.integration.payments.business import open_shop
from tests.system import System

pytestmark = pytest.mark.usefixtures("committed_db")
AMOUNT_FEN = 20_000
CLICKS = 6
ANSWER_SECONDS = 10.0
"""No click waits longer for an answer, whatever the answer is."""


@pytest.fixture
def world() -> worlds.World:
    return worlds.make_world(1)


@pytest.fixture
def buyer(world: worlds.World) -> Employee:
    return world.employees[0]


@pytest.fixture
def token(buyer: Employee) -> str:
    return worlds.token_of(buyer)


@pytest.fixture(autouse=True)
def well_again(system: System) -> Iterator[None]:
    yield
    system.simulate("DELETE", "faults")


def fault(system: System, name: str, **more: object) -> None:
    answer = system.simulate("PUT", "faults", {"rules": [{"fault": name, **more}], "seed": 1})
    assert answer.status_code == 200, answer.text


def click(system: System, token: str, key: str, channel: str = "wechat") -> tuple[requests.Response, float]:
    """One click on "pay" and how long its answer took, in seconds."""
    body = {"amount_fen": AMOUNT_FEN, "channel": channel, "scene": "native"}
    started = time.monotonic()
    answer = system.api(token, "POST", "recharges", body, key=key)
    return answer, time.monotonic() - started


def open_recharge(system: System, token: str) -> dict:
    answer, _ = click(system, token, uuid.uuid4().hex)
    assert answer.status_code == 201, answer.text
    found: dict = answer.json()
    return found


def refunded_fen(system: System, attempt_no: str) -> int:
    """What the provider says it gave back of the attempt."""
    rows = system.simulate("GET", "books").json()["refunds"]
    return sum(row["amount_fen"] for row in rows if row["attempt_no"] == attempt_no and row["state"] == "SUCCESS")


def paid_fen(system: System, attempt_nos: set[str]) -> int:
    """What the providers say they received for the attempts."""
    rows = system.simulate("GET", "books").json()["payments"]
    return sum(row["amount_fen"] for row in rows if row["attempt_no"] in attempt_nos and row["state"] == "SUCCESS")


def journal_kinds(order_no: str) -> list[str]:
    return [journal.kind for journal in funds.list_journals(order_no=order_no)]


def assert_returned(system: System, order_no: str, attempt_no: str) -> None:
    """The automatic return reached its end: at the provider, in the ledger, on its own order; staff were told."""
    wait_for(lambda: refunded_fen(system, attempt_no) == AMOUNT_FEN, "the provider gave the money back")
    wait_for(lambda: journal_kinds(order_no)[-1] == "refund_done", "the return is booked")

    def returns() -> list[tuple[str, OrderState, int]]:
        found = [row for row in orders.search(text=order_no) if row.order_no != order_no]
        return [(row.business_no, row.state, row.amount_fen) for row in found]

    wait_for(lambda: returns() == [(attempt_no, OrderState.SUCCESS, AMOUNT_FEN)], "the return's order is complete")
    assert Alert.objects.filter(code="receipt_to_return", subject=attempt_no).count() == 1
    assert (
        Alert.objects.filter(
            code="refund_needs_staff", subject__startswith="RT", context__attempt_no=attempt_no
        ).count()
        == 0
    )


# --- 1: no answer to the click ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "more"),
    [("timeout_after_effect", {"times": 1, "delay_seconds": 2.0}), ("system_error_but_done", {"times": 2})],
)
def test_scene_1_no_answer_to_the_click(
    system: System, token: str, buyer: Employee, name: str, more: dict[str, object]
) -> None:
    """Every click is answered in time, all of them mean one order with one attempt, and it is paid once."""
    fault(system, name, channel="wechat", operation="native", **more)
    key = uuid.uuid4().hex
    with ThreadPoolExecutor(CLICKS) as pool:
        clicks = list(pool.map(lambda _: click(system, token, key), range(CLICKS)))
    assert max(seconds for _, seconds in clicks) < ANSWER_SECONDS
    assert {answer.status_code for answer, _ in clicks} <= {201, 409, 503}
    for answer, _ in clicks:
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) >= 1
    last, _ = click(system, token, key)
    assert last.status_code == 201, last.text
    bought = last.json()
    order_no = bought["order"]["order_no"]
    assert {answer.json()["order"]["order_no"] for answer, _ in clicks if answer.status_code == 201} <= {order_no}
    assert [row.order_no for row in orders.list_orders(employee_id=buyer.pk, limit=5).items] == [order_no]
    assert len(orders.get_order(order_no=order_no).attempts) == 1
    pay(system, bought)
    wait_for(lambda: worlds.wallet_of(buyer) == (AMOUNT_FEN, 0), "the wallet shows the money, once")
    assert paid_fen(system, {attempt_of(bought)}) == AMOUNT_FEN
    assert journal_kinds(order_no) == ["recharge"]
    assert_books_balance()


# --- 2: the wallet deducted once per click ---------------------------------------------------------------------------


def test_scene_2_impatient_clicks_deduct_the_wallet_once(
    system: System, world: worlds.World, buyer: Employee, token: str
) -> None:
    """1000 yuan in the wallet, a ticket of 200, many clicks with keys of their own: 800 are left."""
    worlds.give_money(buyer, 100_000)
    shop = open_shop(world.enterprise.pk)
    path = "/api/v1/payments"
    body = b'{"business_order_no": "ticket-1", "amount_fen": 20000, "subject": "Ticket"}'
    headers = {**shop.headers("POST", path, body), "Content-Type": "application/json", "Idempotency-Key": "ticket-1"}
    opened = requests.post(f"{system.base_url}{path}", data=body, headers=headers, timeout=30)
    assert opened.status_code == 201, opened.text
    order_no = opened.json()["order"]["order_no"]

    def pay_by_wallet(_: int) -> requests.Response:
        return system.api(token, "POST", f"orders/{order_no}/attempts", {"channel": "wallet"}, key=uuid.uuid4().hex)

    with ThreadPoolExecutor(CLICKS) as pool:
        answers = list(pool.map(pay_by_wallet, range(CLICKS)))
    assert {answer.status_code for answer in answers} <= {201, 409, 503}, [answer.text for answer in answers]
    assert any(answer.status_code == 201 for answer in answers)
    again = pay_by_wallet(0)
    assert (again.status_code, again.json()["order"]["state"]) == (201, "SUCCESS")
    assert worlds.wallet_of(buyer) == (80_000, 0)
    assert funds.get_wallet(account=enterprise_account(world.enterprise.pk)).available_fen == AMOUNT_FEN
    assert journal_kinds(order_no) == ["recharge"]
    attempts = orders.get_order(order_no=order_no).attempts
    assert [row.state for row in attempts if row.is_effective] == [AttemptState.SUCCESS]
    assert not [row for row in attempts if row.is_open]
    assert_books_balance()


# --- 3: paid, but the order is cancelled -----------------------------------------------------------------------------


def test_scene_3_a_payment_after_the_order_ended_goes_back_by_itself(
    system: System, token: str, buyer: Employee
) -> None:
    """Another card takes its time: the order ends meanwhile, then the money comes. It is returned, staff are told."""
    bought = open_recharge(system, token)
    order_no, attempt_no = bought["order"]["order_no"], attempt_of(bought)
    now = clock.now()
    advancing.advance_attempt(attempt_no=attempt_no, target=AttemptState.CLOSED, fields={"next_check_at": None})
    assert closing.end_unpaid(order_no=order_no, reason="closed", now=now)
    pay(system, bought)
    assert_returned(system, order_no, attempt_no)
    shown = system.api(token, "GET", f"orders/{order_no}").json()["order"]
    assert (shown["state"], shown["attempts"][0]["state"]) == ("CLOSED", "SUCCESS")
    assert worlds.wallet_of(buyer) == (0, 0)
    assert journal_kinds(order_no) == ["receipt_to_return", "refund_start", "refund_done"]
    assert_books_balance()


def test_scene_3_a_paid_order_cannot_be_cancelled(system: System, token: str, buyer: Employee) -> None:
    """He has paid and the notice is late: the cancellation asks the provider first and is refused."""
    fault(system, "notice_never", channel="wechat")
    bought = open_recharge(system, token)
    pay(system, bought)
    refused = system.api(token, "POST", f"orders/{bought['order']['order_no']}/close")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "order_already_paid")
    assert orders.get_order(order_no=bought["order"]["order_no"]).state is OrderState.SUCCESS
    assert worlds.wallet_of(buyer) == (AMOUNT_FEN, 0)
    assert refunded_fen(system, attempt_of(bought)) == 0
    assert_books_balance()


# --- 4: paid, but the order says "paying" ----------------------------------------------------------------------------


@pytest.mark.parametrize("finder", ["the person looks", "the worker asks"])
def test_scene_4_paid_but_paying(system: System, token: str, buyer: Employee, finder: str) -> None:
    """The notice never comes. Looking at the order asks the provider; nobody looking, the timed job does."""
    fault(system, "notice_never", channel="wechat")
    bought = open_recharge(system, token)
    order_no = bought["order"]["order_no"]
    pay(system, bought)
    assert orders.get_order(order_no=order_no).state is OrderState.PENDING
    if finder == "the person looks":
        assert system.api(token, "GET", f"orders/{order_no}").json()["order"]["state"] == "SUCCESS"
    else:
        deadline = time.monotonic() + 40
        while orders.get_order(order_no=order_no).state is not OrderState.SUCCESS:
            assert time.monotonic() < deadline, "the job found the payment"
            run_job.delay("payments.check_attempts")
            time.sleep(1)
    assert worlds.wallet_of(buyer) == (AMOUNT_FEN, 0)
    assert journal_kinds(order_no) == ["recharge"]
    assert not Alert.objects.filter(subject=attempt_of(bought)).exists()
    assert_books_balance()


# --- 5: paid twice, on two channels ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [("alipay", "wechat"), ("wechat", "alipay")])
def test_scene_5_paid_on_two_channels(system: System, token: str, buyer: Employee, first: str, second: str) -> None:
    """No reaction on one channel, so he pays by the other, and then on the first as well: one of the two goes back."""
    answer, _ = click(system, token, uuid.uuid4().hex, first)
    assert answer.status_code == 201, answer.text
    slow = answer.json()
    order_no = slow["order"]["order_no"]
    body = {"channel": second, "scene": "native"}
    quick = system.api(token, "POST", f"orders/{order_no}/attempts", body, key=uuid.uuid4().hex)
    assert quick.status_code == 201, quick.text
    pay(system, quick.json())
    wait_for(lambda: worlds.wallet_of(buyer) == (AMOUNT_FEN, 0), "the first payment is booked")
    pay(system, slow)
    late_no = attempt_of(slow)
    assert_returned(system, order_no, late_no)
    order = orders.get_order(order_no=order_no)
    assert order.state is OrderState.SUCCESS
    assert [(row.channel, row.state) for row in order.attempts if row.is_effective] == [(second, AttemptState.SUCCESS)]
    kept_no = order.effective_attempt_no
    assert (refunded_fen(system, kept_no), paid_fen(system, {kept_no, late_no})) == (0, 2 * AMOUNT_FEN)
    assert worlds.wallet_of(buyer) == (AMOUNT_FEN, 0)
    assert journal_kinds(order_no) == ["recharge", "receipt_to_return", "refund_start", "refund_done"]
    assert_books_balance()

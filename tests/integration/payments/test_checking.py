"""What happens without notices: the check job, closing at the provider, refunds; against the real SDK and simulator.

Notices go to a port where nobody listens, so only our own questions can find out.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from pytest_django import Settings

from foundation import clock, outbox
from foundation.errors import Busy
from foundation.models import OutboxEvent
from funds import selectors as funds
from gateway.registry import ChannelUnavailable
from identity.models import Employee
from orders import selectors as orders
from orders.domain.states import AttemptState, OrderState
from orders.services import advancing, numbers
from payments.domain import events
from payments.domain.people import Person
from payments.jobs import CheckAttempts
from payments.services import checking, closing, outcomes, purchase, recharging, sweeping
from simulator import credentials, server
from tests import worlds
from tests.books import assert_books_balance

pytestmark = pytest.mark.usefixtures("committed_db", "provider")


@pytest.fixture(scope="module")
def credentials_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return credentials.initialise(directory=tmp_path_factory.mktemp("simulator"))


@pytest.fixture(scope="module")
def running(credentials_file: Path) -> Iterator[server.Handle]:
    handle = server.start(directory=credentials_file.parent, port=0)
    yield handle
    handle.stop()


@pytest.fixture
def provider(running: server.Handle, credentials_file: Path, settings: Settings) -> Iterator[str]:
    settings.PUBLIC_BASE_URL = "http://127.0.0.1:9"
    settings.WECHAT = {
        **settings.WECHAT,
        "base_url": running.url,
        "credentials_file": str(credentials_file),
        "read_timeout_seconds": 1.0,
    }
    yield running.url
    requests.delete(f"{running.url}/_sim/faults", timeout=5)


@pytest.fixture
def employee() -> Employee:
    return worlds.make_world(1).employees[0]


def recharge(employee: Employee, amount_fen: int = 300) -> purchase.Purchase:
    return recharging.recharge(
        order_no=numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=employee.pk),
        payer=Person(employee_id=employee.pk, enterprise_id=employee.enterprise_id),
        amount_fen=amount_fen,
        channel="wechat",
        scene="native",
        now=clock.now(),
    )


def pay(provider: str, bought: purchase.Purchase) -> None:
    answer = requests.post(f"{provider}/_sim/pay", json={"payment": dict(bought.payment)}, timeout=5)
    assert answer.status_code == 200, answer.text


def fault(provider: str, name: str, **more: object) -> None:
    rules = [{"fault": name, "rate": 1.0, "channel": "wechat", **more}]
    answer = requests.put(f"{provider}/_sim/faults", json={"rules": rules, "seed": 1}, timeout=5)
    assert answer.status_code == 200, answer.text


def present(bought: purchase.Purchase) -> tuple[OrderState, AttemptState]:
    order = orders.get_order(order_no=bought.order.order_no)
    return order.state, order.attempts[0].state


def later(**delta: float) -> dt.datetime:
    return clock.now() + dt.timedelta(**delta)


def test_the_job_finds_a_payment_nobody_told_us_of(provider: str, employee: Employee) -> None:
    bought = recharge(employee)
    pay(provider, bought)
    assert worlds.wallet_of(employee) == (0, 0)
    report = CheckAttempts().run(now=later(seconds=11))
    assert report["decided"] >= 1
    assert worlds.wallet_of(employee) == (300, 0)
    assert present(bought) == (OrderState.SUCCESS, AttemptState.SUCCESS)


def test_an_unpaid_attempt_is_asked_about_again_later_and_later(provider: str, employee: Employee) -> None:
    bought = recharge(employee)
    attempt = bought.order.attempts[0]
    moments = []
    for _ in range(3):
        attempt = orders.get_attempt(attempt_no=attempt.attempt_no)
        checking.check_attempt(attempt=attempt, now=worlds.NOW)
        moments.append(orders.get_attempt(attempt_no=attempt.attempt_no).next_check_at)
    assert moments == [worlds.NOW + dt.timedelta(seconds=seconds) for seconds in (30, 60, 120)]
    assert present(bought) == (OrderState.PENDING, AttemptState.PENDING)


@pytest.mark.parametrize(
    ("name", "more"),
    [("response_bad_signature", {}), ("system_error_not_done", {}), ("timeout_after_effect", {"delay_seconds": 2})],
)
def test_an_uncertain_answer_decides_nothing(provider: str, employee: Employee, name: str, more: dict) -> None:
    bought = recharge(employee)
    pay(provider, bought)
    fault(provider, name, operation="query", **more)
    attempt = orders.get_attempt(attempt_no=bought.order.attempts[0].attempt_no)
    assert checking.check_attempt(attempt=attempt, now=clock.now()) is AttemptState.PENDING
    assert worlds.wallet_of(employee) == (0, 0)
    requests.delete(f"{provider}/_sim/faults", timeout=5)
    assert checking.check_attempt(attempt=attempt, now=clock.now()) is AttemptState.SUCCESS
    assert worlds.wallet_of(employee) == (300, 0)


def test_a_prepay_without_an_answer_goes_on_with_the_same_number(provider: str, employee: Employee) -> None:
    order_no = numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=employee.pk)
    person = Person(employee_id=employee.pk, enterprise_id=employee.enterprise_id)

    def again() -> purchase.Purchase:
        return recharging.recharge(
            order_no=order_no, payer=person, amount_fen=300, channel="wechat", scene="native", now=clock.now()
        )

    fault(provider, "timeout_after_effect", operation="native", delay_seconds=2)
    with pytest.raises(Busy):
        again()
    first = orders.get_order(order_no=order_no)
    assert [row.state for row in first.attempts] == [AttemptState.UNKNOWN]
    requests.delete(f"{provider}/_sim/faults", timeout=5)
    bought = again()
    assert [row.attempt_no for row in bought.order.attempts] == [row.attempt_no for row in first.attempts]
    pay(provider, bought)
    checking.check_due(now=later(hours=2))
    assert worlds.wallet_of(employee) == (300, 0)


def test_expired_orders_are_closed_at_the_provider_first(provider: str, employee: Employee) -> None:
    unpaid, paid = recharge(employee), recharge(employee, 400)
    pay(provider, paid)
    sweeping.close_expired(now=later(hours=1), limit=1000)
    assert present(unpaid) == (OrderState.CLOSED, AttemptState.CLOSED)
    assert present(paid) == (OrderState.SUCCESS, AttemptState.SUCCESS)
    assert worlds.wallet_of(employee) == (400, 0)
    refused = requests.post(f"{provider}/_sim/pay", json={"payment": dict(unpaid.payment)}, timeout=5)
    assert refused.status_code == 409
    alias = orders.order_alias(unpaid.order.order_no)
    closed = OutboxEvent.objects.using(alias).filter(topic=events.ORDER_CLOSED, key=unpaid.order.order_no)
    assert closed.count() == 1


def test_an_order_is_not_closed_while_its_provider_is_silent(provider: str, employee: Employee) -> None:
    bought = recharge(employee)
    fault(provider, "system_error_not_done")
    with pytest.raises(Busy):
        closing.close_order(order_no=bought.order.order_no, now=later(hours=1))
    assert present(bought) == (OrderState.PENDING, AttemptState.PENDING)


def test_a_prepay_that_never_arrived_is_closed_once_it_cannot_be_on_its_way(provider: str, employee: Employee) -> None:
    fault(provider, "system_error_not_done", operation="native")
    with pytest.raises(Busy):
        recharge(employee)
    requests.delete(f"{provider}/_sim/faults", timeout=5)
    order = orders.list_orders(employee_id=employee.pk, limit=1).items[0]
    with pytest.raises(Busy):
        closing.close_order(order_no=order.order_no, now=clock.now())
    closed = closing.close_order(order_no=order.order_no, now=later(minutes=2))
    assert (closed.state, closed.attempts[0].state) == (OrderState.CLOSED, AttemptState.CLOSED)
    assert closed.attempts[0].result_code == "not_found"


def test_paid_after_we_closed_goes_back_by_itself(provider: str, employee: Employee) -> None:
    """The third scene of the second requirements text, with a provider whose close did not hold."""
    bought = recharge(employee)
    order_no, attempt_no = bought.order.order_no, bought.order.attempts[0].attempt_no
    advancing.advance_attempt(attempt_no=attempt_no, target=AttemptState.CLOSED)
    closing.end_unpaid(order_no=order_no, reason="test", now=clock.now())
    pay(provider, bought)
    success = outcomes.Success(attempt_no=attempt_no, amount_fen=300, provider_no="wx", paid_at=clock.now())
    assert outcomes.record_success(success=success, now=clock.now()) is outcomes.Booking.TO_RETURN
    outbox.drain(using="funds", now=clock.now)
    outbox.drain(using="funds", now=clock.now)
    returns = [order for order in orders.search(text=order_no) if order.order_no != order_no]
    assert [(row.kind.value, row.amount_fen) for row in returns] == [("RETURN", 300)]
    deadline = time.monotonic() + 10
    attempt = orders.get_order(order_no=returns[0].order_no).attempts[0]
    while checking.check_attempt(attempt=attempt, now=clock.now()) is not AttemptState.SUCCESS:
        assert time.monotonic() < deadline, "the provider carried the refund out"
        time.sleep(0.1)
    assert orders.get_order(order_no=returns[0].order_no).state is OrderState.SUCCESS
    journals = [(journal.kind, journal.credit_total_fen) for journal in funds.list_journals(order_no=order_no)]
    assert journals == [("receipt_to_return", 300), ("refund_start", 300), ("refund_done", 300)]
    assert worlds.wallet_of(employee) == (0, 0)
    assert_books_balance()


def test_unknown_channel_opens_nothing(employee: Employee) -> None:
    with pytest.raises(ChannelUnavailable):
        recharging.recharge(
            order_no=numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=employee.pk),
            payer=Person(employee_id=employee.pk, enterprise_id=employee.enterprise_id),
            amount_fen=300,
            channel="alipay",
            scene="page",
            now=clock.now(),
        )
    assert orders.list_orders(employee_id=employee.pk, limit=5).items == ()


def test_one_failing_attempt_does_not_stop_the_check_of_the_others(
    provider: str, employee: Employee, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = recharge(employee), recharge(employee, 400)
    for bought in (first, second):
        pay(provider, bought)
    broken = first.order.attempts[0].attempt_no
    real = checking.calls.query

    def query(*, channel: str, attempt_no: str) -> object:
        if attempt_no == broken:
            raise Busy({"reason": uuid.uuid4().hex})
        return real(channel=channel, attempt_no=attempt_no)

    monkeypatch.setattr(checking.calls, "query", query)
    report = checking.check_due(now=later(seconds=11), limit=1000)
    assert report["failed"] >= 1
    assert worlds.wallet_of(employee) == (400, 0)
    assert present(first) == (OrderState.PENDING, AttemptState.PENDING)

"""kill -9 exactly between the ledger's commit and the order's: the money has moved, the order is behind.

Ledger and orders are two databases; the ledger commits first. Each of the two ways forward must do alone: delivery of
the event that was committed with the journal, and the sweep (which asks the provider about a payment through a channel
and the ledger about one from the wallet).
"""

from __future__ import annotations

import datetime as dt
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from pytest_django import Settings

from foundation import clock, outbox
from foundation.db import roles
from foundation.models import OutboxEvent
from funds import selectors as funds
from identity.models import Employee
from orders import selectors as orders
from orders.domain.states import OrderKind, OrderState
from orders.services import numbers
from payments.domain import events
from payments.domain.people import Person
from payments.jobs import CheckAttempts, CloseExpired
from payments.services import purchase, recharging
from redpacket import selectors as redpacket
from redpacket.domain.states import PacketState
from tests import worlds
from tests.books import assert_books_balance
from tests.flows.payments.dying import POINTS
from tests.system import ROOT, System

pytestmark = pytest.mark.usefixtures("committed_db")
both_points = pytest.mark.parametrize("point", POINTS)
Way = Callable[[], None]


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[System]:
    """The provider alone: no web process hears a notice, no relay delivers an event, no beat sweeps."""
    running = System(tmp_path_factory.mktemp("provider"))
    try:
        yield running.start("simulator")
    finally:
        running.stop()


@pytest.fixture
def channel(provider: System, settings: Settings) -> System:
    """The provider, which this process asks, too."""
    settings.PUBLIC_BASE_URL = provider.base_url
    settings.WECHAT = {
        **settings.WECHAT,
        "base_url": provider.simulator_url,
        "credentials_file": provider.env["WECHAT_CREDENTIALS_FILE"],
    }
    return provider


@pytest.fixture
def world() -> worlds.World:
    return worlds.make_world(2)


def person_of(employee: Employee) -> Person:
    return Person(employee_id=employee.pk, enterprise_id=employee.enterprise_id)


def dies(system: System, point: str, *words: str) -> None:
    """Runs the process to its death."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.flows.payments.dying", point, *words],
        cwd=ROOT,
        env=system.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def event_of(order_no: str) -> OutboxEvent:
    return OutboxEvent.objects.using(roles.alias_for("funds")).get(topic=events.ORDER_PAID, key=order_no)


def kinds_of(order_no: str) -> list[str]:
    return [journal.kind for journal in funds.list_journals(order_no=order_no)]


def deliver() -> None:
    outbox.drain(using=roles.alias_for("funds"), now=clock.now)


def sweep() -> None:
    for job in (CheckAttempts(), CloseExpired()):
        job.run(now=clock.now() + dt.timedelta(hours=1))


either_way = pytest.mark.parametrize(("first", "second"), [(deliver, sweep), (sweep, deliver)])


def state_of(order_no: str) -> OrderState:
    return orders.get_order(order_no=order_no).state


def recharge_that_died(system: System, employee: Employee, point: str) -> str:
    """A recharge of 300 fen, paid at the provider, whose booking died between the commits; its order number."""
    bought: purchase.Purchase = recharging.recharge(
        order_no=numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=employee.pk),
        payer=person_of(employee),
        amount_fen=300,
        channel="wechat",
        scene="native",
        now=clock.now(),
    )
    order_no = bought.order.order_no
    assert system.simulate("POST", "pay", {"payment": dict(bought.payment)}).status_code == 200
    dies(system, point, "recharge", bought.order.attempts[0].attempt_no)
    assert worlds.wallet_of(employee) == (300, 0)
    assert kinds_of(order_no) == ["recharge"]
    assert state_of(order_no) is OrderState.PENDING
    assert [attempt.is_open for attempt in orders.get_order(order_no=order_no).attempts] == [True]
    assert event_of(order_no).done_at is None
    return order_no


def assert_recharged_once(employee: Employee, order_no: str) -> None:
    order = orders.get_order(order_no=order_no)
    assert order.state is OrderState.SUCCESS
    assert order.effective_attempt_no == order.attempts[0].attempt_no
    assert [(attempt.state.value, attempt.is_effective) for attempt in order.attempts] == [("SUCCESS", True)]
    assert worlds.wallet_of(employee) == (300, 0)
    assert kinds_of(order_no) == ["recharge"]


@both_points
def test_delivery_alone_brings_a_recharge_forward(channel: System, world: worlds.World, point: str) -> None:
    employee = world.employees[0]
    order_no = recharge_that_died(channel, employee, point)
    deliver()
    assert_recharged_once(employee, order_no)
    assert event_of(order_no).done_at is not None
    CheckAttempts().run(now=clock.now() + dt.timedelta(minutes=5))
    assert_recharged_once(employee, order_no)
    assert_books_balance()


@both_points
def test_the_sweep_alone_brings_a_recharge_forward(channel: System, world: worlds.World, point: str) -> None:
    employee = world.employees[0]
    order_no = recharge_that_died(channel, employee, point)
    CheckAttempts().run(now=clock.now() + dt.timedelta(minutes=5))
    assert event_of(order_no).done_at is None
    assert_recharged_once(employee, order_no)
    deliver()
    assert_recharged_once(employee, order_no)
    assert_books_balance()


@both_points
@either_way
def test_either_way_brings_a_transfer_forward(
    channel: System, world: worlds.World, point: str, first: Way, second: Way
) -> None:
    payer, payee = world.employees
    worlds.give_money(payer, 1_000)
    order_no = numbers.issue(prefix=numbers.Prefix.TRANSFER, account_id=payer.pk)
    dies(channel, point, "transfer", order_no, str(payer.pk), str(payer.enterprise_id), payee.code, "300")
    assert state_of(order_no) is OrderState.PENDING
    assert [worlds.wallet_of(person) for person in world.employees] == [(700, 0), (300, 0)]
    for way in (first, second):
        way()
        assert state_of(order_no) is OrderState.SUCCESS
        receipts = orders.list_orders(employee_id=payee.pk, limit=9, kind=OrderKind.TRANSFER_RECEIPT).items
        assert [(receipt.original_order_no, receipt.amount_fen) for receipt in receipts] == [(order_no, 300)]
        assert [worlds.wallet_of(person) for person in world.employees] == [(700, 0), (300, 0)]
        assert kinds_of(order_no) == ["transfer"]
    assert_books_balance()


@both_points
@either_way
def test_either_way_brings_a_red_packet_forward(
    channel: System, world: worlds.World, point: str, first: Way, second: Way
) -> None:
    """The sweep completes the order; the packet opens by the event that its completion writes."""
    sender = world.employees[0]
    worlds.give_money(sender, 1_000)
    order_no = numbers.issue(prefix=numbers.Prefix.REDPACKET_SEND, account_id=sender.pk)
    dies(channel, point, "packet", order_no, str(sender.pk), str(sender.enterprise_id), str(world.group.pk), "400")
    packet = redpacket.find_by_order(funding_order_no=order_no)
    assert packet is not None
    assert (state_of(order_no), packet.state) == (OrderState.PENDING, PacketState.DRAFT)
    assert worlds.wallet_of(sender) == (600, 400)
    for way in (first, second):
        way()
        assert state_of(order_no) is OrderState.SUCCESS
        assert worlds.wallet_of(sender) == (600, 400)
        assert kinds_of(order_no) == ["freeze"]
    packet.refresh_from_db()
    assert packet.state == PacketState.OPEN
    assert_books_balance()

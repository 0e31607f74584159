"""Refunds of payments: reserved before booked, booked before asked; to the source, once, never more than paid.

Against the simulated providers; notices go to a port where nobody listens, so only our own questions find out.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings as project
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from foundation import clock, outbox, redis
from foundation.errors import Broken
from foundation.models import Alert, OutboxEvent
from funds import selectors as funds
from funds.domain import movements
from funds.domain.entries import Entry, employee_account, enterprise_account, platform_account
from funds.services import ledger
from funds.services.ledger import InsufficientFunds
from gateway.ports import Outcome, Result
from identity.models import Employee
from orders import selectors as orders
from orders.domain import numbers
from orders.domain.records import OrderRecord
from orders.domain.states import AttemptState, OrderState
from orders.models import ORDER_TABLES
from orders.services import advancing, opening
from orders.services.advancing import RefundTooLarge
from payments.domain import events
from payments.domain.people import Person
from payments.models import AbnormalRefund, CallbackDelivery
from payments.services import business_payments, callbacks_out, checking, purchase, refund_results, refunds
from payments.services.refunds import OrderNotRefundable
from simulator import credentials, server
from tests import worlds
from tests.books import assert_books_balance
from tests.integration.payments.business import Shop, open_shop

pytestmark = pytest.mark.usefixtures("committed_db", "provider")
AMOUNT_FEN = 1_000
MADE: list[str] = []
"""Refund numbers of the running test."""
CHANNELS = (("wechat", "native"), ("alipay", "native"), ("kuaiqian", "page"))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return credentials.initialise(directory=tmp_path_factory.mktemp("simulator")).parent


@pytest.fixture(scope="module")
def running(directory: Path) -> Iterator[server.Handle]:
    handle = server.start(directory=directory, port=0, refund_delay_seconds=0.0)
    yield handle
    handle.stop()


@pytest.fixture
def provider(running: server.Handle, directory: Path, settings: Settings) -> Iterator[str]:
    settings.PUBLIC_BASE_URL = "http://127.0.0.1:9"
    settings.WECHAT = {
        **project.WECHAT,
        "base_url": running.url,
        "credentials_file": str(directory / "credentials.json"),
    }
    settings.ALIPAY = {
        **project.ALIPAY,
        "gateway_url": f"{running.url}/gateway.do",
        "credentials_file": str(directory / "alipay.json"),
    }
    settings.KUAIQIAN = {
        **project.KUAIQIAN,
        "base_url": running.url,
        "card_base_url": running.url,
        "credentials_file": str(directory / "kuaiqian.json"),
    }
    yield running.url
    requests.delete(f"{running.url}/_sim/faults", timeout=5)


@pytest.fixture
def world(provider: str) -> Iterator[worlds.World]:
    """Takes back the questions about refunds left pending: the check jobs of later tests shall not ask."""
    yield worlds.make_world(1)
    while MADE:
        found = orders.find_order(order_no=MADE.pop())
        for attempt in found.attempts if found is not None else ():
            advancing.schedule_check(attempt_no=attempt.attempt_no, at=None)


@pytest.fixture
def shop(world: worlds.World) -> Shop:
    return open_shop(world.enterprise.pk)


def ask(shop: Shop) -> str:
    content = {"business_order_no": f"B-{uuid.uuid4().hex}", "amount_fen": AMOUNT_FEN, "subject": "Ticket"}
    return str(shop.post(content, key=uuid.uuid4().hex).json()["order"]["order_no"])


def paid_by(provider: str, shop: Shop, channel: str = "wechat", scene: str = "native") -> str:
    """A business order, paid through the channel."""
    order_no = ask(shop)
    bought = purchase.try_channel(order_no=order_no, channel=channel, scene=scene, now=clock.now())
    answer = requests.post(f"{provider}/_sim/pay", json={"payment": dict(bought.payment)}, timeout=5)
    assert answer.status_code == 200, answer.text
    checking.check_attempt(attempt=bought.order.attempts[0], now=clock.now())
    assert orders.get_order(order_no=order_no).state is OrderState.SUCCESS
    return order_no


def paid_from_wallet(shop: Shop, payer: Employee) -> str:
    worlds.give_money(payer, AMOUNT_FEN)
    order_no = ask(shop)
    who = Person(employee_id=payer.pk, enterprise_id=payer.enterprise_id)
    business_payments.pay_from_wallet(order_no=order_no, payer=who, now=clock.now())
    return order_no


def refund(order_no: str, amount_fen: int, refund_no: str = "") -> OrderRecord:
    number = refund_no or refunds.issue_refund_number(order_no=order_no)
    MADE.append(number)
    return refunds.refund_order(
        refund_no=number,
        order_no=order_no,
        amount_fen=amount_fen,
        reason="two seats too many",
        requested_by="app:test",
        now=clock.now(),
    )


def deliver(refund_no: str) -> None:
    """What the relay does with the refund's event."""
    refunds.request_refund(refund_no=refund_no, now=clock.now())


def end(refund_no: str) -> OrderState:
    """Asks until the provider has ended it."""
    deadline = time.monotonic() + 10
    while (found := orders.get_order(order_no=refund_no)).state is OrderState.PENDING:
        assert time.monotonic() < deadline, "the provider ended the refund"
        checking.check_attempt(attempt=found.attempts[0], now=clock.now())
        time.sleep(0.05)
    return found.state


def fault(provider: str, name: str, **more: object) -> None:
    body = {"rules": [{"fault": name, "operation": "refund", "channel": "wechat", **more}], "seed": 1}
    answer = requests.put(f"{provider}/_sim/faults", json=body, timeout=5)
    assert answer.status_code == 200, answer.text


def at_provider(provider: str, refund_no: str) -> list[tuple[int, str]]:
    number = orders.get_order(order_no=refund_no).attempts[0].attempt_no
    rows = requests.get(f"{provider}/_sim/books", timeout=5).json()["refunds"]
    return [(row["amount_fen"], row["state"]) for row in rows if row["refund_no"] == number]


def enterprise_fen(world: worlds.World) -> int:
    return funds.get_wallet(account=enterprise_account(world.enterprise.pk)).available_fen


def reserved(order_no: str) -> tuple[int, int]:
    """(being refunded, refunded)"""
    order = orders.get_order(order_no=order_no)
    return order.refunding_fen, order.refunded_fen


def refunds_of(order_no: str) -> list[OrderRecord]:
    return [row for row in orders.search(text=order_no) if row.original_order_no == order_no]


def in_transit_fen(channel: str) -> int:
    return funds.platform_balance_fen(account=platform_account("2320", channel))


# --- To the source ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channel", "scene"), CHANNELS)
def test_parts_and_then_the_rest_go_back_through_the_channel(
    provider: str, world: worlds.World, shop: Shop, channel: str, scene: str
) -> None:
    order_no = paid_by(provider, shop, channel, scene)
    before = in_transit_fen(channel)
    made = []
    for amount_fen, left_fen in ((300, 700), (200, 500), (500, 0)):
        asked = refund(order_no, amount_fen)
        assert (asked.state, asked.amount_fen, asked.original_order_no) == (OrderState.PENDING, amount_fen, order_no)
        assert (enterprise_fen(world), in_transit_fen(channel) - before) == (left_fen, amount_fen)
        assert reserved(order_no)[0] == amount_fen
        assert at_provider(provider, asked.order_no) == []
        deliver(asked.order_no)
        assert end(asked.order_no) is OrderState.SUCCESS
        assert at_provider(provider, asked.order_no) == [(amount_fen, "SUCCESS")]
        assert in_transit_fen(channel) == before
        made.append(asked.order_no)
    assert reserved(order_no) == (0, 1_000)
    with pytest.raises(RefundTooLarge):
        refund(order_no, 1)
    assert sorted(row.order_no for row in refunds_of(order_no)) == sorted(made)
    kinds = [journal.kind for journal in funds.list_journals(order_no=order_no)]
    assert kinds == ["recharge", *["refund_start", "refund_done"] * 3]
    assert enterprise_fen(world) == 0
    assert_books_balance()


def test_a_wallet_payment_goes_back_to_the_wallet_of_who_paid(world: worlds.World, shop: Shop) -> None:
    """The order is anyone's of the enterprise: the journal says who paid."""
    payer = world.employees[0]
    order_no = paid_from_wallet(shop, payer)
    assert (worlds.wallet_of(payer), enterprise_fen(world)) == ((0, 0), 1_000)
    done = refund(order_no, 400)
    assert (done.state, done.attempts[0].channel, done.attempts[0].state) == (
        OrderState.SUCCESS,
        "wallet",
        AttemptState.SUCCESS,
    )
    assert (worlds.wallet_of(payer), enterprise_fen(world)) == ((400, 0), 600)
    assert refund(order_no, 400, done.order_no) == done
    refund(order_no, 600)
    assert (worlds.wallet_of(payer), enterprise_fen(world), reserved(order_no)) == ((1_000, 0), 0, (0, 1_000))
    told = OutboxEvent.objects.using("funds").filter(topic=events.REFUND_FINISHED, key=done.order_no)
    assert [row.payload["state"] for row in told] == ["SUCCESS"]
    assert not OutboxEvent.objects.using("funds").filter(topic=events.REFUND_REQUESTED, key=done.order_no).exists()
    assert_books_balance()


def test_a_recharge_goes_back_from_the_employees_balance(world: worlds.World) -> None:
    employee = world.employees[0]
    order_no = worlds.give_money(employee, AMOUNT_FEN)
    asked = refund(order_no, 250)
    assert (worlds.wallet_of(employee), reserved(order_no)) == ((750, 0), (250, 0))
    journal = funds.get_journal(kind="refund_start", reference=asked.order_no)
    assert journal is not None
    found = funds.get_journal_lines(journal_id=journal.pk)
    assert found is not None
    lines = {(line.account, line.amount_fen) for line in found[1]}
    owner = employee_account(employee.pk, employee.enterprise_id)
    assert lines == {(owner, -250), (platform_account("2320", "wechat"), 250)}
    assert (journal.actor, journal.order_no) == ("app:test", order_no)


# --- UNKNOWN until proved --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["response_bad_signature", "system_error_but_done", "system_error_not_done"])
def test_an_uncertain_answer_keeps_the_money_in_transit(
    provider: str, world: worlds.World, shop: Shop, name: str
) -> None:
    order_no = paid_by(provider, shop)
    before = in_transit_fen("wechat")
    asked = refund(order_no, 300)
    fault(provider, name)
    deliver(asked.order_no)
    assert orders.get_order(order_no=asked.order_no).state is OrderState.PENDING
    assert (enterprise_fen(world), reserved(order_no), in_transit_fen("wechat") - before) == (700, (300, 0), 300)
    requests.delete(f"{provider}/_sim/faults", timeout=5)
    assert end(asked.order_no) is OrderState.SUCCESS
    assert at_provider(provider, asked.order_no) == [(300, "SUCCESS")]
    assert (enterprise_fen(world), reserved(order_no), in_transit_fen("wechat")) == (700, (0, 300), before)
    assert_books_balance()


def test_a_refund_the_provider_closes_is_reversed(provider: str, world: worlds.World, shop: Shop) -> None:
    order_no = paid_by(provider, shop)
    before = in_transit_fen("wechat")
    fault(provider, "refund_closed")
    asked = refund(order_no, 1_000)
    deliver(asked.order_no)
    assert end(asked.order_no) is OrderState.FAILED
    assert (enterprise_fen(world), reserved(order_no), in_transit_fen("wechat")) == (1_000, (0, 0), before)
    assert Alert.objects.filter(code="refund_needs_staff", subject=asked.order_no).count() == 1
    requests.delete(f"{provider}/_sim/faults", timeout=5)
    again = refund(order_no, 1_000)
    deliver(again.order_no)
    assert (end(again.order_no), reserved(order_no), enterprise_fen(world)) == (OrderState.SUCCESS, (0, 1_000), 0)
    assert_books_balance()


def test_an_abnormal_refund_waits_for_staff(provider: str, world: worlds.World, shop: Shop) -> None:
    order_no = paid_by(provider, shop)
    before = in_transit_fen("wechat")
    fault(provider, "refund_abnormal")
    asked = refund(order_no, 300)
    deliver(asked.order_no)
    deadline = time.monotonic() + 10
    while not Alert.objects.filter(code="refund_needs_staff", subject=asked.order_no).exists():
        assert time.monotonic() < deadline, "staff were told"
        checking.check_attempt(attempt=orders.get_order(order_no=asked.order_no).attempts[0], now=clock.now())
    found = orders.get_order(order_no=asked.order_no)
    assert (found.state, found.attempts[0].result_code) == (OrderState.PENDING, "abnormal")
    assert found.attempts[0].next_check_at is not None
    assert (enterprise_fen(world), reserved(order_no), in_transit_fen("wechat") - before) == (700, (300, 0), 300)
    assert_books_balance()


# --- Crashes and repeats ---------------------------------------------------------------------------------------------


class Crash(BaseException):
    """Stands for a process that dies: nothing may catch it."""


def die(**_: object) -> None:
    raise Crash


def test_a_crash_after_the_reservation_is_booked_by_the_check_job(
    provider: str, world: worlds.World, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_no = paid_by(provider, shop)
    refund_no = refunds.issue_refund_number(order_no=order_no)
    with monkeypatch.context() as patch:
        patch.setattr(refunds, "book_refund", die)
        with pytest.raises(Crash):
            refund(order_no, 1_000, refund_no)
    assert (enterprise_fen(world), reserved(order_no)) == (1_000, (1_000, 0))
    with pytest.raises(RefundTooLarge):
        refund(order_no, 1)
    assert end(refund_no) is OrderState.SUCCESS
    assert (enterprise_fen(world), reserved(order_no)) == (0, (0, 1_000))
    assert at_provider(provider, refund_no) == [(1_000, "SUCCESS")]
    assert_books_balance()


@pytest.mark.parametrize("healer", ["event", "check job", "caller"])
def test_a_wallet_refund_behind_its_journal_is_completed(
    world: worlds.World, shop: Shop, monkeypatch: pytest.MonkeyPatch, healer: str
) -> None:
    payer = world.employees[0]
    order_no = paid_from_wallet(shop, payer)
    refund_no = refunds.issue_refund_number(order_no=order_no)
    with monkeypatch.context() as patch:
        patch.setattr(refund_results.advancing, "advance_attempt", die)
        with pytest.raises(Crash):
            refund(order_no, 400, refund_no)
    assert worlds.wallet_of(payer) == (400, 0)
    behind = orders.get_order(order_no=refund_no)
    assert (behind.state, reserved(order_no)) == (OrderState.PENDING, (400, 0))
    if healer == "event":
        refunds.repair(refund_no=refund_no, now=clock.now())
    elif healer == "check job":
        checking.check_attempt(attempt=behind.attempts[0], now=clock.now())
    else:
        refund(order_no, 400, refund_no)
    assert orders.get_order(order_no=refund_no).state is OrderState.SUCCESS
    assert (worlds.wallet_of(payer), enterprise_fen(world), reserved(order_no)) == ((400, 0), 600, (0, 400))
    assert_books_balance()


def test_repeating_a_refund_moves_nothing_more(provider: str, world: worlds.World, shop: Shop) -> None:
    order_no = paid_by(provider, shop)
    first = refund(order_no, 300)
    for _ in range(2):
        assert refund(order_no, 300, first.order_no) == first
        deliver(first.order_no)
        first = orders.get_order(order_no=first.order_no)
    end(first.order_no)
    assert (enterprise_fen(world), reserved(order_no)) == (700, (0, 300))
    requested = OutboxEvent.objects.using("funds").filter(topic=events.REFUND_REQUESTED, key=first.order_no)
    assert requested.count() == 1
    outbox.drain(using="funds", now=clock.now)


# --- Refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["wechat", "wallet"])
def test_a_balance_never_falls_below_zero(provider: str, world: worlds.World, shop: Shop, source: str) -> None:
    payer = world.employees[0]
    order_no = paid_from_wallet(shop, payer) if source == "wallet" else paid_by(provider, shop)
    spent = funds.get_wallet(account=enterprise_account(world.enterprise.pk)).available_fen - 100
    drain_enterprise(world, spent)
    refund_no = refunds.issue_refund_number(order_no=order_no)
    for _ in range(2):
        with pytest.raises(InsufficientFunds):
            refund(order_no, 101, refund_no)
        assert (enterprise_fen(world), reserved(order_no)) == (100, (0, 0))
        assert orders.get_order(order_no=refund_no).state is OrderState.FAILED
    assert funds.get_journal(kind="refund_start", reference=refund_no) is None
    assert funds.get_journal(kind="refund_done", reference=refund_no) is None
    assert refund(order_no, 100).state is (OrderState.SUCCESS if source == "wallet" else OrderState.PENDING)
    assert enterprise_fen(world) == 0


def fill_enterprise(world: worlds.World, amount_fen: int) -> None:
    drain_enterprise(world, -amount_fen)


def drain_enterprise(world: worlds.World, amount_fen: int) -> None:
    """The enterprise spends some of its money: to an employee of its own. A negative amount comes back."""
    accounts = [enterprise_account(world.enterprise.pk), employee_account(world.employees[0].pk, world.enterprise.pk)]
    if amount_fen < 0:
        accounts.reverse()
    moved = movements.transfer(order_no="x", payer=accounts[0], payee=accounts[1], amount_fen=abs(amount_fen))
    entry = Entry(kind="test_spend", reference=uuid.uuid4().hex, lines=moved.lines)
    ledger.in_transaction(lambda: ledger.post(entry=entry, now=clock.now()))


@pytest.mark.parametrize("source", ["wechat", "wallet"])
def test_one_worker_cancels_while_another_books(
    provider: str, world: worlds.World, shop: Shop, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The balance was too small for the first; before it can cancel, money has come and the second has booked."""
    order_no = paid_from_wallet(shop, world.employees[0]) if source == "wallet" else paid_by(provider, shop)
    drain_enterprise(world, 1_000)
    refund_no = refunds.issue_refund_number(order_no=order_no)
    cancel = refund_results.cancel_uncovered

    def be_overtaken(**given: Any) -> None:
        monkeypatch.setattr(refund_results, "cancel_uncovered", cancel)
        fill_enterprise(world, 1_000)
        refunds.book_refund(refund_no=refund_no, now=clock.now())
        cancel(**given)

    monkeypatch.setattr(refund_results, "cancel_uncovered", be_overtaken)
    done = refund(order_no, 400, refund_no)
    is_wallet = source == "wallet"
    assert done.state is (OrderState.SUCCESS if is_wallet else OrderState.PENDING)
    assert (enterprise_fen(world), reserved(order_no)) == (600, (0, 400) if is_wallet else (400, 0))


def test_a_cancelled_refund_is_not_booked_by_a_late_worker(provider: str, world: worlds.World, shop: Shop) -> None:
    order_no = paid_by(provider, shop)
    drain_enterprise(world, 1_000)
    refund_no = refunds.issue_refund_number(order_no=order_no)
    with pytest.raises(InsufficientFunds):
        refund(order_no, 400, refund_no)
    fill_enterprise(world, 1_000)
    assert refunds.book_refund(refund_no=refund_no, now=clock.now()) is False
    deliver(refund_no)
    assert (enterprise_fen(world), reserved(order_no), at_provider(provider, refund_no)) == (1_000, (0, 0), [])


def test_unpaid_orders_and_refunds_are_not_refundable(shop: Shop, world: worlds.World) -> None:
    order_no = ask(shop)
    with pytest.raises(OrderNotRefundable):
        refund(order_no, 1)
    assert refunds_of(order_no) == []
    paid_no = paid_from_wallet(shop, world.employees[0])
    done = refund(paid_no, 100)
    with pytest.raises(OrderNotRefundable):
        refund(done.order_no, 1)
    assert (enterprise_fen(world), refunds_of(done.order_no)) == (900, [])


# --- POST refunds ----------------------------------------------------------------------------------------------------

PATH = "/api/v1/refunds"


def test_the_endpoint_refunds_the_apps_own_order_once_per_key(world: worlds.World, shop: Shop) -> None:
    order_no = paid_from_wallet(shop, world.employees[0])
    body = {"order_no": order_no, "amount_fen": 300, "reason": "rain"}
    first = shop.post(body, key="k1", path=PATH)
    assert first.status_code == 201, first.content
    order = first.json()["order"]
    assert (order["state"], order["amount_fen"], order["subject"]) == ("SUCCESS", 300, "rain")
    assert order["order_no"].startswith("RF")
    again = shop.post(body, key="k1", path=PATH)
    assert (again.status_code, again.json()) == (201, first.json())
    assert worlds.wallet_of(world.employees[0]) == (300, 0)
    shown = shop.get(f"/api/v1/orders/{order_no}").json()["order"]
    assert shown["refunded_fen"] == 300


def test_the_endpoint_refuses(world: worlds.World, shop: Shop) -> None:
    order_no = paid_from_wallet(shop, world.employees[0])
    unpaid = ask(shop)
    stranger = open_shop(world.enterprise.pk)
    good: dict[str, Any] = {"order_no": order_no, "amount_fen": 1_000, "reason": "rain"}
    cases = [
        (stranger, good, "a", 404, "not_found"),
        (shop, {**good, "order_no": "nothing"}, "b", 404, "not_found"),
        (shop, {**good, "order_no": "票"}, "c", 404, "not_found"),
        (shop, {**good, "amount_fen": 1_001}, "d", 422, "refund_exceeds_payment"),
        (shop, {**good, "order_no": unpaid}, "e", 409, "order_not_refundable"),
        (shop, good, "", 400, "idempotency_key_required"),
        (shop, {**good, "amount_fen": 1.5}, "f", 400, "invalid_request"),
        (shop, {**good, "amount_fen": 0}, "g", 400, "invalid_request"),
        (shop, {"order_no": order_no, "amount_fen": 1}, "h", 400, "invalid_request"),
        (shop, {**good, "more": 1}, "i", 400, "invalid_request"),
    ]
    for who, body, key, status, code in cases:
        answer = who.post(body, key=key, path=PATH)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), body
    forged = shop.post(good, key="j", path=PATH, signature="0" * 64)
    assert (forged.status_code, forged.json()["error"]["code"]) == (401, "signature_invalid")
    drain_enterprise(world, 1)
    poor = shop.post(good, key="l", path=PATH)
    assert (poor.status_code, poor.json()["error"]["code"]) == (422, "insufficient_funds")
    assert (enterprise_fen(world), reserved(order_no)) == (999, (0, 0))
    assert worlds.wallet_of(world.employees[0]) == (1, 0)


def test_the_apps_own_refund_can_be_read(provider: str, world: worlds.World, shop: Shop) -> None:
    """Nobody tells us how it ended, so reading asks the provider; another app, or another kind of order, is unknown."""
    order_no = paid_by(provider, shop)
    body = {"order_no": order_no, "amount_fen": 300, "reason": "rain"}
    made = shop.post(body, key="r1", path=PATH).json()["order"]
    assert (made["state"], made["amount_fen"]) == ("PENDING", 300)
    deliver(made["order_no"])
    redis.client().delete(f"payments:asked:{made['order_no']}")
    time.sleep(0.1)  # the simulator ends a refund on a thread of its own
    shown = shop.get(f"{PATH}/{made['order_no']}")
    assert (shown.status_code, shown.json()["order"]["state"]) == (200, "SUCCESS")
    stranger = open_shop(world.enterprise.pk)
    for who, number in ((stranger, made["order_no"]), (shop, order_no), (shop, "nothing")):
        answer = who.get(f"{PATH}/{number}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(("name", "state"), [("", "REFUNDED"), ("refund_closed", "REFUND_FAILED")])
def test_the_business_backend_is_told_how_its_refund_ended(provider: str, shop: Shop, name: str, state: str) -> None:
    order_no = paid_by(provider, shop)
    if name:
        fault(provider, name)
    asked = refund(order_no, 300)
    deliver(asked.order_no)
    end(asked.order_no)
    event = OutboxEvent.objects.using("funds").get(topic=events.REFUND_FINISHED, key=asked.order_no)
    for _ in range(2):
        callbacks_out.note_refund(refund_no=event.payload["refund_no"], state=event.payload["state"], now=clock.now())
    told = CallbackDelivery.objects.get(event_id=f"refund:{asked.order_no}")
    body = json.loads(told.body)
    assert (body["state"], body["amount_fen"], body["refund_no"]) == (state, 300, asked.order_no)
    assert (body["order_no"], body["product_id"]) == (order_no, told.app_id)


# --- The staff's queue -----------------------------------------------------------------------------------------------


def queued(refund_no: str) -> list[tuple[str, int, bool]]:
    rows = AbnormalRefund.objects.filter(pk=refund_no)
    return [(row.code, row.amount_fen, row.closed_at is None) for row in rows]


def abnormal(provider: str, shop: Shop) -> str:
    """A refund of 300 fen that the provider took and will not pay out."""
    order_no = paid_by(provider, shop)
    fault(provider, "refund_abnormal")
    refund_no = refund(order_no, 300).order_no
    deliver(refund_no)
    deadline = time.monotonic() + 10
    while not queued(refund_no):
        assert time.monotonic() < deadline, "it came into the queue"
        checking.ask_refund_again(refund_no=refund_no, now=clock.now())
    return refund_no


def test_an_abnormal_refund_stays_in_the_queue_until_it_ends(provider: str, world: worlds.World, shop: Shop) -> None:
    refund_no = abnormal(provider, shop)
    assert queued(refund_no) == [("abnormal", 300, True)]
    first_at = AbnormalRefund.objects.get(pk=refund_no).first_at
    assert checking.ask_refund_again(refund_no=refund_no, now=clock.now()) is OrderState.PENDING
    assert checking.retry_refund(refund_no=refund_no, now=clock.now()) is OrderState.PENDING
    assert len(at_provider(provider, refund_no)) == 1  # the same number is the same refund
    assert (queued(refund_no), enterprise_fen(world)) == ([("abnormal", 300, True)], 700)
    assert AbnormalRefund.objects.get(pk=refund_no).first_at == first_at
    done = Result(outcome=Outcome.SUCCESS, code="success", amount_fen=300)
    refund_results.apply(refund_no=refund_no, result=done, now=clock.now())
    refunds.repair(refund_no=refund_no, now=clock.now())
    assert (queued(refund_no), enterprise_fen(world)) == ([("abnormal", 300, False)], 700)
    assert_books_balance()


def test_another_amount_books_nothing_and_is_queued(provider: str, world: worlds.World, shop: Shop) -> None:
    order_no = paid_by(provider, shop)
    asked = refund(order_no, 300)
    wrong = Result(outcome=Outcome.SUCCESS, code="success", amount_fen=301)
    refund_results.apply(refund_no=asked.order_no, result=wrong, now=clock.now())
    assert orders.get_order(order_no=asked.order_no).state is OrderState.PENDING
    assert queued(asked.order_no) == [("refund_amount_mismatch", 300, True)]
    assert (enterprise_fen(world), reserved(order_no)) == (700, (300, 0))


def test_staff_act_on_the_queue_only_with_the_permission(provider: str, shop: Shop, client: Client) -> None:
    refund_no = abnormal(provider, shop)
    address = "/admin/payments/abnormalrefund/"
    chosen = {"action": "ask_again", "_selected_action": refund_no}
    reader = get_user_model().objects.create_user(f"reader-{uuid.uuid4().hex[:8]}", password="x", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_abnormalrefund"))
    client.force_login(reader)
    page = client.get(address, {"q": refund_no})
    assert (page.status_code, refund_no in page.content.decode()) == (200, True)
    times = AbnormalRefund.objects.get(pk=refund_no).times
    client.post(address, chosen)
    assert AbnormalRefund.objects.get(pk=refund_no).times == times
    reader.user_permissions.add(Permission.objects.get(codename="change_abnormalrefund"))
    client.force_login(get_user_model().objects.get(pk=reader.pk))  # a session ends with the role it began with
    for action in ("ask_again", "retry"):
        assert client.post(address, {**chosen, "action": action}).status_code == 302
    assert AbnormalRefund.objects.get(pk=refund_no).times == times + 2
    assert orders.get_order(order_no=refund_no).state is OrderState.PENDING


# --- The reservation -------------------------------------------------------------------------------------------------

STEPS = st.lists(st.tuples(st.sampled_from(["reserve", "refunded", "given back"]), st.integers(1, 700)), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_property_reservations_never_exceed_what_was_paid(world: worlds.World, steps: list[tuple[str, int]]) -> None:
    """Against a model of three numbers: each step is taken exactly when the model allows it."""
    order_no = worlds.give_money(world.employees[0], AMOUNT_FEN)
    refunding = refunded = 0
    for name, amount_fen in steps:
        if name == "reserve":
            is_allowed = refunding + refunded + amount_fen <= AMOUNT_FEN
            step = partial(advancing.reserve_refund, order_no=order_no, amount_fen=amount_fen)
        else:
            is_allowed = amount_fen <= refunding
            done = name == "refunded"
            step = partial(advancing.finish_refund, order_no=order_no, amount_fen=amount_fen, is_refunded=done)
        if not is_allowed:
            with pytest.raises((RefundTooLarge, Broken)):
                opening.in_transaction(order_no, step)
        else:
            opening.in_transaction(order_no, step)
            refunding += amount_fen if name == "reserve" else -amount_fen
            refunded += amount_fen if name == "refunded" else 0
        assert reserved(order_no) == (refunding, refunded)
    opening.in_transaction(order_no, partial(put_back, order_no, refunding, refunded))


def put_back(order_no: str, refunding_fen: int, refunded_fen: int) -> None:
    """No refund stands behind the test's reservations, and the books of later tests are compared with the orders."""
    table = ORDER_TABLES[numbers.table_of(order_no)].objects.using(orders.order_alias(order_no))
    assert table.filter(pk=order_no, refunding_fen=refunding_fen, refunded_fen=refunded_fen).update(
        refunding_fen=0, refunded_fen=0
    )

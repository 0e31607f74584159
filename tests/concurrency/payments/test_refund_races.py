"""Fifty refunds of one payment at once: real threads, real commits; together they never exceed it. And a control."""

from __future__ import annotations

import uuid
from collections import Counter
from functools import partial

import pytest

from foundation import clock
from funds import selectors as funds
from funds.domain.entries import enterprise_account
from orders import selectors as orders
from orders.domain.records import OrderRecord
from orders.domain.states import OrderState
from orders.services import advancing
from orders.services.advancing import RefundTooLarge
from payments.domain.people import Person
from payments.services import business_payments, refunds
from tests import worlds
from tests.books import assert_books_balance
from tests.concurrency.foundation.crowd import together
from tests.integration.payments.business import open_shop

pytestmark = pytest.mark.usefixtures("committed_db")
RACERS = 50
AMOUNT_FEN = 1_000
EACH_FEN = 30
FITTING = AMOUNT_FEN // EACH_FEN


@pytest.fixture
def world() -> worlds.World:
    return worlds.make_world(1)


def wallet_payment(world: worlds.World) -> str:
    """A business order paid from a wallet; the enterprise has more than that, so only the reservation can refuse."""
    payer = world.employees[0]
    worlds.give_money(payer, 10 * AMOUNT_FEN)
    shop = open_shop(world.enterprise.pk)
    who = Person(employee_id=payer.pk, enterprise_id=payer.enterprise_id)
    made = []
    for amount_fen in (AMOUNT_FEN, 9 * AMOUNT_FEN):
        content = {"business_order_no": uuid.uuid4().hex, "amount_fen": amount_fen, "subject": "Ticket"}
        order_no = str(shop.post(content, key=uuid.uuid4().hex).json()["order"]["order_no"])
        business_payments.pay_from_wallet(order_no=order_no, payer=who, now=clock.now())
        made.append(order_no)
    return made[0]


def refund(order_no: str, refund_no: str) -> OrderRecord:
    return refunds.refund_order(
        refund_no=refund_no,
        order_no=order_no,
        amount_fen=EACH_FEN,
        reason="race",
        requested_by="app:test",
        now=clock.now(),
    )


def race(order_no: str) -> Counter[str]:
    """What became of RACERS refunds at once."""
    refund_nos = [refunds.issue_refund_number(order_no=order_no) for _ in range(RACERS)]
    results = together([partial(refund, order_no, refund_no) for refund_no in refund_nos])
    for row in results:
        if isinstance(row, OrderRecord):  # no provider knows the payment: the check jobs of later tests shall not ask
            advancing.schedule_check(attempt_no=row.attempts[0].attempt_no, at=None)
    return Counter(row.state.value if isinstance(row, OrderRecord) else type(row).__name__ for row in results)


def refunds_of(order_no: str) -> list[OrderRecord]:
    return [row for row in orders.search(text=order_no) if row.original_order_no == order_no]


def test_fifty_refunds_from_the_wallet_never_exceed_the_payment(world: worlds.World) -> None:
    order_no = wallet_payment(world)
    assert race(order_no) == {"SUCCESS": FITTING, "RefundTooLarge": RACERS - FITTING}
    order = orders.get_order(order_no=order_no)
    assert (order.refunding_fen, order.refunded_fen) == (0, FITTING * EACH_FEN)
    assert worlds.wallet_of(world.employees[0]) == (FITTING * EACH_FEN, 0)
    balance = funds.get_wallet(account=enterprise_account(world.enterprise.pk))
    assert balance.available_fen == 10 * AMOUNT_FEN - FITTING * EACH_FEN
    kinds = Counter(journal.kind for journal in funds.list_journals(order_no=order_no))
    assert kinds == {"recharge": 1, "refund_done": FITTING}
    assert_books_balance()


def test_fifty_refunds_through_a_channel_never_exceed_the_payment(world: worlds.World) -> None:
    employee = world.employees[0]
    worlds.give_money(employee, 9 * AMOUNT_FEN)
    order_no = worlds.give_money(employee, AMOUNT_FEN)
    assert race(order_no) == {"PENDING": FITTING, "RefundTooLarge": RACERS - FITTING}
    order = orders.get_order(order_no=order_no)
    assert (order.refunding_fen, order.refunded_fen) == (FITTING * EACH_FEN, 0)
    assert worlds.wallet_of(employee) == (10 * AMOUNT_FEN - FITTING * EACH_FEN, 0)
    kinds = Counter(journal.kind for journal in funds.list_journals(order_no=order_no))
    assert kinds == {"recharge": 1, "refund_start": FITTING}
    assert_books_balance()


def test_the_same_refund_fifty_times_at_once_is_one(world: worlds.World) -> None:
    order_no = wallet_payment(world)
    refund_no = refunds.issue_refund_number(order_no=order_no)
    results = together([partial(refund, order_no, refund_no) for _ in range(RACERS)])
    assert {row.order_no if isinstance(row, OrderRecord) else repr(row) for row in results} == {refund_no}
    order = orders.get_order(order_no=order_no)
    assert (order.refunding_fen, order.refunded_fen) == (0, EACH_FEN)
    assert worlds.wallet_of(world.employees[0]) == (EACH_FEN, 0)
    assert [row.state for row in refunds_of(order_no)] == [OrderState.SUCCESS]


def test_control_a_reservation_read_before_it_is_written_does_exceed_it(
    world: worlds.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same race against the usual mistake, "look, then write", without the lock: it must be seen to fail.

    The table's CHECK refuses what would go beyond, so the mistake shows as lost reservations: more refunds are let
    through than the order then knows of.
    """
    order_no = worlds.give_money(world.employees[0], AMOUNT_FEN)
    worlds.give_money(world.employees[0], 9 * AMOUNT_FEN)

    def reserve_carelessly(*, order_no: str, amount_fen: int) -> None:
        order = orders.get_order(order_no=order_no)
        if order.refunding_fen + order.refunded_fen + amount_fen > order.amount_fen:
            raise RefundTooLarge({"order_no": order_no})
        advancing._paid(order_no, refunding_fen__gte=0).update(refunding_fen=order.refunding_fen + amount_fen)

    def read_only(*, order_no: str) -> OrderRecord:
        return orders.get_order(order_no=order_no)

    monkeypatch.setattr(refunds.advancing, "lock_order", read_only)
    monkeypatch.setattr(refunds.advancing, "reserve_refund", reserve_carelessly)
    let_through = race(order_no)["PENDING"]
    order = orders.get_order(order_no=order_no)
    assert let_through * EACH_FEN > order.refunding_fen
    assert let_through > FITTING
    assert worlds.wallet_of(world.employees[0])[0] == 10 * AMOUNT_FEN - let_through * EACH_FEN

"""Transfers between colleagues: once, exact, with a receipt, through crashes and refusals."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from foundation import clock, outbox
from foundation.errors import InvalidRequest, NotFound
from funds.services.ledger import InsufficientFunds
from identity.models import Employee
from orders import selectors as orders
from orders.domain.numbers import Prefix
from orders.domain.states import OrderKind, OrderState
from orders.services import numbers
from payments.domain.people import Person
from payments.services import outcomes, transferring
from tests import worlds
from tests.books import assert_books_balance

pytestmark = pytest.mark.usefixtures("committed_db")


class Crash(BaseException):
    """Stands for a process that dies."""


@pytest.fixture
def people() -> list[Employee]:
    world = worlds.make_world(3)
    worlds.give_money(world.employees[0], 1_000)
    return world.employees


def new_no(payer: Employee) -> str:
    return numbers.issue(prefix=Prefix.TRANSFER, account_id=payer.pk)


def transfer(payer: Employee, payee: Employee, amount_fen: int, order_no: str = "", memo: str = "lunch") -> Any:
    return transferring.transfer(
        order_no=order_no or new_no(payer),
        payer=Person(employee_id=payer.pk, enterprise_id=payer.enterprise_id),
        to_code=payee.code,
        amount_fen=amount_fen,
        memo=memo,
        now=clock.now(),
    )


def receipts_of(employee: Employee) -> list[tuple[str, int, str]]:
    found = orders.list_orders(employee_id=employee.pk, limit=50, kind=OrderKind.TRANSFER_RECEIPT).items
    return [(order.state.value, order.amount_fen, order.original_order_no) for order in found]


def test_money_moves_and_the_payee_has_a_receipt(people: list[Employee]) -> None:
    order = transfer(people[0], people[1], 300)
    assert (order.kind, order.state, order.subject) == (OrderKind.TRANSFER, OrderState.SUCCESS, "lunch")
    assert [worlds.wallet_of(person) for person in people] == [(700, 0), (300, 0), (0, 0)]
    assert receipts_of(people[1]) == [("SUCCESS", 300, order.order_no)]
    assert_books_balance()


def test_repeating_moves_nothing(people: list[Employee]) -> None:
    order_no = new_no(people[0])
    for _ in range(3):
        transfer(people[0], people[1], 300, order_no)
    assert worlds.wallet_of(people[1]) == (300, 0)
    assert len(receipts_of(people[1])) == 1


def test_too_much_moves_nothing_and_closes_the_order(people: list[Employee]) -> None:
    order_no = new_no(people[0])
    with pytest.raises(InsufficientFunds):
        transfer(people[0], people[1], 1_001, order_no)
    assert [worlds.wallet_of(person) for person in people[:2]] == [(1_000, 0), (0, 0)]
    assert orders.get_order(order_no=order_no).state is OrderState.CLOSED
    assert receipts_of(people[1]) == []


def test_oneself_strangers_and_bad_memos_are_refused(people: list[Employee]) -> None:
    stranger = worlds.make_world(4).employees[3]
    for payee, memo, error in (
        (people[0], "x", InvalidRequest),
        (stranger, "x", NotFound),
        (people[1], "a\nb", InvalidRequest),
        (people[1], "x" * 61, InvalidRequest),
    ):
        with pytest.raises(error):
            transfer(people[0], payee, 10, memo=memo)
    assert worlds.wallet_of(people[0]) == (1_000, 0)
    assert orders.list_orders(employee_id=people[0].pk, limit=9, kind=OrderKind.TRANSFER).items == ()


def test_a_crash_between_ledger_and_order_is_completed_by_the_event(
    people: list[Employee], monkeypatch: pytest.MonkeyPatch
) -> None:
    order_no = new_no(people[0])

    def die(**_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "complete_order", die)
        with pytest.raises(Crash):
            transfer(people[0], people[1], 300, order_no)
    assert worlds.wallet_of(people[1]) == (300, 0)
    assert orders.get_order(order_no=order_no).state is OrderState.PENDING
    outbox.drain(using="funds", now=clock.now)
    assert orders.get_order(order_no=order_no).state is OrderState.SUCCESS
    assert receipts_of(people[1]) == [("SUCCESS", 300, order_no)]
    assert_books_balance()


def test_impatient_clicks_on_one_order_deduct_once(people: list[Employee]) -> None:
    """The second scene of the second requirements text, for one order."""
    order_no, start, failures = new_no(people[0]), threading.Barrier(8), []

    def click() -> None:
        try:
            start.wait()
            transfer(people[0], people[1], 300, order_no)
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [worlds.wallet_of(person)[0] for person in people[:2]] == [700, 300]
    assert len(receipts_of(people[1])) == 1
    states = sorted(attempt.state.value for attempt in orders.get_order(order_no=order_no).attempts)
    assert set(states) <= {"CLOSED", "SUCCESS"}
    assert states.count("SUCCESS") == 1


def test_over_http_with_an_idempotency_key(people: list[Employee]) -> None:
    headers = {"Authorization": f"Bearer {worlds.token_of(people[0])}", "Idempotency-Key": uuid.uuid4().hex}
    body = {"to_employee": people[1].code, "amount_fen": 300, "memo": "午饭"}

    def post(content: dict[str, Any], **more: str) -> Any:
        return Client().post("/api/v1/transfers", content, content_type="application/json", headers={**headers, **more})

    first, again = post(body), post(body)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert first.json()["order"]["kind"] == "TRANSFER"
    assert worlds.wallet_of(people[1]) == (300, 0)
    other_key = {"Idempotency-Key": uuid.uuid4().hex}
    poor = post({**body, "amount_fen": 701}, **other_key)
    assert (poor.status_code, poor.json()["error"]["code"]) == (422, "insufficient_funds")
    unknown = post({**body, "to_employee": "nobody"}, **{"Idempotency-Key": uuid.uuid4().hex})
    assert unknown.status_code == 404
    assert worlds.wallet_of(people[0]) == (700, 0)

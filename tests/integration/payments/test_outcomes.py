"""Booking a verified success: once, in any order, and through a crash between the two commits."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from foundation.errors import NotFound
from foundation.models import Alert, OutboxEvent
from funds import selectors as funds
from identity.models import Employee
from orders import selectors as orders
from orders.domain.records import NewOrder, OrderRecord
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.services import advancing, numbers, opening
from payments import callbacks
from payments.domain import events
from payments.services import outcomes
from tests import worlds
from tests.books import assert_books_balance

NOW = worlds.NOW
pytestmark = pytest.mark.usefixtures("committed_db")


class Crash(BaseException):
    """Stands for a process that dies: nothing may catch it."""


@pytest.fixture
def employee() -> Employee:
    return worlds.make_world(1).employees[0]


def open_order(employee: Employee, amount_fen: int = 500) -> OrderRecord:
    order_no = numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=employee.pk)
    new = NewOrder(
        order_no=order_no,
        kind=OrderKind.RECHARGE,
        amount_fen=amount_fen,
        employee_id=employee.pk,
        enterprise_id=employee.enterprise_id,
    )
    opening.open_order(new=new, now=NOW)
    open_attempt(order_no, amount_fen)
    return orders.get_order(order_no=order_no)


def open_attempt(order_no: str, amount_fen: int = 500) -> str:
    attempt_no = numbers.issue_attempt(order_no=order_no)
    opening.open_attempt(
        order_no=order_no, attempt_no=attempt_no, channel="wechat", scene="native", amount_fen=amount_fen, now=NOW
    )
    return attempt_no


def success(attempt_no: str, amount_fen: int = 500) -> outcomes.Success:
    return outcomes.Success(attempt_no=attempt_no, amount_fen=amount_fen, provider_no=f"wx{attempt_no}", paid_at=NOW)


def test_success_credits_and_completes(employee: Employee) -> None:
    order = open_order(employee)
    booking = outcomes.record_success(success=success(order.attempts[0].attempt_no), now=NOW)
    present = orders.get_order(order_no=order.order_no)
    assert booking is outcomes.Booking.EFFECTIVE
    assert worlds.wallet_of(employee) == (500, 0)
    assert (present.state, present.effective_attempt_no) == (OrderState.SUCCESS, order.attempts[0].attempt_no)
    assert present.attempts[0].is_effective


def test_repeat_moves_nothing(employee: Employee) -> None:
    order = open_order(employee)
    for expected in (outcomes.Booking.EFFECTIVE, outcomes.Booking.REPEATED, outcomes.Booking.REPEATED):
        assert outcomes.record_success(success=success(order.attempts[0].attempt_no), now=NOW) is expected
    assert worlds.wallet_of(employee) == (500, 0)


def test_wrong_amount_moves_nothing_and_alerts(employee: Employee) -> None:
    order = open_order(employee)
    attempt_no = order.attempts[0].attempt_no
    with pytest.raises(outcomes.AmountMismatch):
        outcomes.record_success(success=success(attempt_no, 499), now=NOW)
    assert worlds.wallet_of(employee) == (0, 0)
    assert orders.get_order(order_no=order.order_no).state is OrderState.PENDING
    assert Alert.objects.get(code="amount_mismatch", subject=attempt_no).times == 1


def test_unknown_attempt_is_not_found() -> None:
    with pytest.raises(NotFound):
        outcomes.record_success(success=success("AT1000000000" + "20261122100000000" + "001"), now=NOW)


def test_twelve_threads_with_two_attempts_book_one_and_return_one(employee: Employee) -> None:
    order = open_order(employee)
    attempts = [order.attempts[0].attempt_no, open_attempt(order.order_no)]
    start = threading.Barrier(12)
    seen: list[outcomes.Booking] = []

    def notify(index: int) -> None:
        start.wait()
        seen.append(outcomes.record_success(success=success(attempts[index % 2]), now=NOW))

    threads = [threading.Thread(target=notify, args=(index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(
        [outcomes.Booking.EFFECTIVE, outcomes.Booking.TO_RETURN] + [outcomes.Booking.REPEATED] * 10
    )
    assert worlds.wallet_of(employee) == (500, 0)
    kinds = sorted(journal.kind for journal in funds.list_journals(order_no=order.order_no))
    assert kinds == ["receipt_to_return", "recharge"]
    assert OutboxEvent.objects.using("funds").filter(topic=events.RECEIPT_TO_RETURN, key__in=attempts).count() == 1


def test_success_after_close_goes_to_payments_to_return(employee: Employee) -> None:
    order = open_order(employee)
    attempt_no = order.attempts[0].attempt_no
    advancing.advance_attempt(attempt_no=attempt_no, target=AttemptState.CLOSED)
    advancing.advance_order(order_no=order.order_no, target=OrderState.CLOSED)
    assert outcomes.record_success(success=success(attempt_no), now=NOW) is outcomes.Booking.TO_RETURN
    assert worlds.wallet_of(employee) == (0, 0)
    assert orders.get_order(order_no=order.order_no).state is OrderState.CLOSED


def crash_after_ledger(order: OrderRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dies exactly between the ledger's commit and the order's."""
    with monkeypatch.context() as patch:

        def die(**_: object) -> None:
            raise Crash

        patch.setattr(outcomes, "complete_order", die)
        with pytest.raises(Crash):
            outcomes.record_success(success=success(order.attempts[0].attempt_no), now=NOW)
    assert worlds.wallet_of(employee_of(order)) == (500, 0)
    assert orders.get_order(order_no=order.order_no).state is OrderState.PENDING


def employee_of(order: OrderRecord) -> Employee:
    return Employee.objects.get(pk=order.employee_id)


def test_crash_between_the_commits_is_repaired_by_the_event(
    employee: Employee, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = open_order(employee)
    crash_after_ledger(order, monkeypatch)
    row = OutboxEvent.objects.using("funds").get(topic=events.ORDER_PAID, key=order.order_no)
    from foundation.outbox import Event

    event = Event(alias="funds", topic=row.topic, key=row.key, payload=row.payload, created_at=row.created_at, tries=1)
    for _ in range(2):
        callbacks.on_order_paid(event)
    present = orders.get_order(order_no=order.order_no)
    assert (present.state, present.paid_at) == (OrderState.SUCCESS, NOW)
    assert worlds.wallet_of(employee) == (500, 0)
    assert_books_balance()


def test_crash_between_the_commits_is_repaired_by_asking_again(
    employee: Employee, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = open_order(employee)
    crash_after_ledger(order, monkeypatch)
    attempt_no = order.attempts[0].attempt_no
    assert outcomes.record_success(success=success(attempt_no), now=NOW) is outcomes.Booking.EFFECTIVE
    assert orders.get_order(order_no=order.order_no).state is OrderState.SUCCESS
    assert worlds.wallet_of(employee) == (500, 0)


def test_second_attempt_after_such_a_crash_is_not_taken_for_the_first(
    employee: Employee, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = open_order(employee)
    second = open_attempt(order.order_no)
    crash_after_ledger(order, monkeypatch)
    assert outcomes.record_success(success=success(second), now=NOW + dt.timedelta(seconds=1)) is (
        outcomes.Booking.TO_RETURN
    )
    assert worlds.wallet_of(employee) == (500, 0)
    outcomes.record_success(success=success(order.attempts[0].attempt_no), now=NOW)
    present = orders.get_order(order_no=order.order_no)
    assert (present.state, present.effective_attempt_no) == (OrderState.SUCCESS, order.attempts[0].attempt_no)

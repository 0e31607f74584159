"""Orders whose money goes to a merchant's own account: memo lines only, nobody's balance, nothing in transit."""

from __future__ import annotations

import pytest

from foundation.models import OutboxEvent
from funds.models import Journal, Posting
from gateway.ports import Outcome, Result
from identity.models import Employee
from orders import selectors as orders
from orders.domain.numbers import Prefix
from orders.domain.records import NewOrder, OrderRecord
from orders.domain.states import OrderKind, OrderState
from orders.services import advancing, numbers, opening
from orders.services.advancing import RefundTooLarge
from payments.domain import events
from payments.services import closing, outcomes, refund_results, refunds
from tests import worlds
from tests.books import assert_books_balance

NOW = worlds.NOW
AMOUNT_FEN = 500
pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def employee() -> Employee:
    return worlds.make_world(1).employees[0]


@pytest.fixture
def order(employee: Employee) -> OrderRecord:
    new = NewOrder(
        order_no=numbers.issue(prefix=Prefix.COLLECT, account_id=employee.pk),
        kind=OrderKind.COLLECT,
        amount_fen=AMOUNT_FEN,
        employee_id=employee.pk,
        enterprise_id=employee.enterprise_id,
    )
    opening.open_order(new=new, now=NOW)
    attempt_on(new.order_no)
    return orders.get_order(order_no=new.order_no)


def attempt_on(order_no: str) -> str:
    attempt_no = numbers.issue_attempt(order_no=order_no)
    opening.open_attempt(
        order_no=order_no, attempt_no=attempt_no, channel="wechat", scene="native", amount_fen=AMOUNT_FEN, now=NOW
    )
    return attempt_no


def pay(attempt_no: str) -> outcomes.Booking:
    success = outcomes.Success(attempt_no=attempt_no, amount_fen=AMOUNT_FEN, provider_no=f"wx{attempt_no}", paid_at=NOW)
    return outcomes.record_success(success=success, now=NOW)


def kinds(order_no: str) -> list[str]:
    return list(Journal.objects.using("funds").filter(order_no=order_no).order_by("id").values_list("kind", flat=True))


def memo(employee: Employee) -> dict[str, int]:
    """Sum of every posting of the enterprise's memo accounts, by code."""
    found: dict[str, int] = {}
    rows = Posting.objects.using("funds").filter(
        account__owner_id=str(employee.enterprise_id), account__owner_kind="PLATFORM"
    )
    for code, amount_fen in rows.values_list("account__code", "amount_fen"):
        found[code] = found.get(code, 0) + amount_fen
    return found


def refund(order: OrderRecord, amount_fen: int) -> OrderRecord:
    return refunds.refund_order(
        refund_no=refunds.issue_refund_number(order_no=order.order_no),
        order_no=order.order_no,
        amount_fen=amount_fen,
        reason="Goods returned",
        requested_by="merchant",
        now=NOW,
    )


def answer(refund_no: str, outcome: Outcome) -> None:
    refund_results.apply(refund_no=refund_no, result=Result(outcome=outcome), now=NOW)


def test_paid_and_repeated_it_stands_in_the_memo_once(employee: Employee, order: OrderRecord) -> None:
    attempt_no = order.attempts[0].attempt_no
    assert [pay(attempt_no), pay(attempt_no)] == [outcomes.Booking.EFFECTIVE, outcomes.Booking.REPEATED]
    assert orders.get_order(order_no=order.order_no).state is OrderState.SUCCESS
    assert kinds(order.order_no) == ["collected"]
    assert memo(employee) == {"9010": -AMOUNT_FEN, "9020": AMOUNT_FEN}
    assert worlds.wallet_of(employee) == (0, 0)
    assert OutboxEvent.objects.using("funds").filter(topic=events.ORDER_PAID, key=order.order_no).count() == 1
    assert_books_balance()


def test_a_second_payment_is_returned_from_the_merchants_account(employee: Employee, order: OrderRecord) -> None:
    second = attempt_on(order.order_no)
    assert [pay(order.attempts[0].attempt_no), pay(second)] == [
        outcomes.Booking.EFFECTIVE,
        outcomes.Booking.TO_RETURN,
    ]
    assert memo(employee) == {"9010": -2 * AMOUNT_FEN, "9020": 2 * AMOUNT_FEN}
    give_back(OutboxEvent.objects.using("funds").get(topic=events.RECEIPT_TO_RETURN, key=second))
    assert kinds(order.order_no) == ["collected", "collected_to_return", "collection_refunded"]
    assert memo(employee) == {"9010": -AMOUNT_FEN, "9020": AMOUNT_FEN}
    assert_books_balance()


def test_paid_after_the_close_it_is_returned(employee: Employee, order: OrderRecord) -> None:
    attempt_no = order.attempts[0].attempt_no
    closing._mark_closed(order.attempts[0], "expired", NOW)
    assert closing.end_unpaid(order_no=order.order_no, reason="expired", now=NOW)
    assert pay(attempt_no) is outcomes.Booking.TO_RETURN
    assert orders.get_order(order_no=order.order_no).state is OrderState.CLOSED
    give_back(OutboxEvent.objects.using("funds").get(topic=events.RECEIPT_TO_RETURN, key=attempt_no))
    assert kinds(order.order_no) == ["collected_to_return", "collection_refunded"]
    assert memo(employee) == {"9010": 0, "9020": 0}
    assert_books_balance()


def give_back(event: OutboxEvent) -> None:
    """Delivers the event twice and lets the provider answer twice: one return."""
    for _ in range(2):
        refunds.return_receipt(**event.payload, now=NOW)
    asked = OutboxEvent.objects.using("funds").filter(topic=events.REFUND_REQUESTED, key=event.payload["refund_no"])
    assert asked.count() == 1
    for _ in range(2):
        answer(event.payload["refund_no"], Outcome.SUCCESS)


def test_refunds_in_parts_leave_the_memo_when_the_provider_has_done_them(
    employee: Employee, order: OrderRecord
) -> None:
    pay(order.attempts[0].attempt_no)
    first = refund(order, 200)
    assert first.state is OrderState.PENDING
    assert kinds(order.order_no) == ["collected"]
    with pytest.raises(RefundTooLarge):
        refund(order, 301)
    answer(first.order_no, Outcome.SUCCESS)
    assert memo(employee) == {"9010": -300, "9020": 300}
    second = refund(order, 300)
    answer(second.order_no, Outcome.SUCCESS)
    present = orders.get_order(order_no=order.order_no)
    assert (present.refunding_fen, present.refunded_fen) == (0, AMOUNT_FEN)
    assert kinds(order.order_no) == ["collected", "collection_refunded", "collection_refunded"]
    assert memo(employee) == {"9010": 0, "9020": 0}
    assert worlds.wallet_of(employee) == (0, 0)
    assert_books_balance()


def test_a_refund_that_the_provider_closed_moves_nothing_and_gives_the_reservation_back(
    employee: Employee, order: OrderRecord
) -> None:
    pay(order.attempts[0].attempt_no)
    asked = refund(order, 200)
    for _ in range(2):
        answer(asked.order_no, Outcome.FAILED)
    present = orders.get_order(order_no=order.order_no)
    assert (present.refunding_fen, present.refunded_fen) == (0, 0)
    assert orders.get_order(order_no=asked.order_no).state is OrderState.FAILED
    assert kinds(order.order_no) == ["collected"]
    assert memo(employee) == {"9010": -AMOUNT_FEN, "9020": AMOUNT_FEN}
    assert_books_balance()


def test_an_order_behind_its_memo_is_not_closed(order: OrderRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    class Crash(BaseException):
        pass

    def die(**_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(advancing, "advance_order", die)
        with pytest.raises(Crash):
            pay(order.attempts[0].attempt_no)
    closing._mark_closed(order.attempts[0], "expired", NOW)
    assert not closing.end_unpaid(order_no=order.order_no, reason="expired", now=NOW)
    assert pay(order.attempts[0].attempt_no) is outcomes.Booking.EFFECTIVE
    assert kinds(order.order_no) == ["collected"]
    assert_books_balance()

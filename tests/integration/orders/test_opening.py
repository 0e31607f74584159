"""Opening by literal INSERTs: one commit, the first answer again, nothing moved after a refusal, the channel."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from django.db import IntegrityError, connections, transaction
from django.test.utils import CaptureQueriesContext

from orders import selectors
from orders.domain import numbers as rules
from orders.domain.records import NewAttempt, OrderRecord
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.models import ATTEMPT_TABLES, ORDER_TABLES, WrongTable
from orders.services import numbers, opening
from tests.integration.orders.samples import NOW, ids, new_attempt, new_order, open_order, open_paid_by

database = pytest.mark.django_db(databases="__all__")


def sql_of(order_no: str, work: object) -> list[str]:
    with CaptureQueriesContext(connections[selectors.order_alias(order_no)]) as captured:
        work()  # type: ignore[operator]
    return [query["sql"].split(" ", 1)[0] for query in captured.captured_queries]


@database
def test_order_and_first_attempt_stand_there_as_answered() -> None:
    new = new_order(next(ids), subject="Tea", business_no="B", expires_at=NOW + dt.timedelta(minutes=30))
    attempt = NewAttempt(
        attempt_no=numbers.issue_attempt(order_no=new.order_no),
        channel="alipay",
        scene="page",
        amount_fen=100,
        next_check_at=NOW + dt.timedelta(seconds=5),
    )
    order = opening.open_with_attempt(new=new, attempt=attempt, now=NOW)
    assert selectors.get_order(order_no=new.order_no) == order
    assert (order.state, order.channel, order.created_at) == (OrderState.PENDING, "alipay", NOW)
    assert [(row.attempt_no, row.state) for row in order.attempts] == [(attempt.attempt_no, AttemptState.CREATED)]


def test_order_and_first_attempt_are_two_inserts_in_one_commit(committed_db: None) -> None:
    new = new_order(next(ids))
    attempt = new_attempt(new.order_no)
    selectors.find_order(order_no=new.order_no)  # connects
    sent = sql_of(new.order_no, lambda: opening.open_with_attempt(new=new, attempt=attempt, now=NOW))
    assert [word for word in sent if word not in {"START", "COMMIT", "BEGIN"}] == ["INSERT", "INSERT"]
    alone = new_order(next(ids))
    selectors.find_order(order_no=alone.order_no)
    assert sql_of(alone.order_no, lambda: opening.open_order(new=alone, now=NOW)) == ["INSERT"]


@database
def test_opening_again_returns_the_first_with_its_attempt_and_adds_none() -> None:
    order = open_paid_by(next(ids), "wechat")
    same = new_order(order.employee_id)
    same = type(same)(**{**vars(same), "order_no": order.order_no})
    again = opening.open_with_attempt(
        new=same, attempt=new_attempt(order.order_no, channel="alipay"), now=NOW + dt.timedelta(seconds=9)
    )
    assert again == order
    assert selectors.get_order(order_no=order.order_no) == order
    other = type(same)(**{**vars(same), "amount_fen": 101})
    for refuse in (
        lambda: opening.open_with_attempt(new=other, attempt=new_attempt(order.order_no), now=NOW),
        lambda: opening.open_order(new=other, now=NOW),
    ):
        with pytest.raises(opening.OrderConflict):
            refuse()
    assert selectors.get_order(order_no=order.order_no) == order


@database
def test_an_attempt_number_that_is_taken_leaves_no_order_behind() -> None:
    first = open_paid_by(next(ids), "wechat")
    while True:
        new = new_order(next(ids))
        if rules.table_of(new.order_no) == rules.table_of(first.order_no):
            break
    taken = NewAttempt(attempt_no=first.attempts[0].attempt_no, channel="wechat", scene="native", amount_fen=100)
    with pytest.raises(IntegrityError):
        opening.open_with_attempt(new=new, attempt=taken, now=NOW)
    assert selectors.find_order(order_no=new.order_no) is None
    assert selectors.get_order(order_no=first.order_no) == first


@database
def test_an_attempt_of_another_table_is_refused_and_nothing_stands_there() -> None:
    new = new_order(next(ids))
    stray = (
        "AT1" + new_attempt(new.order_no).attempt_no[3:6] + f"{(rules.table_of(new.order_no) + 1) % 16:X}" + "0" * 25
    )
    attempt = NewAttempt(attempt_no=stray, channel="wechat", scene="", amount_fen=100)
    with pytest.raises(WrongTable):
        opening.open_with_attempt(new=new, attempt=attempt, now=NOW)
    assert selectors.find_order(order_no=new.order_no) is None
    order = open_order(next(ids))
    stray = stray[:6] + f"{(rules.table_of(order.order_no) + 1) % 16:X}" + stray[7:]
    with pytest.raises(WrongTable):
        opening.open_attempt(
            order_no=order.order_no, attempt_no=stray, channel="wechat", scene="", amount_fen=100, now=NOW
        )
    assert selectors.get_order(order_no=order.order_no) == order


@database
@pytest.mark.parametrize("amount_fen", [0, -1])
def test_a_check_refuses_and_the_open_transaction_goes_on(amount_fen: int) -> None:
    new, good = new_order(next(ids), amount_fen=amount_fen), new_order(next(ids))
    with transaction.atomic(using=selectors.order_alias(new.order_no)):
        with pytest.raises(IntegrityError):
            opening.open_order(new=new, now=NOW)
        assert selectors.find_order(order_no=new.order_no) is None
        order = open_order(next(ids))
        with pytest.raises(IntegrityError):
            opening.open_attempt(
                order_no=order.order_no,
                attempt_no=numbers.issue_attempt(order_no=order.order_no),
                channel="wechat",
                scene="",
                amount_fen=amount_fen,
                now=NOW,
            )
        assert selectors.get_order(order_no=order.order_no) == order
        opening.open_order(new=good, now=NOW)
    assert selectors.find_order(order_no=good.order_no) is not None


@database
def test_the_order_takes_over_the_channel_of_its_newest_attempt() -> None:
    order = open_order(next(ids))
    assert order.channel == ""

    def attempt(channel: str, order_channel: str | None) -> None:
        opening.open_attempt(
            order_no=order.order_no,
            attempt_no=numbers.issue_attempt(order_no=order.order_no),
            channel=channel,
            scene="",
            amount_fen=100,
            now=NOW,
            order_channel=order_channel,
        )

    for channel, known in (("wechat", None), ("alipay", "wechat"), ("alipay", "alipay"), ("wechat", "alipay")):
        attempt(channel, known)
        assert selectors.get_order(order_no=order.order_no).channel == channel
    assert sql_of(order.order_no, lambda: attempt("wechat", "wechat")) == ["INSERT"]


@database
def test_a_repeated_attempt_returns_the_first_and_moves_no_channel() -> None:
    order = open_paid_by(next(ids), "wechat")
    first = order.attempts[0].attempt_no
    opening.open_attempt(
        order_no=order.order_no,
        attempt_no=numbers.issue_attempt(order_no=order.order_no),
        channel="alipay",
        scene="",
        amount_fen=100,
        now=NOW + dt.timedelta(seconds=1),
    )
    before = selectors.get_order(order_no=order.order_no)
    assert before.channel == "alipay"
    values = {"order_no": order.order_no, "attempt_no": first, "scene": "native", "now": NOW}
    assert opening.open_attempt(channel="wechat", amount_fen=100, **values) == order.attempts[0]
    for wrong in ({"channel": "kuaiqian", "amount_fen": 100}, {"channel": "wechat", "amount_fen": 99}):
        with pytest.raises(opening.OrderConflict):
            opening.open_attempt(**wrong, **values)
    assert selectors.get_order(order_no=order.order_no) == before


@database
def test_finished_orders_are_completed_by_a_repeat_and_a_check_is_not_hidden() -> None:
    employee_id = next(ids)
    orders = [new_order(employee_id, kind=OrderKind.REDPACKET_RECEIPT) for _ in range(40)]
    opening.insert_finished(orders=orders[:25], now=NOW)
    later = NOW + dt.timedelta(seconds=60)
    opening.insert_finished(orders=orders, now=later)
    found: list[OrderRecord] = [selectors.get_order(order_no=new.order_no) for new in orders]
    assert [order.created_at for order in found] == [NOW] * 25 + [later] * 15
    assert {(order.state, order.channel, order.attempts) for order in found} == {(OrderState.SUCCESS, "", ())}
    assert all(order.paid_at == order.closed_at == order.created_at for order in found)
    opening.insert_finished(orders=[], now=NOW)
    bad = new_order(employee_id, amount_fen=0)
    with pytest.raises(IntegrityError), transaction.atomic(using=selectors.order_alias(bad.order_no)):
        opening.insert_finished(orders=[bad], now=NOW)
    assert selectors.find_order(order_no=bad.order_no) is None


def test_eight_threads_opening_the_same_order_leave_one_order_and_one_attempt(committed_db: None) -> None:
    new = new_order(next(ids))
    attempts = [new_attempt(new.order_no) for _ in range(8)]
    answers: list[OrderRecord] = []
    gate = threading.Barrier(8)

    def work(attempt: NewAttempt) -> None:
        gate.wait()
        answers.append(opening.open_with_attempt(new=new, attempt=attempt, now=NOW))
        connections.close_all()

    threads = [threading.Thread(target=work, args=(attempt,)) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert set(answers) == {selectors.get_order(order_no=new.order_no)}
    table = rules.table_of(new.order_no)
    assert ATTEMPT_TABLES[table].objects.filter(order_no=new.order_no).count() == 1
    assert ORDER_TABLES[table].objects.filter(employee_id=new.employee_id).count() == 1

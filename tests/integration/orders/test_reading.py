"""Literal reads against the ORM's: every column, every filter, the number of statements, the limit of time."""

from __future__ import annotations

import dataclasses
import datetime as dt
import signal
from collections.abc import Callable

import pytest
from django.db import connections

from foundation.db import roles
from foundation.errors import Busy, NotFound
from orders import selectors
from orders.domain import numbers as rules
from orders.domain.records import OrderRecord
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.models import ATTEMPT_TABLES, ORDER_TABLES
from orders.selectors import lookup, sources, statements
from orders.services import advancing
from tests.integration.orders.samples import NOW, ids, open_order, open_paid_by

NOWHERE = "RC100000001202611230931643100011"
"""A well-formed number without an order."""
database = pytest.mark.django_db(databases="__all__")
SECOND = dt.timedelta(seconds=1)


def sent(alias: str) -> int:
    """Statements that this connection has sent so far, by the server's own count, this one not counted."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Questions'")
        return int(cursor.fetchone()[1]) - 1


def test_the_columns_are_those_of_the_models() -> None:
    for columns, tables in ((statements.ORDER_COLUMNS, ORDER_TABLES), (statements.ATTEMPT_COLUMNS, ATTEMPT_TABLES)):
        for model in tables:
            assert columns == tuple(field.column for field in model._meta.fields)
    moments = {field.column for model in (ORDER_TABLES[0], ATTEMPT_TABLES[0]) for field in model._meta.fields}
    assert moments >= statements.MOMENTS
    assert {name for name in moments if name.endswith("_at")} == statements.MOMENTS


@database
def test_an_order_is_read_as_its_rows_stand_there() -> None:
    employee_id = next(ids)
    at = NOW + dt.timedelta(microseconds=123_456)
    order = open_paid_by(
        employee_id, "wechat", at=at, subject="纸杯 \"x\" 'y' %s \\", business_no="B-1", expires_at=NOW + SECOND
    )
    attempt_no = order.attempts[0].attempt_no
    payment = {"kind": "code_url", "code_url": "weixin://x?a=1", "次": [1, None]}
    advancing.advance_attempt(attempt_no=attempt_no, target=AttemptState.PENDING, fields={"payment": payment})
    advancing.advance_attempt(
        attempt_no=attempt_no,
        target=AttemptState.SUCCESS,
        fields={"effective": 1, "finished_at": at + SECOND, "provider_no": "42", "result_code": "成功"},
    )
    advancing.advance_order(order_no=order.order_no, target=OrderState.SUCCESS, fields={"paid_at": at + SECOND})
    read = selectors.get_order(order_no=order.order_no)
    table = rules.table_of(order.order_no)
    row, attempt = ORDER_TABLES[table].objects.get(pk=order.order_no), ATTEMPT_TABLES[table].objects.get(pk=attempt_no)
    for name in statements.ORDER_COLUMNS:
        assert getattr(read, name) == getattr(row, name), name
    alone = selectors.get_order_row(order_no=order.order_no)
    assert (alone, len(read.attempts)) == (dataclasses.replace(read, attempts=()), 1)
    assert (read.created_at, read.paid_at, read.closed_at) == (at, at + SECOND, None)
    assert (read.kind, read.state, read.channel) == (OrderKind.RECHARGE, OrderState.SUCCESS, "wechat")
    (found,) = read.attempts
    assert found == selectors.get_attempt(attempt_no=attempt_no)
    for name in statements.ATTEMPT_COLUMNS:
        if name != "effective":
            assert getattr(found, name) == getattr(attempt, name), name
    assert (found.payment, found.is_effective, found.next_check_at) == (payment, True, None)
    assert (type(read.kind), type(read.state), type(found.state)) == (OrderKind, OrderState, AttemptState)


@database
def test_attempts_come_oldest_first_and_an_order_may_have_none() -> None:
    from orders.services import numbers, opening

    order = open_order(next(ids))
    assert selectors.get_order(order_no=order.order_no).attempts == ()
    made = []
    for seconds in (5, 1, 3):
        number = numbers.issue_attempt(order_no=order.order_no)
        opening.open_attempt(
            order_no=order.order_no,
            attempt_no=number,
            channel="alipay",
            scene="",
            amount_fen=100,
            now=NOW + seconds * SECOND,
        )
        made.append(number)
    read = selectors.get_order(order_no=order.order_no)
    assert [attempt.attempt_no for attempt in read.attempts] == [made[1], made[2], made[0]]
    listed = selectors.list_orders(employee_id=order.employee_id, limit=1).items
    assert listed == (read,)


@database
def test_look_ups_and_lists_take_few_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    employee_id = next(ids)
    made = [open_paid_by(employee_id, "wechat", at=NOW + index * SECOND) for index in range(40)]
    number = made[0].order_no
    alias = selectors.order_alias(number)
    before = sent(alias)
    selectors.get_order(order_no=number)
    assert sent(alias) == before + 1 + 1  # the order, and our own question
    asked: list[list[str]] = []
    ask_all = sources._ask_all
    monkeypatch.setattr(
        sources, "_ask_all", lambda questions: asked.append([q[0] for q in questions]) or ask_all(questions)
    )
    first = selectors.list_orders(employee_id=employee_id, limit=20)
    selectors.list_orders(employee_id=employee_id, limit=20, before=first.next_after)
    assert [sorted(aliases) for aliases in asked] == [sorted(roles.order_aliases())] * 4
    asked.clear()
    selectors.page_orders(employee_id=employee_id, page=2, page_size=10, as_of=NOW + 99 * SECOND)
    assert len(asked) in {4, 5}


@database
def test_each_database_answers_for_itself_and_every_connection_goes_on() -> None:
    answers = sources._ask_all(
        [("orders_0", "SELECT nothing", []), ("orders_1", "SELECT %s, %s", ["%s", 2]), ("default", "SELECT 1 FROM", [])]
    )
    assert [type(answer).__name__ for answer in answers] == ["OperationalError", "tuple", "ProgrammingError"]
    assert answers[1] == (("%s", 2),)
    for alias in ("orders_0", "orders_1", "default"):
        assert sources.fetch(alias, "SELECT 7", []) == ((7,),)


def test_who_is_stopped_while_waiting_leaves_no_connection_with_an_unread_answer(committed_db: None) -> None:
    questions = [("orders_0", "SELECT SLEEP(%s)", [2]), ("orders_1", "SELECT 1", [])]
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(SystemExit("soft time limit")))
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    with pytest.raises(SystemExit):
        sources._ask_all(questions)
    for alias in ("orders_0", "orders_1"):
        assert sources.fetch(alias, "SELECT 7", []) == ((7,),)


def _world(employee_id: int) -> list[OrderRecord]:
    made = []
    for index in range(24):
        at = NOW + index * SECOND
        kind = (OrderKind.RECHARGE, OrderKind.PAYMENT)[index % 2]
        channel = ("wechat", "alipay", "wallet")[index % 3]
        order = open_paid_by(employee_id, channel, at=at, kind=kind)
        if index % 4 == 0:
            advancing.advance_order(order_no=order.order_no, target=OrderState.CLOSED, fields={"closed_at": at})
        made.append(selectors.get_order(order_no=order.order_no))
    open_paid_by(next(ids), "wechat")
    return made[::-1]


@database
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, lambda order: True),
        ({"kind": OrderKind.PAYMENT}, lambda order: order.kind is OrderKind.PAYMENT),
        ({"state": OrderState.CLOSED}, lambda order: order.state is OrderState.CLOSED),
        ({"channel": "wallet"}, lambda order: order.channel == "wallet"),
        ({"created_from": NOW + 5 * SECOND}, lambda order: order.created_at >= NOW + 5 * SECOND),
        ({"created_to": NOW + 5 * SECOND}, lambda order: order.created_at < NOW + 5 * SECOND),
        (
            {
                "kind": OrderKind.RECHARGE,
                "state": OrderState.CLOSED,
                "channel": "alipay",
                "created_from": NOW,
                "created_to": NOW + 17 * SECOND,
            },
            lambda order: order.created_at in {NOW + 4 * SECOND, NOW + 16 * SECOND},
        ),
        ({"channel": "kuaiqian"}, lambda order: False),
    ],
)
def test_filters_of_cursor_and_numbered_pages(asked: dict, expected: Callable[[OrderRecord], bool]) -> None:
    employee_id = next(ids)
    whole = [order for order in _world(employee_id) if expected(order)]
    found: list[OrderRecord] = []
    before = None
    while True:
        page = selectors.list_orders(employee_id=employee_id, limit=3, before=before, **asked)
        found += page.items
        before = page.next_after
        if before is None:
            break
    assert found == whole
    as_of = NOW + 100 * SECOND
    for number in range(1, len(whole) // 5 + 2):
        numbered = selectors.page_orders(employee_id=employee_id, page=number, page_size=5, as_of=as_of, **asked)
        assert list(numbered.items) == whole[(number - 1) * 5 : number * 5]
        assert numbered.total == len(whole)


@database
def test_states_streams_and_sweeps_read_every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "BATCH", 3)
    employee_id = next(ids)
    long_ago = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    made = [open_order(employee_id, expires_at=long_ago + index * SECOND) for index in range(30)]
    advancing.advance_order(order_no=made[3].order_no, target=OrderState.FAILED)
    states = selectors.get_states(order_nos=[order.order_no for order in made])
    assert states == {order.order_no: OrderState.FAILED if order is made[3] else OrderState.PENDING for order in made}
    assert selectors.get_states(order_nos=[]) == {}
    streamed = {order.order_no for order in selectors.iterate_orders() if order.employee_id == employee_id}
    assert streamed == {order.order_no for order in made}
    failed = [order.order_no for order in selectors.iterate_orders(state=OrderState.FAILED)]
    assert made[3].order_no in failed
    assert made[4].order_no not in failed
    expired = selectors.list_expired_orders(now=long_ago + 9 * SECOND, limit=7)
    assert expired == [made[index] for index in (0, 1, 2, 4, 5, 6, 7)]


@database
def test_due_attempts_come_longest_due_first_and_only_open_ones() -> None:
    long_ago = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    made = []
    for index in range(12):
        order = open_paid_by(next(ids), "wechat")
        attempt_no = order.attempts[0].attempt_no
        advancing.schedule_check(attempt_no=attempt_no, at=long_ago + index * SECOND)
        made.append(attempt_no)
    advancing.advance_attempt(attempt_no=made[1], target=AttemptState.CLOSED)
    due = selectors.list_due_attempts(now=long_ago + 6 * SECOND, limit=5)
    assert [attempt.attempt_no for attempt in due] == [made[index] for index in (0, 2, 3, 4, 5)]
    assert due[0] == selectors.get_attempt(attempt_no=made[0])


@database
def test_a_list_that_takes_too_long_is_refused_as_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_SECONDS", 0.05)
    with pytest.raises(Busy) as refused:
        sources.Reader().fetch("orders_0", "SELECT SLEEP(%s)", [10])
    assert refused.value.details["reason"] == "list_takes_too_long"
    assert sources.Reader().fetch("orders_0", "SELECT %s", [7]) == ((7,),)


@database
def test_numbers_that_are_not_ascii_are_not_found() -> None:
    for number in ("ＲＣ1" + "0" * 29, "RC1" + "é" * 29):
        with pytest.raises(NotFound):
            selectors.get_order(order_no=number)
    assert selectors.find_attempt(attempt_no="AT1000F" + "é" * 25) is None
    assert selectors.search(text="订单") == []

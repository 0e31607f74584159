# ruff: noqa: S608 - names of tables and columns are our own, every value is a parameter
"""Opens orders and attempts by literal INSERTs. Repeating with the same number returns the first one.

A refused INSERT undoes itself and leaves an open transaction as it was, on MariaDB and SQLite: no savepoints here.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from django.db import IntegrityError, connections

from foundation.db import roles, transactions
from foundation.errors import Broken
from orders import selectors
from orders.domain import numbers
from orders.domain.records import AttemptRecord, NewAttempt, NewOrder, OrderRecord
from orders.domain.states import AttemptState, OrderState
from orders.models import WrongTable
from orders.selectors import places, statements
from orders.selectors.statements import ATTEMPT_COLUMNS, ORDER_COLUMNS, moment

Result = TypeVar("Result")


class OrderConflict(Broken):
    """The same order number was used for another thing: a bug of the caller's, never a client's fault."""

    code = "order_conflict"


def in_transaction(order_no: str, work: Callable[[], Result]) -> Result:
    """Runs `work` in one transaction on the database that holds the order; see foundation.db.transactions.run.

    Raises Busy before `work` has begun while the order's table is being moved to another database.
    """
    alias = selectors.order_alias(order_no)

    def guarded() -> Result:
        places.assert_open(table=numbers.table_of(order_no))
        return work()

    return transactions.run(guarded, using=alias)


@places.refusal_is_busy
def open_order(*, new: NewOrder, state: OrderState = OrderState.PENDING, now: dt.datetime) -> OrderRecord:
    """Inserts an order in its table, or returns the one that stands there under the same number.

    Raises OrderConflict when that one has another kind, owner or amount. One row, one insert; commits on its own when
    no transaction is open on that database.
    """
    try:
        _insert_order(new, state=state, now=now)
    except IntegrityError as refusal:
        return _present(new, refusal)
    return _opened(new, state=state, now=now)


@places.refusal_is_busy
def open_with_attempt(*, new: NewOrder, attempt: NewAttempt, now: dt.datetime) -> OrderRecord:
    """Inserts a PENDING order and its first attempt in one commit; returns the order with the attempt.

    Repeated with the same order number it changes nothing and returns the order that stands there with the attempts it
    has, whatever `attempt` says. Raises OrderConflict as open_order. Tried again by itself on a deadlock.
    """
    alias = selectors.order_alias(new.order_no)
    new = dataclasses.replace(new, channel=attempt.channel)

    def work() -> AttemptRecord:
        _insert_order(new, state=OrderState.PENDING, now=now)
        return _insert_attempt(new.order_no, attempt, now)

    try:
        first = transactions.run(work, using=alias)
    except IntegrityError as refusal:
        return _present(new, refusal)
    return _opened(new, state=OrderState.PENDING, now=now, attempts=(first,))


@places.refusal_is_busy
def open_attempt(
    *,
    order_no: str,
    attempt_no: str,
    channel: str,
    scene: str,
    amount_fen: int,
    now: dt.datetime,
    next_check_at: dt.datetime | None = None,
    order_channel: str | None = None,
) -> AttemptRecord:
    """Inserts an attempt in state CREATED before anything is sent, or returns the one of that number.

    The order takes over the attempt's channel in the same commit. `order_channel` is the one the caller read on the
    order: where it is the same already, nothing is written there. Raises OrderConflict when the number stands for
    another order, channel or amount.
    """
    alias = selectors.order_alias(order_no)
    attempt = NewAttempt(
        attempt_no=attempt_no, channel=channel, scene=scene, amount_fen=amount_fen, next_check_at=next_check_at
    )

    def work() -> AttemptRecord:
        _note_channel(alias, order_no, channel)
        return _insert_attempt(order_no, attempt, now)

    try:
        if order_channel == channel:
            return _insert_attempt(order_no, attempt, now)
        return transactions.run(work, using=alias)
    except IntegrityError:
        found = selectors.find_attempt(attempt_no=attempt_no)
        if found is None:
            raise
        if (found.order_no, found.channel, found.amount_fen) != (order_no, channel, amount_fen):
            raise OrderConflict({"attempt_no": attempt_no}) from None
        return found


@places.refusal_is_busy
def insert_finished(*, orders: Sequence[NewOrder], now: dt.datetime) -> None:
    """Inserts orders that are already settled (receipts of a journal), in SUCCESS: one statement a table, one commit
    a database.

    Numbers that exist are left alone, so repeating a batch after a crash completes it. Rows and tables go in the order
    of their numbers, so that two batches never wait for each other in a circle.
    """
    by_table: dict[int, list[NewOrder]] = defaultdict(list)
    for new in sorted(orders, key=lambda each: each.order_no):
        by_table[numbers.table_of(new.order_no)].append(new)
    by_alias: dict[str, list[tuple[str, list[Any]]]] = defaultdict(list)
    for table, group in sorted(by_table.items()):
        alias = roles.orders_alias(table)
        values = [value for new in group for value in _order_values(new, state=OrderState.SUCCESS, now=now, ended=now)]
        by_alias[alias].append((_insert_new_orders(connections[alias].vendor, table, len(group)), values))
    for alias, inserts in by_alias.items():
        _execute_all(alias, inserts)


def _execute_all(alias: str, inserts: Sequence[tuple[str, list[Any]]]) -> None:
    def work() -> None:
        with connections[alias].cursor() as cursor:
            for statement, values in inserts:
                cursor.execute(statement, values)

    if len(inserts) == 1 or connections[alias].in_atomic_block:
        work()
    else:
        transactions.run(work, using=alias)


def _present(new: NewOrder, refusal: IntegrityError) -> OrderRecord:
    """The order that stands under the number; without one it was something else that refused ours: raised again."""
    found = selectors.find_order(order_no=new.order_no)
    if found is None:
        raise refusal
    if (found.kind, found.employee_id, found.amount_fen) != (new.kind, new.employee_id, new.amount_fen):
        raise OrderConflict({"order_no": new.order_no}) from None
    return found


def _opened(
    new: NewOrder, *, state: OrderState, now: dt.datetime, attempts: tuple[AttemptRecord, ...] = ()
) -> OrderRecord:
    return OrderRecord(
        order_no=new.order_no,
        kind=new.kind,
        state=state,
        amount_fen=new.amount_fen,
        refunding_fen=0,
        refunded_fen=0,
        subject=new.subject,
        employee_id=new.employee_id,
        enterprise_id=new.enterprise_id,
        business_no=new.business_no,
        original_order_no=new.original_order_no,
        effective_attempt_no="",
        created_at=now,
        paid_at=None,
        closed_at=None,
        expires_at=new.expires_at,
        channel=new.channel,
        attempts=attempts,
    )


# --- SQL ------------------------------------------------------------------------------------------------------------

_ORDER_MARKS = f"({', '.join(['%s'] * len(ORDER_COLUMNS))})"
_ATTEMPT_MARKS = f"({', '.join(['%s'] * len(ATTEMPT_COLUMNS))})"


@lru_cache(maxsize=1024)
def _insert_orders(table: int, count: int) -> str:
    rows = ", ".join([_ORDER_MARKS] * count)
    return f"INSERT INTO {statements.order_table(table)} ({', '.join(ORDER_COLUMNS)}) VALUES {rows}"


def _insert_new_orders(vendor: str, table: int, count: int) -> str:
    """Leaves orders alone that stand there; other refusals (a CHECK) stay errors, which INSERT IGNORE would hide."""
    leave = "ON CONFLICT (order_no) DO NOTHING" if vendor == "sqlite" else "ON DUPLICATE KEY UPDATE order_no = order_no"
    return f"{_insert_orders(table, count)} {leave}"


@lru_cache(maxsize=32)
def _insert_one_attempt(table: int) -> str:
    columns = ", ".join(ATTEMPT_COLUMNS)
    return f"INSERT INTO {statements.attempt_table(table)} ({columns}) VALUES {_ATTEMPT_MARKS}"


def _order_values(new: NewOrder, *, state: OrderState, now: dt.datetime, ended: dt.datetime | None = None) -> list[Any]:
    """Values of ORDER_COLUMNS."""
    end = moment(ended) if ended is not None else None
    return [
        new.order_no,
        new.kind.value,
        state.value,
        new.amount_fen,
        0,
        0,
        new.subject,
        new.employee_id,
        new.enterprise_id,
        new.business_no,
        new.original_order_no,
        "",
        moment(now),
        end,
        end,
        moment(new.expires_at) if new.expires_at is not None else None,
        new.channel,
    ]


def _insert_order(new: NewOrder, *, state: OrderState, now: dt.datetime) -> None:
    """The number names the table, so that a wrong one is impossible here."""
    table = numbers.table_of(new.order_no)
    with connections[roles.orders_alias(table)].cursor() as cursor:
        cursor.execute(_insert_orders(table, 1), _order_values(new, state=state, now=now))


def _insert_attempt(order_no: str, new: NewAttempt, now: dt.datetime) -> AttemptRecord:
    table = numbers.table_of(order_no)
    if numbers.table_of(new.attempt_no) != table:
        raise WrongTable(f"{new.attempt_no} belongs to table {numbers.table_of(new.attempt_no)}, not {table}")
    record = AttemptRecord(
        attempt_no=new.attempt_no,
        order_no=order_no,
        channel=new.channel,
        scene=new.scene,
        state=AttemptState.CREATED,
        amount_fen=new.amount_fen,
        provider_no="",
        payment=None,
        result_code="",
        is_effective=False,
        created_at=now,
        finished_at=None,
        next_check_at=new.next_check_at,
        tries=0,
    )
    values = [
        record.attempt_no,
        record.order_no,
        record.channel,
        record.scene,
        record.state.value,
        record.amount_fen,
        "",
        None,
        "",
        None,
        moment(now),
        None,
        moment(new.next_check_at) if new.next_check_at is not None else None,
        0,
    ]
    with connections[roles.orders_alias(table)].cursor() as cursor:
        cursor.execute(_insert_one_attempt(table), values)
    return record


def _note_channel(alias: str, order_no: str, channel: str) -> None:
    table = statements.order_table(numbers.table_of(order_no))
    with connections[alias].cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET channel = %s WHERE order_no = %s AND channel <> %s", [channel, order_no, channel]
        )

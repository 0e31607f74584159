"""One order or attempt, or many by number, always from the database that holds them: what decisions are made on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from foundation.db import roles
from foundation.errors import NotFound
from orders.domain import numbers
from orders.domain.records import AttemptRecord, OrderRecord
from orders.domain.states import OrderState
from orders.selectors import rows, statements
from orders.selectors.sources import fetch

BATCH = 2000
"""Orders of one statement while streaming: some 600 KB of memory."""


def table_of(number: str) -> int:
    """The table that a number leads to; NotFound for what is no number of ours."""
    try:
        if number.isascii():  # MariaDB refuses to compare anything else with an ascii column
            return numbers.table_of(number)
    except numbers.InvalidNumber as error:
        raise NotFound({"number": number[:64]}) from error
    raise NotFound({"number": number[:64]})


def order_alias(number: str) -> str:
    """The database that holds an order or attempt number's row; NotFound for what is no number of ours."""
    return roles.orders_alias(table_of(number))


def get_order(*, order_no: str) -> OrderRecord:
    """The order with its attempts, oldest attempt first, by one statement; NotFound when there is none."""
    table = table_of(order_no)
    found = fetch(roles.orders_alias(table), statements.whole_order(table), [order_no])
    if not found:
        raise NotFound({"order_no": order_no[:32]})
    return rows.whole_order(found)


def get_order_row(*, order_no: str) -> OrderRecord:
    """The order alone, by its key: `attempts` is empty whatever there are; NotFound when there is none.

    For callers that ask for its owner, amount or state: at millions of orders the attempts cost a second and a third
    page of the disk.
    """
    table = table_of(order_no)
    found = fetch(roles.orders_alias(table), statements.one_order(table), [order_no])
    if not found:
        raise NotFound({"order_no": order_no[:32]})
    return rows.order(found[0])


def find_order(*, order_no: str) -> OrderRecord | None:
    """As get_order, None instead of NotFound."""
    try:
        return get_order(order_no=order_no)
    except NotFound:
        return None


def get_attempt(*, attempt_no: str) -> AttemptRecord:
    """One attempt by the number its provider knows; NotFound when there is none."""
    table = table_of(attempt_no)
    found = fetch(roles.orders_alias(table), statements.one_attempt(table), [attempt_no])
    if not found:
        raise NotFound({"attempt_no": attempt_no[:32]})
    return rows.attempt(found[0])


def find_attempt(*, attempt_no: str) -> AttemptRecord | None:
    """As get_attempt, None instead of NotFound."""
    try:
        return get_attempt(attempt_no=attempt_no)
    except NotFound:
        return None


def get_states(*, order_nos: Sequence[str]) -> dict[str, OrderState]:
    """States of many orders by number, one statement a database; numbers without an order are left out."""
    found: dict[str, OrderState] = {}
    for alias, wanted in by_database(order_nos).items():
        statement, parameters = statements.states(wanted)
        found.update({number: OrderState(state) for number, state in fetch(alias, statement, parameters)})
    return found


def iterate_orders(*, state: OrderState | None = None) -> Iterator[OrderRecord]:
    """Every order of every table without attempts, in batches by key (proofs and reports): memory stays bounded."""
    condition, values = ("state = %s", [state.value]) if state is not None else ("", [])
    for table in range(roles.ORDER_TABLES):
        statement = statements.next_orders(table, condition)
        last = ""
        while True:
            found = fetch(roles.orders_alias(table), statement, [*values, last, BATCH])
            yield from map(rows.order, found)
            if len(found) < BATCH:
                break
            last = found[-1][0]


def by_database(order_nos: Sequence[str]) -> dict[str, list[tuple[int, list[str]]]]:
    """The numbers by database and table; NotFound for what is no number of ours."""
    by_table: dict[int, list[str]] = defaultdict(list)
    for number in order_nos:
        by_table[table_of(number)].append(number)
    found: dict[str, list[tuple[int, list[str]]]] = defaultdict(list)
    for table, wanted in by_table.items():
        found[roles.orders_alias(table)].append((table, wanted))
    return found

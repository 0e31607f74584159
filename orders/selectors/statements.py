# ruff: noqa: S608 - names of tables and columns are our own, every value is a parameter
"""The literal SQL of orders, for MariaDB and SQLite: one cached text per set of conditions and tables.

Building the same queries by the ORM took twenty times as long as the server needed for them. A text depends on the
kind of database, on its tables and on which conditions are given, never on values.

Moments are read as text on both databases (`CAST … AS CHAR`): MariaDB's driver would build each one in Python code,
SQLite stores text, and both write UTC without an offset in the same format.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from orders.domain.filters import OrderFilter
from orders.domain.pages import Key
from orders.models import ATTEMPT_TABLES, ORDER_TABLES

ORDER_COLUMNS = (
    "order_no",
    "kind",
    "state",
    "amount_fen",
    "refunding_fen",
    "refunded_fen",
    "subject",
    "employee_id",
    "enterprise_id",
    "business_no",
    "original_order_no",
    "effective_attempt_no",
    "created_at",
    "paid_at",
    "closed_at",
    "expires_at",
    "channel",
)
ATTEMPT_COLUMNS = (
    "attempt_no",
    "order_no",
    "channel",
    "scene",
    "state",
    "amount_fen",
    "provider_no",
    "payment",
    "result_code",
    "effective",
    "created_at",
    "finished_at",
    "next_check_at",
    "tries",
)
MOMENTS = frozenset({"created_at", "paid_at", "closed_at", "expires_at", "finished_at", "next_check_at"})

Parameters = list[Any]
Condition = tuple[str, Parameters]
"""SQL that follows WHERE, and its parameters."""


def order_table(table: int) -> str:
    return ORDER_TABLES[table]._meta.db_table


def attempt_table(table: int) -> str:
    return ATTEMPT_TABLES[table]._meta.db_table


def moment(value: dt.datetime) -> str:
    """An aware moment as both databases store it (django.db.backends: naive, UTC, no fraction when it is zero)."""
    return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat(sep=" ")


def _columns(names: Sequence[str], prefix: str = "") -> str:
    return ", ".join(f"CAST({prefix}{name} AS CHAR)" if name in MOMENTS else prefix + name for name in names)


ORDER_LIST = _columns(ORDER_COLUMNS)
ATTEMPT_LIST = _columns(ATTEMPT_COLUMNS)
_BOTH_LISTS = f"{_columns(ORDER_COLUMNS, 'o.')}, {_columns(ATTEMPT_COLUMNS, 'a.')}"


# --- conditions -----------------------------------------------------------------------------------------------------


def conditions(wanted: OrderFilter) -> Condition:
    """The filter as SQL; equalities first, as the indexes have them."""
    parts: list[str] = []
    values: Parameters = []
    for text, value in (
        ("employee_id = %s", wanted.employee_id),
        ("kind = %s", wanted.kind and wanted.kind.value),
        ("state = %s", wanted.state and wanted.state.value),
        ("channel = %s", wanted.channel or None),
        ("created_at >= %s", wanted.created_from and moment(wanted.created_from)),
        ("created_at < %s", wanted.created_to and moment(wanted.created_to)),
        ("created_at <= %s", wanted.as_of and moment(wanted.as_of)),
    ):
        if value is not None:
            parts.append(text)
            values.append(value)
    return " AND ".join(parts), values


def older(key: Key) -> Condition:
    at = moment(key[0])
    return "created_at <= %s AND (created_at < %s OR order_no < %s)", [at, at, key[1]]


def not_newer(key: Key) -> Condition:
    at = moment(key[0])
    return "created_at <= %s AND (created_at < %s OR order_no <= %s)", [at, at, key[1]]


def newer(key: Key) -> Condition:
    at = moment(key[0])
    return "created_at >= %s AND (created_at > %s OR order_no > %s)", [at, at, key[1]]


def both(one: Condition, other: Condition | None) -> Condition:
    """The two conditions at once; an empty one asks nothing."""
    if other is None or not other[0]:
        return one
    if not one[0]:
        return other
    return f"{one[0]} AND {other[0]}", [*one[1], *other[1]]


def _where(condition: str) -> str:
    return f" WHERE {condition}" if condition else ""


def _rows(vendor: str, table: int, condition: str) -> str:
    """The table and what follows it. One employee's orders lie in page order in one index; with a state or a number
    besides, MariaDB would rather sort than take it."""
    hint = ""
    if vendor == "mysql" and condition.startswith("employee_id = "):
        hint = f" FORCE INDEX (order{table:02d}_employee)"
    return f"{order_table(table)}{hint}{_where(condition)}"


# --- statements -----------------------------------------------------------------------------------------------------


def _union(vendor: str, branches: Sequence[str], tail: str = "") -> str:
    """The branches, each with a LIMIT of its own, as one statement; SQLite takes no brackets around them."""
    if vendor == "sqlite":
        return " UNION ALL ".join(f"SELECT * FROM ({branch})" for branch in branches) + tail
    return " UNION ALL ".join(f"({branch})" for branch in branches) + tail


@lru_cache(maxsize=1024)
def keys(vendor: str, tables: tuple[int, ...], condition: str, *, ascending: bool = False) -> str:
    """(created_at, order_no) of the first rows of all tables. Parameters: (condition's, limit) a table, limit."""
    way = "ASC" if ascending else "DESC"
    branches = [
        f"SELECT CAST(created_at AS CHAR) AS at_text, order_no FROM {_rows(vendor, table, condition)} "
        f"ORDER BY created_at {way}, order_no {way} LIMIT %s"
        for table in tables
    ]
    return _union(vendor, branches, f" ORDER BY at_text {way}, order_no {way} LIMIT %s")


@lru_cache(maxsize=1024)
def keys_at(vendor: str, tables: tuple[int, ...], condition: str) -> str:
    """Each table's key at one rank, where it has one. Parameters: (condition's, rank) a table."""
    branches = [
        f"SELECT CAST(created_at AS CHAR) AS at_text, order_no FROM {_rows(vendor, table, condition)} "
        "ORDER BY created_at DESC, order_no DESC LIMIT 1 OFFSET %s"
        for table in tables
    ]
    return _union(vendor, branches)


@lru_cache(maxsize=1024)
def counts(vendor: str, tables: tuple[int, ...], condition: str, newer_condition: str) -> str:
    """A row a table: how many rows, how many newer ones. Parameters: (the newer condition's, condition's) a table."""
    branches = [
        f"SELECT COUNT(*), COALESCE(SUM(CASE WHEN {newer_condition} THEN 1 ELSE 0 END), 0) "
        f"FROM {_rows(vendor, table, condition)}"
        for table in tables
    ]
    return _union(vendor, branches)


@lru_cache(maxsize=256)
def first_orders(vendor: str, tables: tuple[int, ...], condition: str, order_by: str) -> str:
    """(order_by, order_no) of the first rows of all tables. Parameters: (condition's, limit) a table, limit."""
    branches = [
        f"SELECT CAST({order_by} AS CHAR) AS at_text, order_no FROM {order_table(table)} WHERE {condition} "
        f"ORDER BY {order_by}, order_no LIMIT %s"
        for table in tables
    ]
    return _union(vendor, branches, " ORDER BY at_text, order_no LIMIT %s")


@lru_cache(maxsize=256)
def first_attempts(vendor: str, tables: tuple[int, ...], condition: str, order_by: str) -> str:
    """Whole attempts, the first of each table. Parameters: (condition's, limit) a table."""
    branches = [
        f"SELECT {ATTEMPT_LIST} FROM {attempt_table(table)} WHERE {condition} ORDER BY {order_by}, attempt_no LIMIT %s"
        for table in tables
    ]
    return _union(vendor, branches)


@lru_cache(maxsize=256)
def order_numbers_of_attempts(vendor: str, tables: tuple[int, ...], condition: str) -> str:
    """Order numbers of matching attempts. Parameters: (condition's, limit) a table."""
    branches = [f"SELECT order_no FROM {attempt_table(table)} WHERE {condition} LIMIT %s" for table in tables]
    return _union(vendor, branches)


@lru_cache(maxsize=4096)
def _whole_orders(table: int, count: int) -> str:
    marks = "= %s" if count == 1 else f"IN ({', '.join(['%s'] * count)})"
    return (
        f"SELECT {_BOTH_LISTS} FROM {order_table(table)} o LEFT JOIN {attempt_table(table)} a "
        f"ON a.order_no = o.order_no WHERE o.order_no {marks}"
    )


def whole_orders(numbers: Sequence[tuple[int, Sequence[str]]]) -> tuple[str, Parameters]:
    """Orders with their attempts, a row an attempt (one with NULLs for none), by (table, numbers)."""
    text = " UNION ALL ".join(_whole_orders(table, len(wanted)) for table, wanted in numbers)
    return text, [number for _, wanted in numbers for number in wanted]


def whole_order(table: int) -> str:
    """One order with its attempts. Parameter: its number."""
    return _whole_orders(table, 1)


@lru_cache(maxsize=32)
def one_order(table: int) -> str:
    """One order without its attempts. Parameter: its number."""
    return f"SELECT {ORDER_LIST} FROM {order_table(table)} WHERE order_no = %s"


@lru_cache(maxsize=32)
def one_attempt(table: int) -> str:
    """One attempt. Parameter: its number."""
    return f"SELECT {ATTEMPT_LIST} FROM {attempt_table(table)} WHERE attempt_no = %s"


@lru_cache(maxsize=4096)
def _states(table: int, count: int) -> str:
    return f"SELECT order_no, state FROM {order_table(table)} WHERE order_no IN ({', '.join(['%s'] * count)})"


def states(numbers: Sequence[tuple[int, Sequence[str]]]) -> tuple[str, Parameters]:
    """(order_no, state) of many orders, by (table, numbers)."""
    text = " UNION ALL ".join(_states(table, len(wanted)) for table, wanted in numbers)
    return text, [number for _, wanted in numbers for number in wanted]


@lru_cache(maxsize=64)
def next_orders(table: int, condition: str) -> str:
    """Orders without attempts in key order. Parameters: the condition's, the number before, limit."""
    more = f"{condition} AND " if condition else ""
    return f"SELECT {ORDER_LIST} FROM {order_table(table)} WHERE {more}order_no > %s ORDER BY order_no LIMIT %s"

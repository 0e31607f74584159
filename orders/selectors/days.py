# ruff: noqa: S608 - names of tables and columns are our own, every value is a parameter
"""What our books say of a channel's business day: attempts that were paid and refunds that went back, over all tables.

The tables have no index by the moment of payment: orders are read by the moment they were made, from LOOK_BACK before
the day on, in pages of a key range, and joined with their attempts. What was made even earlier and paid on the day is
found by its number (`find_numbers`). Reads only; each page is a statement of its own.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from foundation.db import roles
from orders.domain import numbers
from orders.domain.states import AttemptState, OrderKind
from orders.selectors import sources
from orders.selectors.statements import attempt_table, moment, order_table

LOOK_BACK = dt.timedelta(days=3)
"""Orders live for hours; a payment that is decided later than this is met by its number only."""
PAGE = 20_000
"""Orders of one statement."""
NUMBERS_AT_ONCE = 500
REFUND_KINDS = (OrderKind.REDPACKET_REFUND, OrderKind.RETURN)
DIRECT_PREFIX = numbers.Prefix.COLLECT.value
"""Money of these went to a merchant's own account, and their refunds come from there."""

_COLUMNS = (
    "o.order_no, o.kind, o.original_order_no, a.attempt_no, a.channel, a.amount_fen, a.state, "
    "CAST(CASE WHEN o.kind IN ('REDPACKET_REFUND', 'RETURN') THEN a.created_at WHEN a.effective = 1 THEN o.paid_at "
    "ELSE COALESCE(a.finished_at, a.created_at) END AS CHAR)"
)
_OTHERS = tuple(kind.value for kind in (OrderKind.WITHDRAWAL, OrderKind.TRANSFER, OrderKind.TRANSFER_RECEIPT))


class DayRow(NamedTuple):
    """One attempt of a payment or refund. `number`: the attempt's, which the provider knows it by. `at`: when it was
    paid, as the provider said it, else when we ended it; of a refund when it was asked for, as bills list it (aware).
    `is_direct`: it concerns a merchant's own account."""

    number: str
    order_no: str
    is_refund: bool
    is_direct: bool
    channel: str
    amount_fen: int
    state: AttemptState
    at: dt.datetime


def iterate_day(*, channel: str, start: dt.datetime, end: dt.datetime, page: int = PAGE) -> Iterator[DayRow]:
    """Successful payments and refunds of the channel with `start` ≤ at < `end`, table by table, in no other order."""
    for table in range(roles.ORDER_TABLES):
        for row in _iterate_table(table, channel, start - LOOK_BACK, end, page):
            if start <= row.at < end:
                yield row


def has_any(*, channel: str, start: dt.datetime, end: dt.datetime) -> bool:
    """Whether our books have a successful payment or refund over our own account within these moments."""
    return any(not row.is_direct for row in iterate_day(channel=channel, start=start, end=end))


def find_numbers(wanted: Iterable[str]) -> dict[str, DayRow]:
    """The payments and refunds of these numbers, whatever their state and day; a number that is not ours has none."""
    by_table: dict[int, list[str]] = defaultdict(list)
    for number in wanted:
        try:
            by_table[numbers.table_of(number)].append(number)
        except numbers.InvalidNumber:
            continue
    found: dict[str, DayRow] = {}
    for table, group in by_table.items():
        for place in range(0, len(group), NUMBERS_AT_ONCE):
            part = group[place : place + NUMBERS_AT_ONCE]
            for row in _fetch_numbers(table, part):
                found[row.number] = row
    return found


def _iterate_table(table: int, channel: str, start: dt.datetime, end: dt.datetime, page: int) -> Iterator[DayRow]:
    alias = roles.orders_alias(table)
    low: tuple[str, str] = (moment(start), "")
    last = moment(end)
    while True:
        edge = sources.fetch(
            alias,
            f"SELECT CAST(created_at AS CHAR), order_no FROM {order_table(table)} "
            "WHERE created_at >= %s AND (created_at > %s OR order_no > %s) AND created_at < %s "
            f"ORDER BY created_at, order_no LIMIT 1 OFFSET {page - 1}",
            [low[0], low[0], low[1], last],
        )
        upper, values = ("created_at < %s", [last])
        if edge:
            upper = "created_at <= %s AND (o.created_at < %s OR o.order_no <= %s)"
            values = [edge[0][0], edge[0][0], edge[0][1]]
        rows = sources.fetch(
            alias,
            f"SELECT {_COLUMNS} FROM {order_table(table)} o "
            f"JOIN {attempt_table(table)} a ON a.order_no = o.order_no "
            f"WHERE o.created_at >= %s AND (o.created_at > %s OR o.order_no > %s) AND o.{upper} "
            f"AND a.channel = %s AND a.state = %s AND o.kind NOT IN ({', '.join(['%s'] * len(_OTHERS))})",
            [low[0], low[0], low[1], *values, channel, AttemptState.SUCCESS.value, *_OTHERS],
        )
        yield from map(_row, rows)
        if not edge:
            return
        low = (edge[0][0], edge[0][1])


def _fetch_numbers(table: int, wanted: Sequence[str]) -> Iterator[DayRow]:
    rows = sources.fetch(
        roles.orders_alias(table),
        f"SELECT {_COLUMNS} FROM {attempt_table(table)} a "
        f"JOIN {order_table(table)} o ON o.order_no = a.order_no "
        f"WHERE a.attempt_no IN ({', '.join(['%s'] * len(wanted))}) "
        f"AND o.kind NOT IN ({', '.join(['%s'] * len(_OTHERS))})",
        [*wanted, *_OTHERS],
    )
    yield from map(_row, rows)


def _row(row: sources.Row) -> DayRow:
    is_refund = row[1] in REFUND_KINDS
    return DayRow(
        number=row[3],
        order_no=row[0],
        is_refund=is_refund,
        is_direct=(row[2] if is_refund else row[0]).startswith(DIRECT_PREFIX),
        channel=row[4],
        amount_fen=row[5],
        state=AttemptState(row[6]),
        at=dt.datetime.fromisoformat(row[7] + "+00:00"),
    )

"""What staff look at: one list over all order tables with filters, totals and dates, and the search by any number.

Every question is one `UNION ALL` statement a database, each table answering with a bounded number of rows from an
index; what a filter makes expensive is given a time limit, and says so instead of failing (design `sharding.md` 5 to
8). The texts are built from names of ours once for each shape of filter; values are always parameters. MariaDB keeps
the time limits; SQLite, for the first look only, has none.
"""

from __future__ import annotations

import datetime as dt
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import OperationalError, connections

from foundation.db import roles
from orders.domain import numbers, pages
from orders.domain.pages import Counts, Key
from orders.models import ATTEMPT_TABLES, ORDER_TABLES

PAGE_SIZE = 20
MAX_OFFSET = 100_000
"""Numbered pages end here; older and newer go on without end."""
MAX_PAGE = MAX_OFFSET // PAGE_SIZE
COUNTED_ORDERS = 1_000
"""Orders of one table that totals look at unasked: 16 000 over all. Beyond it they say "more than"."""
MERGED_OFFSET = 200
"""Up to here a page is cut from the newest keys of all tables: two statements a database instead of five."""
SEARCH_LIMIT = 50
PREFIX_LENGTH = 8
"""Shorter beginnings of a number would find everything of a kind of order."""
SPANS = (dt.timedelta(days=30), dt.timedelta(days=5), dt.timedelta(hours=12))
"""What of the list is searched, in turn, when a filter finds too little in all of it."""
STATEMENT_TIMEOUT = 1969
"""MariaDB: ER_STATEMENT_TIMEOUT, "max_statement_time exceeded"."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds that each question may take, all databases together. `quick`: the first way where there is a second."""

    quick: float
    list: float
    span: float
    numbered: float
    totals: float
    count: float
    days: float


USUAL = Patience(quick=0.1, list=0.25, span=0.15, numbered=1.0, totals=0.1, count=0.1, days=0.2)
LONG = Patience(quick=1.0, list=4.0, span=2.0, numbered=4.0, totals=6.0, count=1.0, days=3.0)
"""Only when asked for by a click."""

COLUMNS = (
    "order_no, kind, state, amount_fen, refunding_fen, refunded_fen, employee_id, enterprise_id, business_no, "
    "original_order_no, channel, created_at, paid_at"
)


class TooSlow(Exception):
    """The time for a question is over; nothing is known."""


@dataclass(frozen=True, kw_only=True)
class OrderFilter:
    """Which orders; empty fields let everything through. Amounts inclusive, times from inclusive to exclusive."""

    kind: str = ""
    state: str = ""
    channel: str = ""
    enterprise_id: int | None = None
    employee_id: int | None = None
    amount_from_fen: int | None = None
    amount_to_fen: int | None = None
    created_from: dt.datetime | None = None
    created_before: dt.datetime | None = None

    @property
    def is_empty(self) -> bool:
        return self == OrderFilter()

    @property
    def is_in_index(self) -> bool:
        """Counted without reading a row: by time, or by employee and time."""
        times = replace(self, employee_id=None, created_from=None, created_before=None)
        return times.is_empty


@dataclass(frozen=True, kw_only=True)
class ListedOrder:
    """A row of the list; meaning of the fields in orders.domain.records.OrderRecord. Kind and state as they stand."""

    order_no: str
    kind: str
    state: str
    amount_fen: int
    refunding_fen: int
    refunded_fen: int
    employee_id: int
    enterprise_id: int
    business_no: str
    original_order_no: str
    channel: str
    created_at: dt.datetime
    paid_at: dt.datetime | None

    @property
    def key(self) -> Key:
        return self.created_at, self.order_no


@dataclass(frozen=True, kw_only=True)
class OrderSlice:
    """Orders newest first. `searched_to`: orders beyond this moment were not looked at (a filter that finds little).

    `is_too_slow`: not even a short span could be searched in time; nothing is known.
    """

    orders: tuple[ListedOrder, ...] = ()
    has_newer: bool = False
    has_older: bool = False
    searched_to: dt.datetime | None = None
    is_too_slow: bool = False


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Number and sums of the orders of a filter. Sums are None where not every order was looked at.

    `is_about`: from the tables' statistics. `is_more`: at least `count`. `count` None: not counted.
    """

    count: int | None
    amount_fen: int | None = None
    refunded_fen: int | None = None
    is_about: bool = False
    is_more: bool = False


@dataclass(frozen=True, kw_only=True)
class Found:
    """Orders a text leads to, newest first; `is_cut` when there are more."""

    orders: tuple[ListedOrder, ...]
    is_cut: bool


# --- The list --------------------------------------------------------------------------------------------------------


def list_older(
    *, wanted: OrderFilter, before: Key | None, newest: dt.datetime | None, patience: Patience = USUAL
) -> OrderSlice:
    """The page behind `before` (None: the newest page). `newest`: time of the newest order there is, None for none.

    Where the filter finds too little in time, only a span before the page is searched: `searched_to`.
    """
    if newest is None:
        return OrderSlice()
    condition = _OLDER if before else _ANY
    values = _key_values(before)
    ways = _ways(wanted, condition, values, order="DESC", patience=patience)
    edge = min(moment for moment in (newest, wanted.created_before, before and before[0]) if moment is not None)
    keys, searched_to = _first_in_time(
        ways,
        lambda span: _keys(_since(wanted, edge - span), condition, values, order="DESC", seconds=patience.span),
        lambda span: edge - span if wanted.created_from is None or edge - span > wanted.created_from else None,
    )
    if keys is None:
        return OrderSlice(has_newer=before is not None, is_too_slow=True)
    return OrderSlice(
        orders=tuple(_rows(keys[:PAGE_SIZE])),
        has_newer=before is not None,
        has_older=len(keys) > PAGE_SIZE or searched_to is not None,
        searched_to=searched_to if len(keys) <= PAGE_SIZE else None,
    )


def list_newer(*, wanted: OrderFilter, after: Key, patience: Patience = USUAL) -> OrderSlice:
    """The page before `after`, newest first; when fewer than a page are newer, those."""
    values = _key_values(after)
    ways = _ways(wanted, _NEWER, values, order="ASC", patience=patience)
    edge = after[0]
    keys, searched_to = _first_in_time(
        ways,
        lambda span: _keys(_until(wanted, edge + span), _NEWER, values, order="ASC", seconds=patience.span),
        lambda span: edge + span if wanted.created_before is None or edge + span < wanted.created_before else None,
    )
    if keys is None:
        return OrderSlice(has_older=True, is_too_slow=True)
    return OrderSlice(
        orders=tuple(_rows(sorted(keys[:PAGE_SIZE], reverse=True))),
        has_newer=len(keys) > PAGE_SIZE or searched_to is not None,
        has_older=True,
        searched_to=searched_to if len(keys) <= PAGE_SIZE else None,
    )


def list_numbered(*, wanted: OrderFilter, page: int, as_of: dt.datetime, patience: Patience = USUAL) -> OrderSlice:
    """Page `page` (1 … MAX_PAGE) of the orders that existed at `as_of`, by the pivot; `is_too_slow` past the limit."""
    source = _PivotKeys(_until(wanted, as_of + dt.timedelta(microseconds=1)), patience.numbered)
    offset = (page - 1) * PAGE_SIZE
    keys: Sequence[Key]
    try:
        if offset <= MERGED_OFFSET:
            keys = source.newest(offset + PAGE_SIZE + 1)[offset:]
        else:
            keys = pages.page_keys(source=source, offset=offset, size=PAGE_SIZE + 1).keys
    except TooSlow:
        return OrderSlice(has_newer=page > 1, is_too_slow=True)
    return OrderSlice(
        orders=tuple(_rows(keys[:PAGE_SIZE])),
        has_newer=page > 1,
        has_older=len(keys) > PAGE_SIZE,
    )


def _ways(
    wanted: OrderFilter, condition: str, values: Sequence[Any], *, order: str, patience: Patience
) -> list[Callable[[], list[Key]]]:
    """Along the list, which is quick when every so many orders match; by state, when few orders are in it at all."""

    def along(seconds: float, index: str = "") -> list[Key]:
        return _keys(wanted, condition, values, order=order, seconds=seconds, index=index)

    if wanted.state and wanted.employee_id is None:
        return [lambda: along(patience.quick), lambda: along(patience.list, "state")]
    return [lambda: along(patience.list)]


def _first_in_time(
    ways: Sequence[Callable[[], list[Key]]],
    of_span: Callable[[dt.timedelta], list[Key]],
    end_of: Callable[[dt.timedelta], dt.datetime | None],
) -> tuple[list[Key] | None, dt.datetime | None]:
    """The keys of the first way that ends in time, and where it stopped looking; a span that cuts nothing is left."""
    for way in ways:
        try:
            return way(), None
        except TooSlow:
            continue
    for span in SPANS:
        end = end_of(span)
        if end is None:
            continue
        try:
            return of_span(span), end
        except TooSlow:
            continue
    return None, None


def _since(wanted: OrderFilter, moment: dt.datetime) -> OrderFilter:
    return replace(wanted, created_from=max(moment, wanted.created_from or moment))


def _until(wanted: OrderFilter, moment: dt.datetime) -> OrderFilter:
    return replace(wanted, created_before=min(moment, wanted.created_before or moment))


# --- Totals and dates ------------------------------------------------------------------------------------------------


def get_bounds() -> tuple[dt.datetime, dt.datetime] | None:
    """Times of the oldest and the newest order of all tables; None when there is none. Two index entries a table."""
    rows = _everywhere("SELECT (SELECT MIN(created_at) FROM {table}), (SELECT MAX(created_at) FROM {table})")
    found = [(_moment(first), _moment(last)) for first, last in rows if first is not None]
    return (min(first for first, _ in found), max(last for _, last in found)) if found else None


def get_totals(*, wanted: OrderFilter, known_count: int | None = None, patience: Patience = USUAL) -> Totals:
    """Number and sums of the filter's orders as far as they are cheap; all of them with LONG patience, in time.

    Usually of up to COUNTED_ORDERS a table. `known_count`: what count_days counted already.
    """
    if patience is LONG:
        return _all_totals(wanted, known_count, patience)
    large = COUNTED_ORDERS * roles.ORDER_TABLES
    if wanted.is_empty:
        about = _about_all()
        if about > large:
            return Totals(count=about, is_about=True)
    if known_count is not None and known_count > large:
        return Totals(count=known_count)
    where, values = _where(wanted)
    has_times = wanted.created_from is not None or wanted.created_before is not None
    index = "state" if wanted.state and wanted.employee_id is None and not has_times else ""
    branch = (
        "SELECT COUNT(*), COALESCE(SUM(amount_fen), 0), COALESCE(SUM(refunded_fen), 0) FROM "  # noqa: S608 - constants
        f"(SELECT amount_fen, refunded_fen FROM {{table}} {_hint(wanted, index)} WHERE {where} LIMIT %s) AS t{{number}}"
    )
    try:
        rows = _everywhere(branch, [*values, COUNTED_ORDERS + 1], seconds=patience.totals)
    except TooSlow:
        return Totals(count=_count(wanted, known_count, patience))
    if all(count <= COUNTED_ORDERS for count, _, _ in rows):
        return _summed(rows)
    count = _count(wanted, known_count, patience)
    if count is not None:
        return Totals(count=count)
    return Totals(count=sum(min(count, COUNTED_ORDERS) for count, _, _ in rows), is_more=True)


def _all_totals(wanted: OrderFilter, known_count: int | None, patience: Patience) -> Totals:
    where, values = _where(wanted)
    branch = (
        "SELECT COUNT(*), COALESCE(SUM(amount_fen), 0), COALESCE(SUM(refunded_fen), 0) "  # noqa: S608 - constants
        f"FROM {{table}} WHERE {where}"
    )
    try:
        return _summed(_everywhere(branch, values, seconds=patience.totals))
    except TooSlow:
        return Totals(count=_count(wanted, known_count, patience))


def _count(wanted: OrderFilter, known_count: int | None, patience: Patience) -> int | None:
    """The number alone where an index has it, in time; else None."""
    if known_count is not None or not wanted.is_in_index:
        return known_count
    where, values = _where(wanted)
    branch = f"SELECT COUNT(*) FROM {{table}} {_hint(wanted)} WHERE {where}"  # noqa: S608 - constants
    try:
        return sum(count for (count,) in _everywhere(branch, values, seconds=patience.count))
    except TooSlow:
        return None


def _summed(rows: Sequence[Sequence[Any]]) -> Totals:
    counts, amounts, refunds = ([int(row[column]) for row in rows] for column in range(3))
    return Totals(count=sum(counts), amount_fen=sum(amounts), refunded_fen=sum(refunds))


def count_days(
    *, wanted: OrderFilter, days: Sequence[tuple[dt.datetime, dt.datetime]], patience: Patience = USUAL
) -> list[int] | None:
    """Orders of the filter in each span (from, before); None when that takes too long.

    One range of an index for each span and table: without other filters no row is read.
    """
    if not days:
        return []
    where, values = _where(wanted)
    one = (
        f"SELECT {{day}}, COUNT(*) FROM {{{{table}}}} {{hint}} WHERE {where} "  # noqa: S608 - constants
        "AND created_at >= %s AND created_at < %s"
    )
    branches = [one.format(day=day, hint=f"{{{_index_of(wanted)}}}") for day in range(len(days))]
    flat = [value for begin, end in days for value in (*values, begin, end)]
    counts = [0] * len(days)
    try:
        for day, count in _everywhere(" UNION ALL ".join(branches), flat, seconds=patience.days):
            counts[day] += count
    except TooSlow:
        return None
    return counts


def _about_all() -> int:
    """Number of all orders from the tables' statistics; counted where there are none (SQLite)."""
    total = 0
    for alias in roles.order_aliases():
        tables = _tables_on(alias)
        if connections[alias].vendor != "mysql":
            total += sum(count for (count,) in _run(alias, _text(tables, "SELECT COUNT(*) FROM {table}", False), []))
            continue
        names = [ORDER_TABLES[table]._meta.db_table for table in tables]
        text = (
            "SELECT COALESCE(SUM(TABLE_ROWS), 0) FROM information_schema.TABLES "  # noqa: S608 - placeholders only
            f"WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({_places(names)})"
        )
        total += int(_run(alias, text, names)[0][0])
    return total


# --- Search ----------------------------------------------------------------------------------------------------------


def find(*, text: str) -> Found:
    """Orders that any number leads to: of an order (also its beginning), an attempt, a provider, a business, an
    original order. One statement a database for the orders, one for the attempts, one for the rows."""
    if not text or not text.isascii() or len(text) > 64:
        return Found(orders=(), is_cut=False)
    keys = {*_matching_orders(text), *_orders_of_attempts(text)}
    newest = sorted(keys, reverse=True)
    return Found(orders=tuple(_rows(newest[:SEARCH_LIMIT])), is_cut=len(newest) > SEARCH_LIMIT)


def list_pointing(*, order_no: str, business_no: str) -> Found:
    """Other orders of the same business number, and those whose original is `order_no` (refunds), newest first."""
    columns = ["original_order_no"] + (["business_no"] if business_no else [])
    values = [order_no] + ([business_no] if business_no else [])
    keys = sorted({key for key in _equal(columns, values) if key[1] != order_no}, reverse=True)
    return Found(orders=tuple(_rows(keys[:SEARCH_LIMIT])), is_cut=len(keys) > SEARCH_LIMIT)


def _matching_orders(text: str) -> list[Key]:
    limit = SEARCH_LIMIT + 1
    found = ["business_no = %s", "original_order_no = %s"]
    parameters: list[Any] = [text, limit, text, limit]
    if len(text) >= PREFIX_LENGTH and text.isalnum():
        # "~" sorts behind every letter and digit: the range of the key that begins with the text.
        found.append("order_no >= %s AND order_no <= %s")
        parameters += [text, f"{text}~", limit]
    branches = [_limited(where) for where in found]
    return _as_keys(_everywhere(" UNION ALL ".join(branches), parameters))


def _equal(columns: Sequence[str], values: Sequence[str]) -> list[Key]:
    branches = [_limited(f"{column} = %s") for column in columns]
    limits = [item for value in values for item in (value, SEARCH_LIMIT + 1)]
    return _as_keys(_everywhere(" UNION ALL ".join(branches), limits))


def _orders_of_attempts(text: str) -> list[Key]:
    """Order keys of the attempts of this number; the order stands in the table of the same index."""
    branches = [
        "SELECT created_at, order_no FROM {table} WHERE order_no IN "  # noqa: S608 - constants
        f"(SELECT order_no FROM (SELECT order_no FROM {{attempts}} WHERE {column} = %s LIMIT %s) AS a)"
        for column in ("attempt_no", "provider_no")
    ]
    limit = SEARCH_LIMIT + 1
    return _as_keys(_everywhere(" UNION ALL ".join(branches), [text, limit, text, limit]))


def _limited(where: str) -> str:
    return f"SELECT * FROM (SELECT created_at, order_no FROM {{table}} WHERE {where} LIMIT %s) AS t{{number}}"  # noqa: S608


# --- Keys of one page ------------------------------------------------------------------------------------------------


_ANY = ""
_OLDER = "created_at <= %s AND (created_at < %s OR order_no < %s)"
_FROM = "created_at <= %s AND (created_at < %s OR order_no <= %s)"
_NEWER = "created_at >= %s AND (created_at > %s OR order_no > %s)"


def _key_values(key: Key | None) -> list[Any]:
    return [] if key is None else [key[0], key[0], key[1]]


def _keys(
    wanted: OrderFilter,
    condition: str,
    values: Sequence[Any],
    *,
    order: str,
    seconds: float,
    index: str = "",
) -> list[Key]:
    """One more than a page, in that order."""
    rows = _everywhere(
        _key_branch(wanted, condition, order, index),
        [*_where(wanted)[1], *values, PAGE_SIZE + 1],
        seconds=seconds,
    )
    return sorted(_as_keys(rows), reverse=order == "DESC")[: PAGE_SIZE + 1]


def _key_branch(wanted: OrderFilter, condition: str, order: str, index: str = "", offset: str = "") -> str:
    where = " AND ".join(part for part in (_where(wanted)[0], condition) if part)
    return (
        f"SELECT * FROM (SELECT created_at, order_no FROM {{table}} {_hint(wanted, index)} "  # noqa: S608
        f"WHERE {where} ORDER BY created_at {order}, order_no {order} LIMIT %s{offset}) AS t{{number}}"
    )


class _PivotKeys:
    """orders.domain.pages.KeySource of a filter's orders; `seconds` for all its questions together."""

    tables = roles.ORDER_TABLES

    def __init__(self, wanted: OrderFilter, seconds: float) -> None:
        self._wanted = wanted
        self._deadline = time.monotonic() + seconds

    def newest(self, limit: int) -> Sequence[Key]:
        return self._keys(_ANY, "DESC", [limit])[:limit]

    def keys_at(self, rank: int) -> Sequence[Key]:
        return self._keys(_ANY, "DESC", [1, rank], offset=" OFFSET %s")

    def count(self, key: Key) -> Counts:
        """The total is that of the newer ones: nobody asks here, and counting all would take the longest of all."""
        where, values = _where(self._wanted)
        branch = f"SELECT COUNT(*) FROM {{table}} {_hint(self._wanted)} WHERE {where} AND {_NEWER}"  # noqa: S608
        newer = sum(count for (count,) in self._ask(branch, [*values, *_key_values(key)]))
        return Counts(total=newer, newer=newer)

    def newer(self, key: Key, limit: int) -> Sequence[Key]:
        return self._keys(_NEWER, "ASC", [*_key_values(key), limit])[:limit]

    def from_key(self, key: Key, limit: int) -> Sequence[Key]:
        return self._keys(_FROM, "DESC", [*_key_values(key), limit])[:limit]

    def _keys(self, condition: str, order: str, values: Sequence[Any], *, offset: str = "") -> list[Key]:
        branch = _key_branch(self._wanted, condition, order, offset=offset)
        return sorted(_as_keys(self._ask(branch, [*_where(self._wanted)[1], *values])), reverse=order == "DESC")

    def _ask(self, branch: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return _everywhere(branch, values, seconds=self._deadline - time.monotonic())


# --- Statements ------------------------------------------------------------------------------------------------------


def _where(wanted: OrderFilter) -> tuple[str, list[Any]]:
    """The condition of a filter, "1 = 1" when it is empty, and its values in order."""
    parts = [
        ("employee_id = %s", wanted.employee_id),
        ("enterprise_id = %s", wanted.enterprise_id),
        ("kind = %s", wanted.kind or None),
        ("state = %s", wanted.state or None),
        ("channel = %s", wanted.channel or None),
        ("amount_fen >= %s", wanted.amount_from_fen),
        ("amount_fen <= %s", wanted.amount_to_fen),
        ("created_at >= %s", wanted.created_from),
        ("created_at < %s", wanted.created_before),
    ]
    used = [(text, value) for text, value in parts if value is not None]
    return " AND ".join(text for text, _ in used) or "1 = 1", [value for _, value in used]


def _index_of(wanted: OrderFilter) -> str:
    return "created" if wanted.employee_id is None else "employee"


def _hint(wanted: OrderFilter, index: str = "") -> str:
    """Placeholder of the index to use: left alone, MariaDB sorts a tenth of a table to show twenty rows."""
    return f"{{{index or _index_of(wanted)}}}"


_INDEXES = {
    "created": ["created_at", "order_no"],
    "employee": ["employee_id", "created_at", "order_no"],
    "state": ["state", "expires_at"],
}


def _index_name(table: int, fields: Sequence[str]) -> str:
    return next(index.name for index in ORDER_TABLES[table]._meta.indexes if index.fields == list(fields))


@functools.lru_cache(maxsize=512)
def _text(tables: tuple[int, ...], branch: str, is_mysql: bool) -> str:
    """The branch once for each table, in one statement."""
    return " UNION ALL ".join(
        branch.format(
            number=table,
            table=ORDER_TABLES[table]._meta.db_table,
            attempts=ATTEMPT_TABLES[table]._meta.db_table,
            **{
                name: f"FORCE INDEX ({_index_name(table, fields)})" if is_mysql else ""
                for name, fields in _INDEXES.items()
            },
        )
        for table in tables
    )


def _tables_on(alias: str) -> tuple[int, ...]:
    return tuple(table for table in range(roles.ORDER_TABLES) if roles.orders_alias(table) == alias)


def _everywhere(branch: str, values: Sequence[Any] = (), *, seconds: float | None = None) -> list[tuple[Any, ...]]:
    """The answers of all tables, in no order; TooSlow when all databases together take longer than `seconds`."""
    deadline = None if seconds is None else time.monotonic() + seconds
    rows: list[tuple[Any, ...]] = []
    for alias in roles.order_aliases():
        tables = _tables_on(alias)
        text = _text(tables, branch, connections[alias].vendor == "mysql")
        left = None if deadline is None else deadline - time.monotonic()
        rows += _run(alias, text, list(values) * len(tables), seconds=left)
    return rows


def _run(alias: str, text: str, values: Sequence[Any], *, seconds: float | None = None) -> list[tuple[Any, ...]]:
    connection = connections[alias]
    adapt = connection.ops.adapt_datetimefield_value
    adapted = [adapt(value) if isinstance(value, dt.datetime) else value for value in values]
    if seconds is not None:
        if seconds <= 0:
            raise TooSlow
        if connection.vendor == "mysql" and connection.mysql_is_mariadb:  # type: ignore[attr-defined]
            text = f"SET STATEMENT max_statement_time={max(seconds, 0.001):.3f} FOR {text}"
    with connection.cursor() as cursor:
        try:
            cursor.execute(text, adapted)
            return list(cursor.fetchall())
        except OperationalError as error:
            if error.args and error.args[0] == STATEMENT_TIMEOUT:
                raise TooSlow from error
            raise


def _rows(keys: Sequence[Key]) -> list[ListedOrder]:
    """The orders of these keys, in their order, found by their numbers."""
    by_table: dict[int, list[str]] = defaultdict(list)
    for _, order_no in keys:
        by_table[numbers.table_of(order_no)].append(order_no)
    found: dict[str, ListedOrder] = {}
    for alias in roles.order_aliases():
        tables = [table for table in _tables_on(alias) if table in by_table]
        if not tables:
            continue
        text = " UNION ALL ".join(
            f"SELECT {COLUMNS} FROM {ORDER_TABLES[table]._meta.db_table} "  # noqa: S608 - constants and placeholders
            f"WHERE order_no IN ({_places(by_table[table])})"
            for table in tables
        )
        for row in _run(alias, text, [number for table in tables for number in by_table[table]]):
            *plain, created_at, paid_at = row
            values = dict(zip(_NAMES, plain, strict=False))
            paid = None if paid_at is None else _moment(paid_at)
            order = ListedOrder(**values, created_at=_moment(created_at), paid_at=paid)
            found[order.order_no] = order
    return [found[order_no] for _, order_no in keys if order_no in found]


_NAMES = COLUMNS.split(", ")[:-2]


def _places(values: Sequence[Any]) -> str:
    return ", ".join(["%s"] * len(values))


def _as_keys(rows: Iterable[Sequence[Any]]) -> list[Key]:
    return [(_moment(created_at), order_no) for created_at, order_no in rows]


def _moment(value: dt.datetime | str) -> dt.datetime:
    """Aware from what a raw cursor gives: naive UTC, on SQLite as text."""
    moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=dt.UTC)

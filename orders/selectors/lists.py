"""Lists and pages of orders over all tables: keys first, then the rows that are shown with their attempts.

Each step is one statement a database, whose answers are merged; the keys come from indexes alone, so that of sixteen
tables' candidates only the rows of the page are read.
"""

from __future__ import annotations

import datetime as dt
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from django.db import connections

from foundation.db import roles
from foundation.errors import Rejected
from orders.domain import pages
from orders.domain.filters import OrderFilter
from orders.domain.pages import Counts, Key
from orders.domain.records import AttemptRecord, NumberedPage, OrderPage, OrderRecord
from orders.domain.states import OPEN_ATTEMPT_STATES, OPEN_ORDER_STATES, AttemptState, OrderKind, OrderState
from orders.selectors import places, rows, statements
from orders.selectors.lookup import by_database
from orders.selectors.sources import Question, Reader, Row, fetch
from orders.selectors.statements import Condition

MAX_PAGE_OFFSET = 100_000
"""Nobody leafs that far by number; a program that reads everything uses the cursor."""
NUMBER_LENGTH = 64
"""The longest number of any column that a search looks into."""

FetchEach = Callable[[Mapping[str, Question]], Sequence[Sequence[Row]]]
Tables = tuple[int, ...]


class PageTooDeep(Rejected):
    """The page lies past MAX_PAGE_OFFSET."""

    code = "page_too_deep"
    http_status = 422
    message_en = "This page is too deep. Use the cursor."
    message_zh = "页码过深，请使用游标翻页。"


def list_orders(
    *,
    employee_id: int,
    limit: int,
    before: Key | None = None,
    kind: OrderKind | None = None,
    state: OrderState | None = None,
    channel: str = "",
    created_from: dt.datetime | None = None,
    created_to: dt.datetime | None = None,
) -> OrderPage:
    """One page of an employee's orders over all tables, newest first by (created_at, order_no), older than `before`.

    `limit` 1 … 100; filters as in OrderFilter. May be read on a replica (orders.selectors.sources). Raises Busy when
    the database takes too long.
    """
    wanted = OrderFilter(
        employee_id=employee_id,
        kind=kind,
        state=state,
        channel=channel,
        created_from=created_from,
        created_to=created_to,
    )
    reader = Reader()
    keys = _Keys(reader, wanted).newest(limit + 1, before=before)
    shown = keys[:limit]
    return OrderPage(items=_orders(reader.fetch_each, shown), next_after=shown[-1] if len(keys) > limit else None)


def page_orders(
    *,
    employee_id: int,
    page: int,
    page_size: int,
    as_of: dt.datetime,
    kind: OrderKind | None = None,
    state: OrderState | None = None,
    channel: str = "",
    created_from: dt.datetime | None = None,
    created_to: dt.datetime | None = None,
) -> NumberedPage:
    """Numbered page (1 = newest) of an employee's orders that existed at `as_of`, over all tables, with the total.

    Exact however deep (orders.domain.pages); filters as in OrderFilter. May be read on a replica. Raises PageTooDeep
    past MAX_PAGE_OFFSET: the cursor costs nothing there; and Busy when the database takes too long.
    """
    offset = (page - 1) * page_size
    if offset > MAX_PAGE_OFFSET:
        raise PageTooDeep({"max_page": MAX_PAGE_OFFSET // page_size + 1, "use": "GET orders?cursor="})
    wanted = OrderFilter(
        employee_id=employee_id,
        kind=kind,
        state=state,
        channel=channel,
        created_from=created_from,
        created_to=created_to,
        as_of=as_of,
    )
    reader = Reader()
    found = pages.page_keys(source=_Keys(reader, wanted), offset=offset, size=page_size)
    return NumberedPage(items=_orders(reader.fetch_each, found.keys), page=page, total=found.total, as_of=as_of)


def search(*, text: str, kind: str = "", state: str = "", limit: int = 50) -> list[OrderRecord]:
    """Staff search: newest orders, or those a number leads to (order, attempt, provider's, business number)."""
    if not text.isascii() or len(text) > NUMBER_LENGTH:
        return []
    wanted = OrderFilter(kind=OrderKind(kind) if kind else None, state=OrderState(state) if state else None)
    reader = Reader()
    more = _leads_to(reader, text, limit) if text else None
    return list(_orders(reader.fetch_each, _Keys(reader, wanted, more).newest(limit)))


def list_due_attempts(*, now: dt.datetime, limit: int) -> list[AttemptRecord]:
    """Open attempts whose next check has come, from every table, longest due first.

    Tables that are being moved are left out: nothing could be noted about them, and they would fill the limit.
    """
    states = ", ".join(f"'{state.value}'" for state in OPEN_ATTEMPT_STATES)
    condition = f"state IN ({states}) AND next_check_at <= %s"
    parameters = [statements.moment(now), limit]
    due: list[AttemptRecord] = []
    for alias, tables in _by_alias(places.open_tables()).items():
        statement = statements.first_attempts(connections[alias].vendor, tables, condition, "next_check_at")
        due += map(rows.attempt, fetch(alias, statement, parameters * len(tables)))
    due.sort(key=lambda attempt: (attempt.next_check_at or now, attempt.attempt_no))
    return due[:limit]


def list_unknown_attempts(*, before: dt.datetime, limit: int) -> list[AttemptRecord]:
    """Attempts made before that moment of which no provider has said yet what became of them, oldest first."""
    parameters = [statements.moment(before), limit]
    found: list[AttemptRecord] = []
    for alias, tables in _by_alias(places.open_tables()).items():
        condition = f"state = '{AttemptState.UNKNOWN.value}' AND created_at <= %s"
        statement = statements.first_attempts(connections[alias].vendor, tables, condition, "created_at")
        found += map(rows.attempt, fetch(alias, statement, parameters * len(tables)))
    found.sort(key=lambda attempt: (attempt.created_at, attempt.attempt_no))
    return found[:limit]


def list_expired_orders(*, now: dt.datetime, limit: int) -> list[OrderRecord]:
    """Unpaid orders past their life with their attempts, longest expired first, but of tables that are being moved."""
    states = ", ".join(f"'{state.value}'" for state in OPEN_ORDER_STATES)
    condition = f"state IN ({states}) AND expires_at <= %s"
    parameters = [statements.moment(now), limit]
    found: list[Key] = []
    for alias, tables in _by_alias(places.open_tables()).items():
        statement = statements.first_orders(connections[alias].vendor, tables, condition, "expires_at")
        found += map(rows.key, fetch(alias, statement, [*(parameters * len(tables)), limit]))
    found.sort()
    return list(_orders(_fetch_each, found[:limit]))


class _Keys:
    """orders.domain.pages.KeySource over all order tables: those that `wanted` and `more` let through."""

    tables = roles.ORDER_TABLES

    def __init__(self, reader: Reader, wanted: OrderFilter, more: Condition | None = None) -> None:
        self._reader = reader
        self._condition = statements.both(statements.conditions(wanted), more)

    def newest(self, limit: int, before: Key | None = None) -> list[Key]:
        return self._first(limit, statements.older(before) if before else None)

    def keys_at(self, rank: int) -> list[Key]:
        text, values = self._condition
        questions: dict[str, Question] = {}
        for alias, tables in _by_alias(range(self.tables)).items():
            statement = statements.keys_at(connections[alias].vendor, tables, text)
            questions[alias] = (statement, [*values, rank] * len(tables))
        return [rows.key(row) for answer in self._reader.fetch_each(questions) for row in answer]

    def count(self, key: Key) -> Counts:
        text, values = self._condition
        newer, its_values = statements.newer(key)
        questions: dict[str, Question] = {}
        for alias, tables in _by_alias(range(self.tables)).items():
            statement = statements.counts(connections[alias].vendor, tables, text, newer)
            questions[alias] = (statement, [*its_values, *values] * len(tables))
        counted = [row for answer in self._reader.fetch_each(questions) for row in answer]
        return Counts(total=sum(row[0] for row in counted), newer=sum(int(row[1]) for row in counted))

    def newer(self, key: Key, limit: int) -> list[Key]:
        return self._first(limit, statements.newer(key), ascending=True)

    def from_key(self, key: Key, limit: int) -> list[Key]:
        return self._first(limit, statements.not_newer(key))

    def _first(self, limit: int, more: Condition | None, *, ascending: bool = False) -> list[Key]:
        text, values = statements.both(self._condition, more)
        questions: dict[str, Question] = {}
        for alias, tables in _by_alias(range(self.tables)).items():
            statement = statements.keys(connections[alias].vendor, tables, text, ascending=ascending)
            questions[alias] = (statement, [*([*values, limit] * len(tables)), limit])
        found = [[rows.key(row) for row in answer] for answer in self._reader.fetch_each(questions)]
        return list(islice(heapq.merge(*found, reverse=not ascending), limit))


def _leads_to(reader: Reader, text: str, limit: int) -> Condition:
    """Orders of this number, those of an attempt with this number, and those that name it."""
    numbers = {text}
    for alias, tables in _by_alias(range(roles.ORDER_TABLES)).items():
        for column in ("attempt_no", "provider_no"):
            statement = statements.order_numbers_of_attempts(connections[alias].vendor, tables, f"{column} = %s")
            numbers |= {row[0] for row in reader.fetch(alias, statement, [text, limit] * len(tables))}
    marks = ", ".join(["%s"] * len(numbers))
    condition = f"(order_no IN ({marks}) OR business_no = %s OR original_order_no = %s)"
    return condition, [*sorted(numbers), text, text]


def _orders(fetch_each: FetchEach, keys: Sequence[Key]) -> tuple[OrderRecord, ...]:
    """The orders of these keys with their attempts, in the order of the keys."""
    wanted = by_database([number for _, number in keys])
    found: dict[str, OrderRecord] = {}
    for answer in fetch_each({alias: statements.whole_orders(tables) for alias, tables in wanted.items()}):
        found.update(rows.whole_orders(answer))
    return tuple(found[number] for _, number in keys if number in found)


def _fetch_each(questions: Mapping[str, Question]) -> list[Sequence[Row]]:
    """As Reader.fetch_each, but from the primaries and without a limit of time (sweeps)."""
    return [fetch(alias, *question) for alias, question in questions.items()]


def _by_alias(tables: Iterable[int]) -> dict[str, Tables]:
    found: dict[str, list[int]] = defaultdict(list)
    for table in tables:
        found[roles.orders_alias(table)].append(table)
    return {alias: tuple(numbers) for alias, numbers in found.items()}

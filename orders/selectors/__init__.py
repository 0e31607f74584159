"""Reads of orders and attempts as frozen records."""

from __future__ import annotations

import datetime as dt
import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import Q

from foundation.db import roles
from foundation.errors import NotFound, Rejected
from orders.domain import numbers, pages
from orders.domain.pages import Key
from orders.domain.records import AttemptRecord, NumberedPage, OrderPage, OrderRecord
from orders.domain.states import (
    OPEN_ATTEMPT_STATES,
    OPEN_ORDER_STATES,
    AttemptState,
    OrderKind,
    OrderState,
)
from orders.models import ATTEMPT_TABLES, ORDER_TABLES, AttemptRow, OrderRow

MAX_PAGE_OFFSET = 100_000
"""Nobody leafs that far by number; a program that reads everything uses the cursor."""


class PageTooDeep(Rejected):
    """The page lies past MAX_PAGE_OFFSET."""

    code = "page_too_deep"
    http_status = 422
    message_en = "This page is too deep. Use the cursor."
    message_zh = "页码过深，请使用游标翻页。"


def order_alias(number: str) -> str:
    """The database that holds an order or attempt number's row; NotFound for what is no number of ours."""
    return roles.orders_alias(_table(number))


def get_order(*, order_no: str) -> OrderRecord:
    """The order with its attempts, oldest attempt first; NotFound when there is none."""
    row = ORDER_TABLES[_table(order_no)].objects.filter(pk=order_no).first()
    if row is None:
        raise NotFound({"order_no": order_no[:32]})
    return order_record(row, _attempts_of(order_no))


def find_order(*, order_no: str) -> OrderRecord | None:
    """As get_order, None instead of NotFound."""
    try:
        return get_order(order_no=order_no)
    except NotFound:
        return None


def get_attempt(*, attempt_no: str) -> AttemptRecord:
    """One attempt by the number its provider knows; NotFound when there is none."""
    row = ATTEMPT_TABLES[_table(attempt_no)].objects.filter(pk=attempt_no).first()
    if row is None:
        raise NotFound({"attempt_no": attempt_no[:32]})
    return attempt_record(row)


def list_orders(
    *,
    employee_id: int,
    limit: int,
    before: tuple[dt.datetime, str] | None = None,
    kind: OrderKind | None = None,
    state: OrderState | None = None,
) -> OrderPage:
    """One page of an employee's orders over all tables, newest first by (created_at, order_no).

    Each table gives one page older than `before`; the pages are merged (design `sharding.md` 6). Attempts are loaded
    for the rows that are shown. `limit` 1 … 100.
    """
    filters = Q(employee_id=employee_id)
    if kind is not None:
        filters &= Q(kind=kind)
    if state is not None:
        filters &= Q(state=state)
    rows = _newest(filters, before=before, limit=limit + 1)
    shown = rows[:limit]
    attempts = _attempts_by_order([row.order_no for row in shown])
    more = (shown[-1].created_at, shown[-1].order_no) if len(rows) > limit else None
    return OrderPage(items=tuple(order_record(row, attempts.get(row.order_no, ())) for row in shown), next_after=more)


def page_orders(*, employee_id: int, page: int, page_size: int, as_of: dt.datetime) -> NumberedPage:
    """Numbered page (1 = newest) of an employee's orders that existed at `as_of`, over all tables, with the total.

    Exact however deep (orders.domain.pages). Raises PageTooDeep past MAX_PAGE_OFFSET: the cursor costs nothing there.
    """
    offset = (page - 1) * page_size
    if offset > MAX_PAGE_OFFSET:
        raise PageTooDeep({"max_page": MAX_PAGE_OFFSET // page_size + 1, "use": "GET orders?cursor="})
    filters = Q(employee_id=employee_id, created_at__lte=as_of)
    tables = [_Keys(table, filters) for table in ORDER_TABLES]
    keys = pages.page_keys(tables=tables, offset=offset, size=page_size)
    rows = _rows_by_number([number for _, number in keys])
    attempts = _attempts_by_order(list(rows))
    return NumberedPage(
        items=tuple(order_record(rows[number], attempts.get(number, ())) for _, number in keys if number in rows),
        page=page,
        total=sum(table.count() for table in tables),
        as_of=as_of,
    )


class _Keys:
    """orders.domain.pages.KeyTable over one order table."""

    def __init__(self, table: type[OrderRow], filters: Q) -> None:
        self._rows = table.objects.filter(filters)

    def count(self) -> int:
        return self._rows.count()

    def key_at(self, rank: int) -> Key | None:
        return self._newest_first(self._rows)[rank : rank + 1].first()

    def count_newer(self, key: Key) -> int:
        return self._rows.filter(self._newer_than(key)).count()

    def newer(self, key: Key, limit: int) -> Sequence[Key]:
        rows = self._rows.filter(self._newer_than(key)).order_by("created_at", "order_no")
        return list(rows.values_list("created_at", "order_no")[:limit])

    def from_key(self, key: Key, limit: int) -> Sequence[Key]:
        moment, number = key
        older = Q(created_at__lte=moment) & (Q(created_at__lt=moment) | Q(order_no__lte=number))
        return list(self._newest_first(self._rows.filter(older))[:limit])

    @staticmethod
    def _newest_first(rows: Any) -> Any:
        return rows.order_by("-created_at", "-order_no").values_list("created_at", "order_no")

    @staticmethod
    def _newer_than(key: Key) -> Q:
        moment, number = key
        return Q(created_at__gte=moment) & (Q(created_at__gt=moment) | Q(order_no__gt=number))


def _rows_by_number(order_nos: Sequence[str]) -> dict[str, OrderRow]:
    by_table: dict[int, list[str]] = defaultdict(list)
    for number in order_nos:
        by_table[_table(number)].append(number)
    found: dict[str, OrderRow] = {}
    for table, wanted in by_table.items():
        found.update(ORDER_TABLES[table].objects.in_bulk(wanted))
    return found


def list_due_attempts(*, now: dt.datetime, limit: int) -> list[AttemptRecord]:
    """Open attempts whose next check has come, from every table, longest due first."""
    due: list[AttemptRow] = []
    for table in ATTEMPT_TABLES:
        due += table.objects.filter(state__in=OPEN_ATTEMPT_STATES, next_check_at__lte=now).order_by("next_check_at")[
            :limit
        ]
    due.sort(key=lambda row: (row.next_check_at, row.attempt_no))
    return [attempt_record(row) for row in due[:limit]]


def list_expired_orders(*, now: dt.datetime, limit: int) -> list[OrderRecord]:
    """Unpaid orders past their life, from every table."""
    found: list[OrderRecord] = []
    for table in ORDER_TABLES:
        rows = table.objects.filter(state__in=OPEN_ORDER_STATES, expires_at__lte=now).order_by("expires_at")[:limit]
        found += [order_record(row, _attempts_of(row.order_no)) for row in rows]
    return found[:limit]


def get_states(*, order_nos: Sequence[str]) -> dict[str, OrderState]:
    """States of many orders by number, one query a table; numbers without an order are left out."""
    by_table: dict[int, list[str]] = defaultdict(list)
    for number in order_nos:
        by_table[_table(number)].append(number)
    found: dict[str, OrderState] = {}
    for table, wanted in by_table.items():
        rows = ORDER_TABLES[table].objects.filter(pk__in=wanted).values_list("pk", "state")
        found.update({number: OrderState(state) for number, state in rows})
    return found


def iterate_orders(*, state: OrderState | None = None) -> Iterator[OrderRecord]:
    """Every order of every table without attempts, streaming (proofs and reports)."""
    for table in ORDER_TABLES:
        rows = table.objects.all() if state is None else table.objects.filter(state=state)
        for row in rows.iterator(chunk_size=2000):
            yield order_record(row, ())


def search(*, text: str, kind: str = "", state: str = "", limit: int = 50) -> list[OrderRecord]:
    """Staff search: newest orders, or those a number leads to (order, attempt, provider's, business number)."""
    filters = Q()
    if kind:
        filters &= Q(kind=kind)
    if state:
        filters &= Q(state=state)
    rows = _newest(filters, before=None, limit=limit) if not text else _by_any_number(text, filters, limit)
    attempts = _attempts_by_order([row.order_no for row in rows])
    return [order_record(row, attempts.get(row.order_no, ())) for row in rows]


def _by_any_number(text: str, filters: Q, limit: int) -> list[OrderRow]:
    order_nos = {text}
    for attempts in ATTEMPT_TABLES:
        order_nos |= set(
            attempts.objects.filter(Q(attempt_no=text) | Q(provider_no=text)).values_list("order_no", flat=True)[:limit]
        )
    rows: list[OrderRow] = []
    for table in ORDER_TABLES:
        wanted = Q(order_no__in=order_nos) | Q(business_no=text) | Q(original_order_no=text)
        rows += table.objects.filter(filters & wanted)[:limit]
    rows.sort(key=lambda row: (row.created_at, row.order_no), reverse=True)
    return rows[:limit]


def _newest(filters: Q, *, before: tuple[dt.datetime, str] | None, limit: int) -> list[OrderRow]:
    older = Q()
    if before is not None:
        moment, number = before
        older = Q(created_at__lte=moment) & (Q(created_at__lt=moment) | Q(order_no__lt=number))
    pages = [
        list(table.objects.filter(filters & older).order_by("-created_at", "-order_no")[:limit])
        for table in ORDER_TABLES
    ]
    merged = heapq.merge(*pages, key=lambda row: (row.created_at, row.order_no), reverse=True)
    return [row for row, _ in zip(merged, range(limit), strict=False)]


def _attempts_by_order(order_nos: Sequence[str]) -> dict[str, list[AttemptRow]]:
    by_table: dict[int, list[str]] = defaultdict(list)
    for number in order_nos:
        by_table[_table(number)].append(number)
    found: dict[str, list[AttemptRow]] = defaultdict(list)
    for table, wanted in by_table.items():
        for row in ATTEMPT_TABLES[table].objects.filter(order_no__in=wanted).order_by("created_at", "attempt_no"):
            found[row.order_no].append(row)
    return found


def _attempts_of(order_no: str) -> list[AttemptRow]:
    rows = ATTEMPT_TABLES[_table(order_no)].objects.filter(order_no=order_no)
    return list(rows.order_by("created_at", "attempt_no"))


def _table(number: str) -> int:
    try:
        return numbers.table_of(number)
    except numbers.InvalidNumber as error:
        raise NotFound({"number": number[:64]}) from error


def attempt_record(row: AttemptRow) -> AttemptRecord:
    """The frozen copy of a row."""
    return AttemptRecord(
        attempt_no=row.attempt_no,
        order_no=row.order_no,
        channel=row.channel,
        scene=row.scene,
        state=AttemptState(row.state),
        amount_fen=row.amount_fen,
        provider_no=row.provider_no,
        payment=row.payment,
        result_code=row.result_code,
        is_effective=row.effective == 1,
        created_at=row.created_at,
        finished_at=row.finished_at,
        next_check_at=row.next_check_at,
        tries=row.tries,
    )


def order_record(row: OrderRow, attempts: Sequence[AttemptRow]) -> OrderRecord:
    """The frozen copy of a row with its attempts."""
    return OrderRecord(
        order_no=row.order_no,
        kind=OrderKind(row.kind),
        state=OrderState(row.state),
        amount_fen=row.amount_fen,
        refunding_fen=row.refunding_fen,
        refunded_fen=row.refunded_fen,
        subject=row.subject,
        employee_id=row.employee_id,
        enterprise_id=row.enterprise_id,
        business_no=row.business_no,
        original_order_no=row.original_order_no,
        effective_attempt_no=row.effective_attempt_no,
        created_at=row.created_at,
        paid_at=row.paid_at,
        closed_at=row.closed_at,
        expires_at=row.expires_at,
        attempts=tuple(attempt_record(attempt) for attempt in attempts),
    )

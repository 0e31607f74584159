"""What the sixteen order tables cost: opening, look-up and lists through the services, against one plain table.

    python3 -m tests.provision run -- .venv/bin/python -m benchmarks.orders [--rows 50000] [--seconds 5] [--json]

The plain table has the columns, indexes and checks of an order table and holds the same orders as all sixteen do.
Before anything is timed, every read is compared with the plain table's. Goals: design `performance.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import itertools
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import databases, measure
from benchmarks.measure import Case, Goal, Step

ORDERS_OF_EMPLOYEE = 1000
PAGE = 20
BATCH = 2000
"""Rows of one INSERT while filling: some 400 KB, far below max_allowed_packet."""
BASE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ENTERPRISE_ID = 1
FILLING_NODE = 46_655
"""The last node id: the run's own lease is of the first ones, so numbers never meet."""

GOAL_INSERT = Goal(at_least=0.4)
GOAL_LOOK_UP = Goal(at_most=1.3)
GOAL_LIST = Goal(at_most=3)


@dataclass(frozen=True, kw_only=True)
class Plain:
    """The unsharded twins: one table of orders, one of attempts, on the database of order table 0."""

    orders: Any
    attempts: Any
    alias: str


@contextlib.contextmanager
def plain_tables() -> Iterator[Plain]:
    """Makes the twins from the abstract models, without the guard of the sharded ones."""
    from django.db import connections, models

    from foundation.db import roles
    from orders.models import AttemptRow, OrderRow

    class BenchOrder(OrderRow):
        class Meta(OrderRow.Meta):
            app_label = "orders"
            db_table = "bench_order"

        def save(self, *args: Any, **kwargs: Any) -> None:
            models.Model.save(self, *args, **kwargs)

    class BenchAttempt(AttemptRow):
        class Meta(AttemptRow.Meta):
            app_label = "orders"
            db_table = "bench_attempt"

        def save(self, *args: Any, **kwargs: Any) -> None:
            models.Model.save(self, *args, **kwargs)

    alias = roles.orders_alias(0)
    with connections[alias].schema_editor() as editor:
        editor.create_model(BenchOrder)
        editor.create_model(BenchAttempt)
    yield Plain(
        orders=BenchOrder.objects.using(alias),
        attempts=BenchAttempt.objects.using(alias),
        alias=alias,
    )


def order_values(index: int, employee_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns of a paid order and its attempt, the one of this index; one order a second since BASE."""
    from orders.domain import numbers
    from orders.domain.states import AttemptState, OrderKind, OrderState

    moment = BASE + dt.timedelta(seconds=index)
    parts: dict[str, Any] = {
        "version": "1",
        "node_id": FILLING_NODE,
        "account_id": employee_id,
        "epoch_ms": int(moment.timestamp() * 1000),
        "counter": index % numbers.COUNTERS + 1,
    }
    gene = employee_id % numbers.TABLES
    order_no = numbers.compose(prefix=numbers.Prefix.RECHARGE, gene=gene, **parts)
    attempt_no = numbers.compose(prefix=numbers.Prefix.ATTEMPT, gene=numbers.table_of(order_no), **parts)
    order = {
        "order_no": order_no,
        "kind": OrderKind.RECHARGE,
        "state": OrderState.SUCCESS,
        "amount_fen": 100 + index % 900,
        "subject": "Benchmark",
        "employee_id": employee_id,
        "enterprise_id": ENTERPRISE_ID,
        "effective_attempt_no": attempt_no,
        "created_at": moment,
        "paid_at": moment,
        "expires_at": moment + dt.timedelta(hours=2),
    }
    attempt = {
        "attempt_no": attempt_no,
        "order_no": order_no,
        "channel": "wechat",
        "scene": "native",
        "state": AttemptState.SUCCESS,
        "amount_fen": order["amount_fen"],
        "provider_no": f"P{index:012d}",
        "effective": 1,
        "created_at": moment,
        "finished_at": moment,
    }
    return order, attempt


def fill(plain: Plain, rows: int) -> list[str]:
    """`rows` orders with one attempt each, into the sharded and the plain tables; returns the order numbers."""
    from django.db import connections

    from foundation.db import roles
    from orders.domain import numbers
    from orders.models import ATTEMPT_TABLES, ORDER_TABLES

    employees = employee_count(rows)
    issued = []
    for start in range(0, rows, BATCH):
        pairs = [order_values(index, index % employees + 1) for index in range(start, min(start + BATCH, rows))]
        by_table: dict[int, list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
        for order, attempt in pairs:
            by_table[numbers.table_of(order["order_no"])].append((order, attempt))
            issued.append(order["order_no"])
        plain.orders.bulk_create([plain.orders.model(**order) for order, _ in pairs])
        plain.attempts.bulk_create([plain.attempts.model(**attempt) for _, attempt in pairs])
        for table, group in by_table.items():
            alias, orders, attempts = roles.orders_alias(table), ORDER_TABLES[table], ATTEMPT_TABLES[table]
            orders.objects.using(alias).bulk_create([orders(**order) for order, _ in group])
            attempts.objects.using(alias).bulk_create([attempts(**attempt) for _, attempt in group])
    for alias in roles.order_aliases():
        with connections[alias].cursor() as cursor:
            for name in connections[alias].introspection.table_names(cursor):
                if name.startswith(("orders_", "bench_")):
                    cursor.execute(f"ANALYZE TABLE {name}")
                    cursor.fetchall()
    return issued


def employee_count(rows: int) -> int:
    return max(1, rows // ORDERS_OF_EMPLOYEE)


# --- opening ----------------------------------------------------------------------------------------------

plain_numbers = itertools.count(1)


def plain_insert(plain: Plain) -> Callable[[int], Step]:
    """What every Django project does: one `create`, committed by itself."""
    from foundation import clock

    def step() -> int:
        order, _ = order_values(0, 1)
        number = f"{next(plain_numbers):032d}"
        plain.orders.create(**{**order, "order_no": number, "created_at": clock.now()})
        return 1

    return lambda worker: step


def plain_pair(plain: Plain) -> Callable[[int], Step]:
    """An order and its attempt, two `create`s in one transaction."""
    from django.db import transaction

    from foundation import clock

    def step() -> int:
        order, attempt = order_values(0, 1)
        number = f"{next(plain_numbers):032d}"
        now = clock.now()
        with transaction.atomic(using=plain.alias):
            plain.orders.create(**{**order, "order_no": number, "created_at": now})
            plain.attempts.create(**{**attempt, "attempt_no": number, "order_no": number, "created_at": now})
        return 1

    return lambda worker: step


def service_open(*, in_one_transaction: bool) -> Callable[[int], Step]:
    """Numbers, order and attempt through the services: each committed by itself as payments does, or together."""
    from foundation import clock
    from orders.domain.records import NewOrder
    from orders.domain.states import OrderKind
    from orders.services import numbers, opening

    employees = itertools.cycle(range(1_000_001, 1_001_001))

    def step() -> int:
        employee_id = next(employees)
        now = clock.now()
        order_no = numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=employee_id)
        new = NewOrder(
            order_no=order_no,
            kind=OrderKind.RECHARGE,
            amount_fen=100,
            employee_id=employee_id,
            enterprise_id=ENTERPRISE_ID,
            subject="Benchmark",
            expires_at=now + dt.timedelta(hours=2),
        )
        attempt_no = numbers.issue_attempt(order_no=order_no)

        def work() -> None:
            opening.open_order(new=new, now=now)
            opening.open_attempt(
                order_no=order_no, attempt_no=attempt_no, channel="wechat", scene="native", amount_fen=100, now=now
            )

        if in_one_transaction:
            opening.in_transaction(order_no, work)
        else:
            work()
        return 1

    return lambda worker: step


# --- reading ----------------------------------------------------------------------------------------------


def each(work: Callable[[Any], object], arguments: Sequence[Any]) -> Callable[[int], Step]:
    """A step that calls `work` with a random one of the arguments."""

    def step() -> int:
        work(random.choice(arguments))
        return 1

    return lambda worker: step


def plain_page(plain: Plain, employee_id: int, before: tuple[dt.datetime, str] | None) -> list[Any]:
    """One table's own cursor query, with the row more that tells whether there is a next page."""
    from django.db.models import Q

    rows = plain.orders.filter(employee_id=employee_id)
    if before is not None:
        moment, number = before
        rows = rows.filter(Q(created_at__lte=moment) & (Q(created_at__lt=moment) | Q(order_no__lt=number)))
    return list(rows.order_by("-created_at", "-order_no")[: PAGE + 1])


def plain_page_with_attempts(plain: Plain, employee_id: int, before: tuple[dt.datetime, str] | None) -> list[Any]:
    """The same answer as the selector's from plain tables: page, attempts, frozen records."""
    from orders import selectors

    rows = plain_page(plain, employee_id, before)[:PAGE]
    found = defaultdict(list)
    for attempt in plain.attempts.filter(order_no__in=[row.order_no for row in rows]).order_by("created_at"):
        found[attempt.order_no].append(attempt)
    return [selectors.order_record(row, found[row.order_no]) for row in rows]


def plain_order(plain: Plain, order_no: str) -> Any:
    """The same answer as get_order's from plain tables."""
    from orders import selectors

    row = plain.orders.get(pk=order_no)
    return selectors.order_record(row, list(plain.attempts.filter(order_no=order_no).order_by("created_at")))


def deep_keys(plain: Plain, employees: Sequence[int]) -> list[tuple[int, tuple[dt.datetime, str]]]:
    """Per employee the key after nine tenths of the orders."""
    found = []
    for employee_id in employees:
        rows = plain.orders.filter(employee_id=employee_id).order_by("-created_at", "-order_no")
        found.append((employee_id, rows.values_list("created_at", "order_no")[rows.count() * 9 // 10]))
    return found


def check_answers(plain: Plain, issued: Sequence[str], deep: Sequence[tuple[int, tuple[dt.datetime, str]]]) -> None:
    """Raises RuntimeError when the sixteen tables answer other than the plain one."""
    from orders import selectors

    for order_no in random.sample(issued, 20):
        if selectors.get_order(order_no=order_no) != plain_order(plain, order_no):
            raise RuntimeError(f"{order_no} differs from the plain table")
    for employee_id, key in deep[:10]:
        for before in (None, key):
            page = selectors.list_orders(employee_id=employee_id, limit=PAGE, before=before)
            if list(page.items) != plain_page_with_attempts(plain, employee_id, before) or len(page.items) != PAGE:
                raise RuntimeError(f"a page of employee {employee_id} differs from the plain table")


def cases(plain: Plain, issued: Sequence[str]) -> list[Case]:
    """Goals are about the plainest baseline; the second one gives the same answer from the plain tables."""
    from orders import selectors

    employees = range(1, employee_count(len(issued)) + 1)
    deep = deep_keys(plain, employees)
    check_answers(plain, issued, deep)
    attempt_nos = list(plain.attempts.values_list("attempt_no", flat=True)[:5000])

    def listed(place: tuple[int, tuple[dt.datetime, str] | None]) -> object:
        return selectors.list_orders(employee_id=place[0], limit=PAGE, before=place[1])

    made = [
        Case(name="plain insert", prepare=plain_insert(plain)),
        Case(name="plain insert of order and attempt", prepare=plain_pair(plain)),
    ]
    for name, in_one in (("open order, attempt", False), ("open order, attempt in one transaction", True)):
        made.append(
            Case(
                name=name,
                prepare=service_open(in_one_transaction=in_one),
                baseline="plain insert",
                second_baseline="plain insert of order and attempt",
                goal=GOAL_INSERT,
            )
        )
    reads: list[tuple[str, Callable[[Any], object], Sequence[Any], str, Goal | None]] = [
        ("plain look-up", lambda number: plain.orders.get(pk=number), issued, "", None),
        ("plain look-up with attempts", lambda number: plain_order(plain, number), issued, "", None),
        ("get_attempt", lambda number: selectors.get_attempt(attempt_no=number), attempt_nos, "plain look-up", None),
        ("get_order", lambda number: selectors.get_order(order_no=number), issued, "plain look-up", GOAL_LOOK_UP),
    ]
    for title, places in (("first page", [(employee, None) for employee in employees]), ("deep page", deep)):
        plain_name = f"plain {title}"
        reads += [
            (plain_name, lambda place: plain_page(plain, *place), places, "", None),
            (f"{plain_name} with attempts", lambda place: plain_page_with_attempts(plain, *place), places, "", None),
            (f"list_orders, {title}", listed, places, plain_name, GOAL_LIST),
        ]
    for name, work, arguments, baseline, goal in reads:
        made.append(
            Case(
                name=name,
                prepare=each(work, arguments),
                baseline=baseline,
                second_baseline=f"{baseline} with attempts" if goal else "",
                goal=goal,
            )
        )
    return made


def main(arguments: Sequence[str]) -> int:
    """Runs, prints, returns 0; 2 when there is no MariaDB to run on."""
    parser = measure.parser("orders", (__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000, help="orders in the tables (default 50000)")
    options = parser.parse_args(arguments)
    if options.rows < ORDERS_OF_EMPLOYEE:
        parser.error(f"--rows must be {ORDERS_OF_EMPLOYEE} or more")
    try:
        with databases.bench_databases(), plain_tables() as plain:
            return _report(plain, options)
    except databases.CannotRun as error:
        print(f"benchmarks.orders: {error}", file=sys.stderr)
        return 2


def _report(plain: Plain, options: argparse.Namespace) -> int:
    print(f"filling {options.rows} orders", file=sys.stderr, flush=True)
    issued = fill(plain, options.rows)
    rows = measure.run(cases(plain, issued), seconds=options.seconds, rounds=options.rounds)
    print(measure.table(rows))
    if options.json:
        facts = {"seconds": options.seconds, "rounds": options.rounds, "rows": options.rows}
        print(measure.json_line("orders", rows, **facts))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

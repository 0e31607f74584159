"""What the sixteen order tables cost at full depth: opening, look-up, lists and pages against unsharded tables.

    python3 -m tests.provision run -- .venv/bin/python -m benchmarks.orders [--orders 1000000] [--seconds 5] [--json]

`manage.py generate_orders` fills the sixteen tables; the plain ones have the same columns, indexes, checks and rows.
All stand on one server. Before anything is timed, every read is compared with the plain tables'. Goals: design
`performance.md`; baselines are read by literal SQL through Django's cursor into the same records, and once more by the
ORM.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime as dt
import itertools
import os
import random
import re
import resource
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from benchmarks import databases, measure
from benchmarks.measure import Case, Goal, Step

PAGE = 20
DEEP_PAGE = 1000
"""Or the last full page of the busy employees, when there are fewer than 850 000 orders."""
SAMPLES = 5000
ENTERPRISE_ID = 1

GOAL_INSERT = Goal(at_least=0.4)
GOAL_LOOK_UP = Goal(at_most=1.3)
GOAL_LIST = Goal(at_most=3)

Key = tuple[dt.datetime, str]
Place = tuple[int, Key | None]
"""Employee, and the key before the page (None: the first page)."""


@dataclass(frozen=True, kw_only=True)
class Plain:
    """The unsharded twins: one table of orders, one of attempts, on the database of order table 0."""

    orders: Any
    attempts: Any
    alias: str


@contextlib.contextmanager
def plain_tables() -> Iterator[Plain]:
    """Makes the twins from the abstract models, without the guard of the sharded ones and still without indexes."""
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
        for model in (BenchOrder, BenchAttempt):
            editor.create_model(model)
    with connections[alias].schema_editor() as editor:
        for model in (BenchOrder, BenchAttempt):
            for index in model._meta.indexes:
                editor.remove_index(model, index)
    yield Plain(orders=BenchOrder.objects.using(alias), attempts=BenchAttempt.objects.using(alias), alias=alias)


# --- filling ----------------------------------------------------------------------------------------------


def fill(plain: Plain, orders: int) -> None:
    """Fills the sixteen tables by the generator, copies them into the plain ones and gives these their indexes."""
    from django.core.management import call_command
    from django.db import connections

    from foundation.db import roles
    from orders.selectors import statements

    call_command("generate_orders", orders=orders)
    print("copying into the plain tables", file=sys.stderr, flush=True)
    for table in range(roles.ORDER_TABLES):
        there = connections[roles.orders_alias(table)].settings_dict
        for name, source, columns in (
            ("bench_order", statements.order_table(table), statements.ORDER_COLUMNS),
            ("bench_attempt", statements.attempt_table(table), statements.ATTEMPT_COLUMNS),
        ):
            listed = ", ".join(columns)
            with connections[plain.alias].cursor() as cursor:
                cursor.execute(f"INSERT INTO {name} ({listed}) SELECT {listed} FROM {there['NAME']}.{source}")
    with connections[plain.alias].schema_editor() as editor:
        for model in (plain.orders.model, plain.attempts.model):
            for index in model._meta.indexes:
                editor.add_index(model, index)
    for alias in roles.order_aliases():
        with connections[alias].cursor() as cursor:
            for name in connections[alias].introspection.table_names(cursor):
                if name.startswith(("orders_order_", "orders_attempt_", "bench_")):
                    cursor.execute(f"ANALYZE TABLE {name}")
                    cursor.fetchall()


def on_one_server(environment: Mapping[str, str]) -> dict[str, str]:
    """The order databases' variables, all on the server of the first one: the plain tables are filled from there."""
    found = {name: url for name, url in environment.items() if re.fullmatch(r"ORDERS_\d+_DATABASE_URL", name) and url}
    if not found:
        return {}
    server = urlsplit(found[min(found)]).netloc
    return {name: urlunsplit(urlsplit(url)._replace(netloc=server)) for name, url in found.items()}


@contextlib.contextmanager
def buffer_pool(plain: Plain, megabytes: int) -> Iterator[int]:
    """Gives the server so much memory for the run and takes it back; 0 leaves it. Yields what it has, in MB."""
    from django.db import connections

    with connections[plain.alias].cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.innodb_buffer_pool_size")
        (before,) = cursor.fetchone()
        if megabytes:
            cursor.execute("SET GLOBAL innodb_buffer_pool_size = %s", [megabytes * 1024 * 1024])
    try:
        yield megabytes or before // 1024 // 1024
    finally:
        if megabytes:
            with connections[plain.alias].cursor() as cursor:
                cursor.execute("SET GLOBAL innodb_buffer_pool_size = %s", [before])


def sample_numbers(plain: Plain) -> list[str]:
    """Numbers of orders from the whole time."""
    first, last = (
        plain.orders.order_by(way).values_list("created_at", flat=True)[0] for way in ("created_at", "-created_at")
    )
    found: set[str] = set()
    for _ in range(50):
        moment = first + (last - first) * random.random()
        rows = plain.orders.filter(created_at__gte=moment).order_by("created_at", "order_no")
        found |= set(rows.values_list("order_no", flat=True)[: SAMPLES // 50])
    return sorted(found)


# --- opening ----------------------------------------------------------------------------------------------

plain_numbers = itertools.count(1)


def plain_values(number: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns of a pending order and its attempt."""
    from foundation import clock
    from orders.domain.states import AttemptState, OrderKind, OrderState

    now = clock.now()
    order = {
        "order_no": number,
        "kind": OrderKind.RECHARGE,
        "state": OrderState.PENDING,
        "amount_fen": 100,
        "subject": "Benchmark",
        "employee_id": 1,
        "enterprise_id": ENTERPRISE_ID,
        "created_at": now,
        "expires_at": now + dt.timedelta(hours=2),
    }
    attempt = {
        "attempt_no": number,
        "order_no": number,
        "channel": "wechat",
        "scene": "native",
        "state": AttemptState.CREATED,
        "amount_fen": 100,
        "created_at": now,
    }
    return order, attempt


def plain_insert(plain: Plain) -> Callable[[int], Step]:
    """What every Django project does: one `create`, committed by itself."""

    def step() -> int:
        plain.orders.create(**plain_values(f"{next(plain_numbers):032d}")[0])
        return 1

    return lambda worker: step


def plain_pair(plain: Plain) -> Callable[[int], Step]:
    """An order and its attempt, two `create`s in one transaction."""
    from django.db import transaction

    def step() -> int:
        order, attempt = plain_values(f"{next(plain_numbers):032d}")
        with transaction.atomic(using=plain.alias):
            plain.orders.create(**order)
            plain.attempts.create(**attempt)
        return 1

    return lambda worker: step


def service_open(*, together: bool) -> Callable[[int], Step]:
    """Numbers, order and attempt through the services: in one commit as `payments` does, or by two calls."""
    from foundation import clock
    from orders.domain.records import NewAttempt, NewOrder
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
            channel="wechat",
        )
        attempt_no = numbers.issue_attempt(order_no=order_no)
        attempt = NewAttempt(attempt_no=attempt_no, channel="wechat", scene="native", amount_fen=100)
        if together:
            opening.open_with_attempt(new=new, attempt=attempt, now=now)
        else:
            order = opening.open_order(new=new, now=now)
            opening.open_attempt(order_no=order_no, now=now, order_channel=order.channel, **vars(attempt))
        return 1

    return lambda worker: step


def opening_cases(plain: Plain) -> list[Case]:
    made = [
        Case(name="plain ORM insert", prepare=plain_insert(plain)),
        Case(name="plain ORM insert of order and attempt", prepare=plain_pair(plain)),
    ]
    for name, together in (("open_with_attempt", True), ("open_order, open_attempt", False)):
        made.append(
            Case(
                name=name,
                prepare=service_open(together=together),
                baseline="plain ORM insert",
                second_baseline="plain ORM insert of order and attempt",
                goal=GOAL_INSERT,
            )
        )
    return made


# --- the plain answers ------------------------------------------------------------------------------------


def by_cursor(alias: str, text: str, parameters: Sequence[Any]) -> Sequence[Any]:
    """What a careful Django program does: literal SQL through Django's cursor."""
    from django.db import connections

    with connections[alias].cursor() as cursor:
        cursor.execute(text, parameters)
        return cursor.fetchall()


def plain_look_up(plain: Plain, order_no: str, fetch: Callable[..., Sequence[Any]]) -> Any:
    """One row by its primary key as the record that the selectors give, without attempts."""
    from orders.selectors import rows, statements

    text = f"SELECT {statements.ORDER_LIST} FROM bench_order WHERE order_no = %s"
    return rows.order(fetch(plain.alias, text, [order_no])[0])


def plain_whole_order(plain: Plain, order_no: str) -> Any:
    """One order with its attempts from the plain tables, by one statement."""
    from orders.selectors import rows, statements

    text = (
        statements.whole_order(0)
        .replace("orders_order_00", "bench_order")
        .replace("orders_attempt_00", "bench_attempt")
    )
    return rows.whole_order(by_cursor(plain.alias, text, [order_no]))


def page_of(alias: str, table: str, place: Place) -> list[Any]:
    """One table's own cursor page in the same style, with the row more that tells whether there is a next page."""
    from orders.domain.filters import OrderFilter
    from orders.selectors import rows, statements

    employee_id, before = place
    wanted = statements.conditions(OrderFilter(employee_id=employee_id))
    condition, values = statements.both(wanted, statements.older(before) if before else None)
    text = (
        f"SELECT {statements.ORDER_LIST} FROM {table} WHERE {condition} "
        "ORDER BY created_at DESC, order_no DESC LIMIT %s"
    )
    return [rows.order(row) for row in by_cursor(alias, text, [*values, PAGE + 1])]


def page_with_attempts(alias: str, table: int, place: Place) -> list[Any]:
    """One shard's own page with the attempts of its rows: what list_orders answers, of one table."""
    from orders.models import ATTEMPT_TABLES, ORDER_TABLES
    from orders.selectors import rows, statements

    found = page_of(alias, ORDER_TABLES[table]._meta.db_table, place)[:PAGE]
    marks = ", ".join(["%s"] * len(found))
    text = f"SELECT {statements.ATTEMPT_LIST} FROM {ATTEMPT_TABLES[table]._meta.db_table} WHERE order_no IN ({marks})"
    attempts: dict[str, list[Any]] = defaultdict(list)
    for row in by_cursor(alias, text, [order.order_no for order in found]):
        attempts[row[1]].append(rows.attempt(row))
    return [dataclasses.replace(order, attempts=tuple(attempts[order.order_no])) for order in found]


def orm_page(rows: Any, place: Place) -> list[Any]:
    """The same page by the ORM, as model instances."""
    from django.db.models import Q

    employee_id, before = place
    rows = rows.filter(employee_id=employee_id)
    if before is not None:
        moment, number = before
        rows = rows.filter(Q(created_at__lte=moment) & (Q(created_at__lt=moment) | Q(order_no__lt=number)))
    return list(rows.order_by("-created_at", "-order_no")[: PAGE + 1])


def plain_numbered(plain: Plain, employee_id: int, page: int) -> list[Any]:
    """A numbered page of the plain table with its total: keys first, then rows, as the design's plain table."""
    from orders.selectors import rows, statements

    total = by_cursor(plain.alias, "SELECT COUNT(*) FROM bench_order WHERE employee_id = %s", [employee_id])
    assert total[0][0] > (page - 1) * PAGE
    text = (
        f"SELECT {statements.ORDER_LIST} FROM bench_order JOIN (SELECT order_no AS shown FROM bench_order "
        "WHERE employee_id = %s ORDER BY created_at DESC, order_no DESC LIMIT %s OFFSET %s) keys_shown "
        "ON order_no = shown"
    )
    return [rows.order(row) for row in by_cursor(plain.alias, text, [employee_id, PAGE, (page - 1) * PAGE])]


def record_of(plain: Plain, row: Any) -> Any:
    """A row of the plain tables as the selectors give it, by the ORM: another way than theirs, to compare with."""
    from orders.domain.records import AttemptRecord, OrderRecord
    from orders.domain.states import AttemptState, OrderKind, OrderState
    from orders.selectors.statements import ATTEMPT_COLUMNS, ORDER_COLUMNS

    attempts = []
    for attempt in plain.attempts.filter(order_no=row.order_no).order_by("created_at", "attempt_no"):
        values = {name: getattr(attempt, name) for name in ATTEMPT_COLUMNS if name != "effective"}
        values["state"] = AttemptState(attempt.state)
        attempts.append(AttemptRecord(**values, is_effective=attempt.effective == 1))
    values = {name: getattr(row, name) for name in ORDER_COLUMNS}
    values |= {"kind": OrderKind(row.kind), "state": OrderState(row.state)}
    return OrderRecord(**values, attempts=tuple(attempts))


def check_answers(plain: Plain, issued: Sequence[str], places: Sequence[Place], pages: Sequence[int]) -> None:
    """Raises RuntimeError when the sixteen tables answer other than the plain ones."""
    from foundation import clock
    from orders import selectors

    for order_no in random.sample(issued, min(50, len(issued))):
        whole = record_of(plain, plain.orders.get(pk=order_no))
        alone = dataclasses.replace(whole, attempts=())
        read = [selectors.get_order(order_no=order_no), selectors.get_order_row(order_no=order_no)]
        if read != [whole, alone] or plain_whole_order(plain, order_no) != whole:
            raise RuntimeError(f"{order_no} differs from the plain table")
    for place in places:
        page = selectors.list_orders(employee_id=place[0], limit=PAGE, before=place[1])
        if list(page.items) != [record_of(plain, row) for row in orm_page(plain.orders, place)[:PAGE]]:
            raise RuntimeError(f"the page of {place} differs from the plain table")
    for employee_id in {place[0] for place in places}:
        for number in pages:
            numbered = selectors.page_orders(
                employee_id=employee_id, page=number, page_size=PAGE, as_of=clock.now() + dt.timedelta(days=9999)
            )
            rows = plain.orders.filter(employee_id=employee_id).order_by("-created_at", "-order_no")
            wanted = [record_of(plain, row) for row in rows[(number - 1) * PAGE : number * PAGE]]
            if (list(numbered.items), numbered.total) != (wanted, rows.count()):
                raise RuntimeError(f"page {number} of employee {employee_id} differs from the plain table")


# --- reading ----------------------------------------------------------------------------------------------


def each(work: Callable[[Any], object], arguments: Sequence[Any]) -> Callable[[int], Step]:
    """A step that calls `work` with a random one of the arguments."""

    def step() -> int:
        work(random.choice(arguments))
        return 1

    return lambda worker: step


def reading_cases(plain: Plain) -> tuple[list[Case], int]:
    """Goals are about the strictest baseline, which reads by literal SQL, too; also the number of the deep page."""
    from orders import selectors
    from orders.management import samples
    from orders.selectors import sources

    issued = sample_numbers(plain)
    busy = list(range(samples.EMPLOYEE_BASE, samples.EMPLOYEE_BASE + samples.BUSY_EMPLOYEES))
    least = min(plain.orders.filter(employee_id=employee_id).count() for employee_id in busy)
    deep_page = min(DEEP_PAGE, least // PAGE)
    first: list[Place] = [(employee_id, None) for employee_id in busy]
    deep: list[Place] = []
    for employee_id in busy:
        rows = plain.orders.filter(employee_id=employee_id).order_by("-created_at", "-order_no")
        deep.append((employee_id, rows.values_list("created_at", "order_no")[(deep_page - 1) * PAGE - 1]))
    check_answers(plain, issued, [*first, *deep], [1, deep_page])
    look_up = Case(name="plain look-up", prepare=each(lambda number: plain_look_up(plain, number, by_cursor), issued))
    driver = Case(
        name="plain look-up by driver", prepare=each(lambda number: plain_look_up(plain, number, sources.fetch), issued)
    )
    orm = Case(name="plain look-up by ORM", prepare=each(lambda number: plain.orders.get(pk=number), issued))
    both = Case(
        name="plain look-up with attempts", prepare=each(lambda number: plain_whole_order(plain, number), issued)
    )
    alone = Case(
        name="get_order_row",
        prepare=each(lambda number: selectors.get_order_row(order_no=number), issued),
        baseline=look_up.name,
        second_baseline=driver.name,  # without what Django's cursor costs the baseline, too
        goal=GOAL_LOOK_UP,
    )
    get = Case(
        name="get_order",
        prepare=each(lambda number: selectors.get_order(order_no=number), issued),
        baseline=both.name,
        second_baseline=look_up.name,  # reads two more pages than this
        goal=GOAL_LOOK_UP,
    )
    by_orm = dataclasses.replace(get, name="get_order again", baseline=orm.name, second_baseline="", goal=None)
    made = [look_up, driver, orm, both, alone, get, by_orm]
    for number, places in ((1, first), (deep_page, deep)):
        made += _list_cases(plain, f"page {number}", places)
    for number in (1, deep_page):
        made += _numbered_cases(plain, number, busy)
    return made, deep_page


def _list_cases(plain: Plain, title: str, places: Sequence[Place]) -> list[Case]:
    from foundation.db import roles
    from orders import selectors
    from orders.models import ORDER_TABLES

    def of_one_shard(place: Place) -> object:
        table = random.randrange(roles.ORDER_TABLES)
        return page_of(roles.orders_alias(table), ORDER_TABLES[table]._meta.db_table, place)

    def whole(place: Place) -> object:
        table = random.randrange(roles.ORDER_TABLES)
        return page_with_attempts(roles.orders_alias(table), table, place)

    def by_orm(place: Place) -> object:
        return orm_page(random.choice(ORDER_TABLES).objects, place)

    def listed(place: Place) -> object:
        return selectors.list_orders(employee_id=place[0], limit=PAGE, before=place[1])

    return [
        Case(name=f"one shard, {title}", prepare=each(of_one_shard, places)),
        Case(name=f"one shard with attempts, {title}", prepare=each(whole, places)),
        Case(name=f"one shard by ORM, {title}", prepare=each(by_orm, places)),
        Case(
            name=f"list_orders, {title}",
            prepare=each(listed, places),
            baseline=f"one shard with attempts, {title}",
            second_baseline=f"one shard, {title}",
            goal=GOAL_LIST,
        ),
        Case(
            name=f"list_orders again, {title}",
            prepare=each(listed, places),
            baseline=f"one shard by ORM, {title}",
        ),
    ]


def _numbered_cases(plain: Plain, number: int, busy: Sequence[int]) -> list[Case]:
    from orders import selectors

    as_of = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)

    def numbered(employee_id: int) -> object:
        return selectors.page_orders(employee_id=employee_id, page=number, page_size=PAGE, as_of=as_of)

    name = f"plain numbered page {number}"
    return [
        Case(name=name, prepare=each(lambda employee_id: plain_numbered(plain, employee_id, number), busy)),
        Case(name=f"page_orders, page {number}", prepare=each(numbered, busy), baseline=name),
    ]


# --- the run ----------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Runs, prints, returns 0; 2 when there is no MariaDB to run on."""
    parser = measure.parser("orders", (__doc__ or "").splitlines()[0])
    parser.add_argument("--orders", type=int, default=50_000, help="orders in the tables (default 50000)")
    parser.add_argument(
        "--buffer-pool-mb", type=int, default=0, help="memory the server gets for the run (0: as it is)"
    )
    options = parser.parse_args(arguments)
    if options.orders < 5000:
        parser.error("--orders must be 5000 or more")
    os.environ.update(on_one_server(os.environ))
    try:
        with (
            databases.bench_databases(),
            plain_tables() as plain,
            buffer_pool(plain, options.buffer_pool_mb) as pool_megabytes,
        ):
            return _report(plain, options, pool_megabytes)
    except databases.CannotRun as error:
        print(f"benchmarks.orders: {error}", file=sys.stderr)
        return 2


def _report(plain: Plain, options: argparse.Namespace, pool_megabytes: int) -> int:
    fill(plain, options.orders)
    filled = peak_megabytes()
    cases, deep_page = reading_cases(plain)
    rows = measure.run([*opening_cases(plain), *cases], seconds=options.seconds, rounds=options.rounds)
    print(measure.table(rows))
    print(
        f"{options.orders:,} orders, the server's buffer pool has {pool_megabytes} MB; "
        f"peak memory of this process {filled} MB filling, {peak_megabytes()} MB in all"
    )
    if options.json:
        facts = {
            "seconds": options.seconds,
            "rounds": options.rounds,
            "orders": options.orders,
            "deep_page": deep_page,
            "buffer_pool_mb": pool_megabytes,
            "peak_mb": peak_megabytes(),
        }
        print(measure.json_line("orders", rows, **facts))
    return 0


def peak_megabytes() -> int:
    """The most memory this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

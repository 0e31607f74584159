"""`manage.py generate_orders --orders N`: made-up orders and attempts for measurements of scale, without journals."""

from __future__ import annotations

import datetime as dt
import gc
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections, transaction

from foundation import clock
from foundation.db import roles
from orders.domain.states import AttemptState, OrderState
from orders.management import samples
from orders.management.samples import Attempt, Order, Plan

WORKERS = 2
"""One makes rows while the server writes those of the other."""
ROWS = 1000
"""Rows of one INSERT: some 300 KB of text, far below max_allowed_packet."""
LIFETIME = dt.timedelta(minutes=30)
PROGRESS_SECONDS = 2.0

ORDER_COLUMNS = (
    "order_no, kind, state, amount_fen, refunding_fen, refunded_fen, subject, employee_id, enterprise_id, business_no, "
    "original_order_no, effective_attempt_no, created_at, paid_at, closed_at, expires_at, channel"
)
ATTEMPT_COLUMNS = (
    "attempt_no, order_no, channel, scene, state, amount_fen, provider_no, payment, result_code, effective, "
    "created_at, finished_at, next_check_at, tries"
)


class Command(BaseCommand):
    help = (
        "Fills the order tables with made-up orders and attempts, for measurements of scale. It makes no journals: the "
        "proof of the books will say so. Running it again with the same options goes on where it stopped."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--orders", type=int, required=True, help="number of orders")
        parser.add_argument("--employees", type=int, default=0, help="people they belong to (default: one in 1000)")
        parser.add_argument("--days", type=int, default=365, help="days they are spread over (default 365)")
        parser.add_argument("--seed", type=int, default=1, help="another seed makes other orders (default 1)")
        parser.add_argument("--until", type=dt.date.fromisoformat, help="last day (default 2026-11-01)")
        parser.add_argument("--workers", type=int, default=WORKERS, help=f"connections used (default {WORKERS})")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.ENVIRONMENT == "production":
            raise CommandError("Made-up orders have no place in production.")
        plan = plan_of(options)
        self.stderr.write("Orders and attempts only, no journals: the proof of the books will miss them.")
        workers = options["workers"]
        if any(connections[alias].vendor == "sqlite" for alias in roles.order_aliases()):
            workers = 1  # one writer at a time anyway
        made = Progress(self, plan)
        gc.disable()  # millions of small objects without cycles: looking for some takes a third of the time
        try:
            with ThreadPoolExecutor(max_workers=workers) as pool:
                for _ in pool.map(lambda chunk: _work(plan, chunk, made), range(plan.chunks)):
                    pass
        finally:
            gc.enable()
        made.finish()


def plan_of(options: dict[str, Any]) -> Plan:
    """The checked options; raises CommandError."""
    count, days = options["orders"], options["days"]
    if count < 1 or days < 1 or options["workers"] < 1 or options["employees"] < 0 or options["seed"] < 0:
        raise CommandError("--orders, --days and --workers must be positive, --employees and --seed not negative.")
    if count > days * 86_400_000:
        raise CommandError("More than one order a millisecond: spread them over more --days.")
    day = options["until"] or dt.date(2026, 11, 1)
    return Plan(
        count=count,
        employees=options["employees"] or max(1, count // 1000),
        days=days,
        seed=options["seed"],
        until=dt.datetime(day.year, day.month, day.day, tzinfo=clock.BUSINESS_ZONE).astimezone(dt.UTC),
    )


class Progress:
    """One line every two seconds; called by all workers."""

    def __init__(self, command: BaseCommand, plan: Plan) -> None:
        self._command, self._plan = command, plan
        self._lock = threading.Lock()
        self._began = self._shown = time.monotonic()
        self._made = self._found = 0

    def add(self, *, made: int, found: int) -> None:
        with self._lock:
            self._made += made
            self._found += found
            if time.monotonic() - self._shown >= PROGRESS_SECONDS:
                self._show()

    def finish(self) -> None:
        with self._lock:
            self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        rate = self._made / max(self._shown - self._began, 0.001)
        stood = f", {self._found:,} stood there" if self._found else ""
        done = self._made + self._found
        self._command.stderr.write(f"{done:,} of {self._plan.count:,} orders, {rate:,.0f}/s{stood}")


def _work(plan: Plan, chunk: int, made: Progress) -> None:
    """One chunk: one transaction a database. Connections belong to the pool's thread, which ends with the command."""
    missing = [alias for alias in roles.order_aliases() if not _stands(plan, chunk, alias)]
    orders = list(samples.make(plan, chunk)) if missing else []
    by_table: dict[int, list[Order]] = defaultdict(list)
    for order in orders:
        by_table[order.table].append(order)
    for alias in missing:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            for table in sorted(by_table):
                if roles.orders_alias(table) == alias:
                    for statement in _inserts(table, by_table[table]):
                        cursor.execute(statement)
    size = min(samples.CHUNK, plan.count - chunk * samples.CHUNK)
    made.add(made=size if missing else 0, found=0 if missing else size)


def _stands(plan: Plan, chunk: int, alias: str) -> bool:
    """A chunk is committed as a whole in each database, so its first order there answers for the rest."""
    for order in samples.make(plan, chunk):
        if roles.orders_alias(order.table) == alias:
            with connections[alias].cursor() as cursor:
                cursor.execute(f"SELECT 1 FROM orders_order_{order.table:02d} WHERE order_no = %s", [order.order_no])  # noqa: S608
                return cursor.fetchone() is not None
    return True  # no order of this chunk belongs there


def _inserts(table: int, orders: Sequence[Order]) -> Iterator[str]:
    """Statements without parameters: every value is made by us from digits, letters and the enums' names."""
    ordered = sorted(orders, key=lambda order: order.order_no)
    yield from _batches("order", ORDER_COLUMNS, table, [_order_row(order) for order in ordered])
    attempts = [_attempt_row(order, attempt) for order in ordered for attempt in order.attempts]
    attempts.sort()
    yield from _batches("attempt", ATTEMPT_COLUMNS, table, attempts)


def _batches(name: str, columns: str, table: int, rows: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(rows), ROWS):
        values = ",".join(rows[start : start + ROWS])
        yield f"INSERT INTO orders_{name}_{table:02d} ({columns}) VALUES {values}"  # noqa: S608


def _order_row(order: Order) -> str:
    last = order.attempts[-1] if order.attempts else None
    ended = "NULL"
    if order.state is not OrderState.PENDING:
        seconds = (last.finished_after_seconds or 0) if last else 0
        ended = f"'{order.created_at + dt.timedelta(seconds=seconds)}'"
    paid = ended if order.state is OrderState.SUCCESS else "NULL"
    expires = f"'{order.created_at + LIFETIME}'" if last and order.state is not OrderState.PENDING else "NULL"
    effective = last.attempt_no if last and last.is_effective else ""
    return (
        f"('{order.order_no}','{order.kind.value}','{order.state.value}',{order.amount_fen},0,{order.refunded_fen},"
        f"'Sample',{order.employee_id},{order.enterprise_id},'','{order.original_order_no}','{effective}',"
        f"'{order.created_at}',{paid},{ended},{expires},'{order.channel}')"
    )


def _attempt_row(order: Order, attempt: Attempt) -> str:
    created = order.created_at + dt.timedelta(seconds=attempt.after_seconds)
    finished = "NULL"
    if attempt.finished_after_seconds is not None:
        finished = f"'{order.created_at + dt.timedelta(seconds=attempt.finished_after_seconds)}'"
    payment = "NULL"
    if attempt.scene in ("native", "page", "h5") and attempt.state is not AttemptState.FAILED:
        payment = f'\'{{"kind": "code_url", "code_url": "weixin://wxpay/bizpayurl?pr={attempt.attempt_no[-12:]}"}}\''
    return (
        f"('{attempt.attempt_no}','{order.order_no}','{attempt.channel}','{attempt.scene}','{attempt.state.value}',"
        f"{order.amount_fen},'{attempt.provider_no}',{payment},'',{1 if attempt.is_effective else 'NULL'},"
        f"'{created}',{finished},NULL,0)"
    )

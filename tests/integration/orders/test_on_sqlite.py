"""The same literal SQL on SQLite, where the first look runs; in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import datetime as dt
import django
django.setup()
from django.core.management import call_command
from django.db import IntegrityError
call_command("migrate_all", verbosity=0)
from orders import selectors
from orders.domain.records import AttemptRecord, NewAttempt, NewOrder, OrderRecord
from orders.domain.numbers import Prefix
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.management import samples
from orders.models import ATTEMPT_TABLES, ORDER_TABLES
from orders.selectors import statements
from orders.services import advancing, numbers, opening

call_command("generate_orders", orders=400, employees=1)
call_command("generate_orders", orders=400, employees=1)
now = dt.datetime(2026, 11, 22, 2, 0, 0, 123456, tzinfo=dt.UTC)
owner = samples.EMPLOYEE_BASE


def new(**more):
    number = numbers.issue(prefix=Prefix.RECHARGE, account_id=owner)
    values = {"kind": OrderKind.RECHARGE, "amount_fen": 100, "employee_id": owner, "enterprise_id": 1, **more}
    return NewOrder(order_no=number, **values)


first = new()
attempt = NewAttempt(attempt_no=numbers.issue_attempt(order_no=first.order_no), channel="wechat", amount_fen=100)
order = opening.open_with_attempt(new=first, attempt=attempt, now=now)
assert selectors.get_order(order_no=first.order_no) == order
assert opening.open_with_attempt(new=first, attempt=attempt, now=now) == order
whole = {"payment": {"kind": "code_url", "a": [1]}}
advancing.advance_attempt(attempt_no=attempt.attempt_no, target=AttemptState.PENDING, fields=whole)
assert selectors.get_attempt(attempt_no=attempt.attempt_no).payment == whole["payment"]
try:
    opening.open_order(new=new(amount_fen=0), now=now)
except IntegrityError:
    pass
else:
    raise AssertionError("the CHECK let it pass")
receipts = [new(kind=OrderKind.REDPACKET_RECEIPT) for _ in range(30)]
opening.insert_finished(orders=receipts[:9], now=now)
opening.insert_finished(orders=receipts, now=now.replace(microsecond=0))


def record(row):
    attempts = []
    for each in ATTEMPT_TABLES[row.table].objects.filter(order_no=row.pk).order_by("created_at", "attempt_no"):
        values = {name: getattr(each, name) for name in statements.ATTEMPT_COLUMNS if name != "effective"}
        values |= {"state": AttemptState(each.state), "is_effective": each.effective == 1}
        attempts.append(AttemptRecord(**values))
    values = {name: getattr(row, name) for name in statements.ORDER_COLUMNS}
    values |= {"kind": OrderKind(row.kind), "state": OrderState(row.state)}
    return OrderRecord(**values, attempts=tuple(attempts))


everything = [record(row) for model in ORDER_TABLES for row in model.objects.all()]
everything.sort(key=lambda each: (each.created_at, each.order_no), reverse=True)
assert len(everything) == 431
for asked in ({}, {"state": OrderState.CLOSED}, {"channel": "wallet"}, {"kind": OrderKind.PAYMENT},
              {"created_from": everything[300].created_at, "created_to": everything[3].created_at}):
    wanted = [each for each in everything
              if all(getattr(each, name) == value for name, value in asked.items() if not name.startswith("created"))
              and ("created_from" not in asked or asked["created_from"] <= each.created_at < asked["created_to"])]
    found, before = [], None
    while True:
        page = selectors.list_orders(employee_id=owner, limit=37, before=before, **asked)
        found += page.items
        before = page.next_after
        if before is None:
            break
    assert found == wanted, asked
    for number in (1, 2, 7):
        page = selectors.page_orders(employee_id=owner, page=number, page_size=20, as_of=now, **asked)
        assert (list(page.items), page.total) == (wanted[(number - 1) * 20:number * 20], len(wanted)), (asked, number)
assert len(list(selectors.iterate_orders())) == 431
assert selectors.search(text=attempt.attempt_no) == [selectors.get_order(order_no=first.order_no)]
assert selectors.list_due_attempts(now=now, limit=5) == selectors.list_expired_orders(now=now, limit=5) == []
print("as on MariaDB")
"""


def test_the_literal_sql_means_the_same_on_sqlite(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    environment = {
        **kept,
        "DATABASE_URL": f"sqlite:///{tmp_path / 'orders.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": "paysys.settings.dev",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "as on MariaDB"

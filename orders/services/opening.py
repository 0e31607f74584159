"""Opens orders and attempts. Repeating with the same number returns the first one."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import IntegrityError, transaction

from foundation.db import roles, transactions
from foundation.errors import Broken
from orders import selectors
from orders.domain import numbers
from orders.domain.records import AttemptRecord, NewOrder, OrderRecord
from orders.domain.states import AttemptState, OrderState
from orders.models import ATTEMPT_TABLES, ORDER_TABLES, OrderRow

Result = TypeVar("Result")


class OrderConflict(Broken):
    """The same order number was used for another thing: a bug of the caller's, never a client's fault."""

    code = "order_conflict"


def in_transaction(order_no: str, work: Callable[[], Result]) -> Result:
    """Runs `work` in one transaction on the database that holds the order; see foundation.db.transactions.run."""
    return transactions.run(work, using=selectors.order_alias(order_no))


def open_order(*, new: NewOrder, state: OrderState = OrderState.PENDING, now: dt.datetime) -> OrderRecord:
    """Inserts an order in its table, or returns the one that stands there under the same number.

    Raises OrderConflict when that one has another kind, owner or amount. One row, one insert; commits on its own when
    no transaction is open on that database.
    """
    table = ORDER_TABLES[numbers.table_of(new.order_no)]
    alias = selectors.order_alias(new.order_no)
    row = _row(new, state=state, now=now)
    try:
        with transaction.atomic(using=alias):
            row.save(force_insert=True, using=alias)
    except IntegrityError:
        found = table.objects.using(alias).filter(pk=new.order_no).first()
        if found is None:
            raise
        same = (found.kind, found.employee_id, found.amount_fen) == (new.kind, new.employee_id, new.amount_fen)
        if not same:
            raise OrderConflict({"order_no": new.order_no}) from None
        return selectors.get_order(order_no=new.order_no)
    return selectors.order_record(row, ())


def open_attempt(
    *,
    order_no: str,
    attempt_no: str,
    channel: str,
    scene: str,
    amount_fen: int,
    now: dt.datetime,
    next_check_at: dt.datetime | None = None,
) -> AttemptRecord:
    """Inserts an attempt in state CREATED before anything is sent, or returns the one of that number."""
    table = ATTEMPT_TABLES[numbers.table_of(order_no)]
    alias = selectors.order_alias(order_no)
    row = table(
        attempt_no=attempt_no,
        order_no=order_no,
        channel=channel,
        scene=scene,
        state=AttemptState.CREATED,
        amount_fen=amount_fen,
        created_at=now,
        next_check_at=next_check_at,
    )
    try:
        with transaction.atomic(using=alias):
            row.save(force_insert=True, using=alias)
    except IntegrityError:
        found = selectors.get_attempt(attempt_no=attempt_no)
        if (found.order_no, found.channel, found.amount_fen) != (order_no, channel, amount_fen):
            raise OrderConflict({"attempt_no": attempt_no}) from None
        return found
    return selectors.attempt_record(row)


def insert_finished(*, orders: Sequence[NewOrder], now: dt.datetime) -> None:
    """Inserts orders that are already settled (receipts of a journal), in SUCCESS, one statement a table.

    Numbers that exist are left alone, so repeating a batch after a crash completes it.
    """
    by_table: dict[int, list[OrderRow]] = defaultdict(list)
    for new in orders:
        row = _row(new, state=OrderState.SUCCESS, now=now)
        row.paid_at, row.closed_at = now, now
        by_table[numbers.table_of(new.order_no)].append(row)
    for table, rows in sorted(by_table.items()):
        alias = roles.orders_alias(table)
        with transaction.atomic(using=alias):
            ORDER_TABLES[table].objects.using(alias).bulk_create(rows, ignore_conflicts=True)


def _row(new: NewOrder, *, state: OrderState, now: dt.datetime) -> OrderRow:
    return ORDER_TABLES[numbers.table_of(new.order_no)](
        order_no=new.order_no,
        kind=new.kind,
        state=state,
        amount_fen=new.amount_fen,
        subject=new.subject,
        employee_id=new.employee_id,
        enterprise_id=new.enterprise_id,
        business_no=new.business_no,
        original_order_no=new.original_order_no,
        created_at=now,
        expires_at=new.expires_at,
    )

"""Rings workers for single attempts, the more important ones first.

The attempt's row is the queue; a message only says "look at this one now" and may be lost, doubled or late. Each row
is rung at most once per RING_AGAIN, and its message is worthless after that; the next one carries the priority that the
row has by then. So waiting raises a row, and it leaves at most eight old bells behind, which workers drop unserved.
Source: design `faults.md` 3.4, ADR 8.
"""

from __future__ import annotations

import datetime as dt

import structlog
from celery import current_app

from foundation.errors import PaysysError
from foundation.redis import client
from gateway.services import channels
from orders import selectors as orders
from orders.domain.records import AttemptRecord, OrderRecord
from orders.domain.states import OrderKind
from orders.services import advancing
from payments.domain import priorities, schedule
from payments.domain.channels import WALLET
from payments.services import checking

logger = structlog.get_logger("payments")

QUEUE = "provider"
TASK = "payments.check_attempt"
RING_AGAIN = priorities.AGE_STEP
AT_ONCE = 1_000
"""Rows looked at in one round, longest due first."""


def priority_of(*, order: OrderRecord, waited: dt.timedelta) -> int:
    """payments.domain.priorities.priority_of for an order: its enterprise's class, and whether its wallet pays."""
    return priorities.priority_of(
        client_class=channels.get_client_class(enterprise_id=order.enterprise_id),
        is_wallet_funded=order.kind is OrderKind.WITHDRAWAL or order.channel == WALLET,
        waited=waited,
    )


def message_priority(priority: int) -> int:
    """As the broker in use counts: AMQP's highest is 9, that of kombu's Redis transport 0."""
    is_amqp = current_app.connection_for_write().transport.driver_type == "amqp"
    return priority if is_amqp else priorities.HIGHEST - priority


def send(*, task: str, number: str, priority: int) -> None:
    """Sends `task` with `number` to the priority queue; any process that has work for a provider may use it."""
    current_app.send_task(
        task,
        args=[number],
        queue=QUEUE,
        priority=message_priority(priority),
        expires=RING_AGAIN.total_seconds(),
        ignore_result=True,
    )


def ring_due(*, now: dt.datetime, limit: int = AT_ONCE) -> int:
    """Rings for every attempt whose check has come and that was not rung a moment ago; returns how many.

    Safe to repeat and to run twice at once. Raises redis.RedisError or kombu's OperationalError when either is away:
    the check job asks about the same rows by itself.
    """
    due = orders.list_due_attempts(now=now, limit=limit)
    chosen = [attempt for attempt in due if _take(attempt)]
    ranked = sorted(((_priority(attempt, now), attempt.attempt_no) for attempt in chosen), key=lambda one: -one[0])
    for priority, attempt_no in ranked:
        send(task=TASK, number=attempt_no, priority=priority)
    return len(ranked)


def check(*, attempt_no: str, now: dt.datetime) -> bool:
    """Asks the provider about the attempt that was rung for; False when another had asked already.

    A refusal, a busy server and a channel that is set up wrongly put it off like an undecided answer. Safe to repeat.
    """
    attempt = orders.get_attempt(attempt_no=attempt_no)
    if not attempt.is_open or attempt.next_check_at is None or attempt.next_check_at > now:
        return False
    try:
        checking.check_attempt(attempt=attempt, now=now)
    except PaysysError as error:
        logger.warning("check of attempt failed", attempt_no=attempt_no, error=repr(error), exc_info=True)
        at = schedule.next_check(now=now, tries=attempt.tries + 1)
        advancing.schedule_check(attempt_no=attempt_no, at=at, result_code=error.code)
    return True


def _take(attempt: AttemptRecord) -> bool:
    key = f"payments:rung:{attempt.attempt_no}"
    return bool(client().set(key, 1, nx=True, ex=int(RING_AGAIN.total_seconds())))


def _priority(attempt: AttemptRecord, now: dt.datetime) -> int:
    order = orders.get_order_row(order_no=attempt.order_no)
    return priority_of(order=order, waited=now - (attempt.next_check_at or now))

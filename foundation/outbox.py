"""Transactional outbox: publish inside the transaction of the fact, deliver to subscribers afterwards, at least once.

Source: design `faults.md` 3.4. Delivery leases due rows (FOR UPDATE SKIP LOCKED), commits the lease, then calls every
subscriber of the topic; only when all returned is the row done. Subscribers must therefore be safe to repeat.
Nothing dies: after ALERT_AFTER_TRIES failures an alert is raised and the row is tried every MAX_BACK_OFF_SECONDS.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import IntegrityError, connections, transaction

from foundation import alerts
from foundation.db import roles, transactions
from foundation.models import OutboxEvent

logger = structlog.get_logger("outbox")

LEASE_SECONDS = 60
"""A leased row is hidden this long; longer than any subscriber may run (Celery's hard limit is 30 s)."""
MAX_BACK_OFF_SECONDS = 300
ALERT_AFTER_TRIES = 8
"""2 + 4 + … + 256 s: about eight minutes of failing before a person is called."""
BATCH = 20
INSERT = (
    "INSERT INTO foundation_outboxevent (topic, `key`, payload, created_at, next_at, tries, last_error) "
    "VALUES (%s, %s, %s, %s, %s, 0, '')"
)
"""Literal, for every movement of money pays for it; reads the same on MariaDB and SQLite."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a subscriber receives. `alias` is the database the fact was committed in."""

    alias: str
    topic: str
    key: str
    payload: Mapping[str, Any]
    created_at: dt.datetime
    tries: int


Subscriber = Callable[[Event], None]
_subscribers: dict[str, list[Subscriber]] = defaultdict(list)


def subscribe(topic: str, subscriber: Subscriber) -> None:
    """Registers `subscriber` for a topic; called once at start-up from an app's callbacks module."""
    if subscriber not in _subscribers[topic]:
        _subscribers[topic].append(subscriber)


def publish(
    *,
    using: str,
    topic: str,
    key: str,
    payload: Mapping[str, Any],
    now: dt.datetime,
    available_at: dt.datetime | None = None,
) -> None:
    """Adds an event to the transaction open on alias `using`; the same (topic, key) again adds nothing."""
    transactions.assert_in_transaction(using=using)
    if len(topic) > 64 or len(key) > 128:
        raise ValueError(f"outbox topic or key too long: {topic} {key}")
    connection = connections[using]
    moment = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        try:
            cursor.execute(INSERT, (topic, key, json.dumps(dict(payload)), moment(now), moment(available_at or now)))
        except IntegrityError:
            if not OutboxEvent.objects.using(using).filter(topic=topic, key=key).exists():
                raise


def is_due(*, using: str, now: dt.datetime) -> bool:
    """True when a row waits; plain indexed read without locks, for the relay."""
    return OutboxEvent.objects.using(using).filter(done_at=None, next_at__lte=now).exists()


def drain(*, using: str, now: Callable[[], dt.datetime], max_batches: int = 50) -> int:
    """Delivers due rows of one database until none is due; returns how many were delivered."""
    delivered = 0
    for _ in range(max_batches):
        rows = _lease(using=using, now=now())
        if not rows:
            break
        delivered += sum(_deliver(row, using=using, now=now) for row in rows)
    return delivered


def _lease(*, using: str, now: dt.datetime) -> list[OutboxEvent]:
    def work() -> list[OutboxEvent]:
        rows = list(
            OutboxEvent.objects.using(using)
            .select_for_update(skip_locked=True)
            .filter(done_at=None, next_at__lte=now)
            .order_by("next_at", "id")[:BATCH]
        )
        for row in rows:
            row.tries += 1
            row.next_at = now + dt.timedelta(seconds=LEASE_SECONDS)
        OutboxEvent.objects.using(using).bulk_update(rows, ["tries", "next_at"])
        return rows

    return transactions.run(work, using=using)


def _deliver(row: OutboxEvent, *, using: str, now: Callable[[], dt.datetime]) -> bool:
    event = Event(
        alias=using,
        topic=row.topic,
        key=row.key,
        payload=row.payload,
        created_at=row.created_at,
        tries=row.tries,
    )
    mine = OutboxEvent.objects.using(using).filter(pk=row.pk, done_at=None, tries=row.tries)
    try:
        for subscriber in _subscribers[row.topic]:
            subscriber(event)
    except Exception as error:  # whatever a subscriber raises is recorded, tried again and, in the end, alerted
        pause = min(2**row.tries, MAX_BACK_OFF_SECONDS)
        mine.update(next_at=now() + dt.timedelta(seconds=pause), last_error=repr(error)[:2000])
        logger.exception("outbox delivery failed", topic=row.topic, key=row.key, tries=row.tries)
        if row.tries >= ALERT_AFTER_TRIES:
            alerts.raise_alert(
                code="outbox_delivery_failing",
                subject=f"{row.topic}:{row.key}",
                message=f"Delivered {row.tries} times without success: {error!r}",
                now=now(),
            )
        return False
    with transaction.atomic(using=using):
        mine.update(done_at=now(), last_error="")
    return True


def all_due_aliases(*, now: dt.datetime) -> list[str]:
    """The databases whose outbox has something due."""
    return [alias for alias in roles.all_aliases() if is_due(using=alias, now=now)]

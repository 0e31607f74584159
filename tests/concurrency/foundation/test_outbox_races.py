"""Several drains at once deliver each row once; the same fact published at once is one row."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator

import pytest
from django.db import transaction

from foundation import outbox
from foundation.models import OutboxEvent
from tests.concurrency.foundation.crowd import together

pytestmark = pytest.mark.usefixtures("committed_db")

ROWS = 60
LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
"""Due long before the events of all other tests, whose rows stay untouched."""


def long_ago() -> dt.datetime:
    return LONG_AGO


@pytest.fixture
def topic() -> Iterator[str]:
    name = f"race.{uuid.uuid4().hex}"
    yield name
    outbox._subscribers.pop(name, None)
    for alias in ("default", "orders_0"):
        OutboxEvent.objects.using(alias).filter(topic=name).delete()


def publish(topic: str, key: str, *, using: str = "orders_0", held: float = 0) -> None:
    with transaction.atomic(using=using):
        outbox.publish(using=using, topic=topic, key=key, payload={}, now=LONG_AGO)
        time.sleep(held)


def counting(topic: str) -> Counter[str]:
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def subscriber(event: outbox.Event) -> None:
        time.sleep(0.002)  # long enough for the drains to meet
        with lock:
            seen[event.key] += 1

    outbox.subscribe(topic, subscriber)
    return seen


@pytest.mark.parametrize("drains", [2, 4])
def test_parallel_drains_deliver_each_row_once(topic: str, drains: int) -> None:
    seen = counting(topic)
    for number in range(ROWS):
        publish(topic, f"k{number}")
    results = together([lambda: outbox.drain(using="orders_0", now=long_ago)] * drains)
    assert seen == {f"k{number}": 1 for number in range(ROWS)}
    assert all(isinstance(result, int) for result in results), results
    assert sum(result for result in results if isinstance(result, int)) == ROWS
    assert sum(1 for result in results if result) >= 2  # they shared the work: nobody waited for another's lock
    rows = OutboxEvent.objects.using("orders_0").filter(topic=topic)
    assert set(rows.values_list("tries", flat=True)) == {1}
    assert rows.filter(done_at=None).count() == 0


def test_control_without_the_row_lock_rows_are_delivered_twice(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same race with a lease that only reads and then writes."""
    meet = threading.Barrier(2)

    def naive(*, using: str, now: dt.datetime) -> list[OutboxEvent]:
        due = OutboxEvent.objects.using(using).filter(done_at=None, next_at__lte=now)
        rows = list(due.order_by("next_at", "id")[: outbox.BATCH])
        meet.wait(10)
        for row in rows:
            row.tries += 1
            row.next_at = now + dt.timedelta(seconds=outbox.LEASE_SECONDS)
        OutboxEvent.objects.using(using).bulk_update(rows, ["tries", "next_at"])
        meet.wait(10)
        return rows

    monkeypatch.setattr(outbox, "_lease", naive)
    seen = counting(topic)
    for number in range(10):
        publish(topic, f"k{number}")
    together([lambda: outbox.drain(using="orders_0", now=long_ago, max_batches=1)] * 2)
    assert seen == {f"k{number}": 2 for number in range(10)}


def test_the_same_fact_published_at_once_is_one_row(topic: str) -> None:
    results = together([lambda: publish(topic, "k", using="default", held=0.05)] * 6)
    assert results == [None] * 6
    assert OutboxEvent.objects.using("default").filter(topic=topic).count() == 1


def test_a_row_is_not_seen_before_its_fact_is_committed(topic: str) -> None:
    seen = counting(topic)
    published, may_commit = threading.Event(), threading.Event()

    def publisher() -> int:
        with transaction.atomic(using="orders_0"):
            outbox.publish(using="orders_0", topic=topic, key="k", payload={}, now=LONG_AGO)
            published.set()
            assert may_commit.wait(30)
        return 0

    def drainer() -> int:
        assert published.wait(30)
        try:
            return outbox.drain(using="orders_0", now=long_ago)
        finally:
            may_commit.set()

    assert together([publisher, drainer]) == [0, 0]
    assert seen == {}
    assert outbox.drain(using="orders_0", now=long_ago) == 1
    assert seen == {"k": 1}

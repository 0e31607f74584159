"""The outbox: one row per fact, delivered at least once, never given up."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator

import pytest
from django.db import connections, transaction

from foundation import outbox
from foundation.models import Alert, OutboxEvent
from tests.worlds import NOW

pytestmark = pytest.mark.django_db(databases="__all__")

ALIASES = ["default", "funds", "redpacket", "orders_0", "orders_1"]


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.moment = NOW

    def __call__(self) -> dt.datetime:
        return self.moment

    def forward(self, seconds: float) -> None:
        self.moment += dt.timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def topic() -> Iterator[str]:
    name = f"test.{uuid.uuid4().hex}"
    yield name
    outbox._subscribers.pop(name, None)


def publish(topic: str, key: str = "k", *, using: str = "funds", **more: object) -> None:
    with transaction.atomic(using=using):
        outbox.publish(using=using, topic=topic, key=key, payload={"n": 1}, now=NOW, **more)  # type: ignore[arg-type]


def rows(topic: str, using: str = "funds") -> list[OutboxEvent]:
    return list(OutboxEvent.objects.using(using).filter(topic=topic).order_by("id"))


def collecting(topic: str) -> list[outbox.Event]:
    seen: list[outbox.Event] = []
    outbox.subscribe(topic, seen.append)
    return seen


def failing_until(tries: int) -> tuple[list[int], Callable[[outbox.Event], None]]:
    calls: list[int] = []

    def subscriber(event: outbox.Event) -> None:
        calls.append(event.tries)
        if len(calls) < tries:
            raise ConnectionError("receiver is away")

    return calls, subscriber


def test_the_same_fact_twice_is_one_row_with_the_first_payload(topic: str) -> None:
    publish(topic)
    with transaction.atomic(using="funds"):
        outbox.publish(using="funds", topic=topic, key="k", payload={"n": 2}, now=NOW + dt.timedelta(hours=1))
    assert [(row.key, row.payload, row.created_at) for row in rows(topic)] == [("k", {"n": 1}, NOW)]
    publish(topic, "K")
    assert [row.key for row in rows(topic)] == ["k", "K"]


def test_the_same_fact_again_after_its_delivery_is_not_delivered_again(topic: str, clock: Clock) -> None:
    seen = collecting(topic)
    publish(topic)
    assert outbox.drain(using="funds", now=clock) == 1
    publish(topic)
    assert outbox.drain(using="funds", now=clock) == 0
    assert len(seen) == 1


def test_a_fact_that_rolls_back_was_never_published(topic: str) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic(using="funds"):
        outbox.publish(using="funds", topic=topic, key="k", payload={}, now=NOW)
        raise ZeroDivisionError
    assert rows(topic) == []


def test_publishing_needs_the_open_transaction_of_that_database(topic: str) -> None:
    connection = connections["funds"]
    was, connection.in_atomic_block = connection.in_atomic_block, False
    try:
        with pytest.raises(RuntimeError, match="'funds' must be open"):
            outbox.publish(using="funds", topic=topic, key="k", payload={}, now=NOW)
    finally:
        connection.in_atomic_block = was
    assert rows(topic) == []


@pytest.mark.parametrize(("topic_length", "key_length"), [(65, 1), (1, 129)])
def test_names_that_the_columns_would_cut_are_refused(topic_length: int, key_length: int) -> None:
    with pytest.raises(ValueError, match="too long"):
        publish("t" * topic_length, "k" * key_length)


@pytest.mark.parametrize("alias", ALIASES)
def test_each_database_has_its_own_outbox(topic: str, clock: Clock, alias: str) -> None:
    seen = collecting(topic)
    publish(topic, using=alias)
    assert [found for found in ALIASES if rows(topic, found)] == [alias]
    assert alias in outbox.all_due_aliases(now=NOW)
    for other in ALIASES:
        assert outbox.drain(using=other, now=clock) == (1 if other == alias else 0)
    assert [(event.alias, event.topic, event.key, event.payload, event.created_at, event.tries) for event in seen] == [
        (alias, topic, "k", {"n": 1}, NOW, 1)
    ]
    assert outbox.all_due_aliases(now=NOW) == []


def test_an_event_waits_for_its_time(topic: str, clock: Clock) -> None:
    seen = collecting(topic)
    publish(topic, available_at=NOW + dt.timedelta(seconds=10))
    clock.forward(9.9)
    assert (outbox.is_due(using="funds", now=clock()), outbox.drain(using="funds", now=clock), seen) == (False, 0, [])
    clock.forward(0.1)
    assert (outbox.is_due(using="funds", now=clock()), outbox.drain(using="funds", now=clock)) == (True, 1)


def test_all_subscribers_hear_and_a_second_subscription_is_none(topic: str, clock: Clock) -> None:
    first, second = [], []
    for hear in (first.append, second.append):
        outbox.subscribe(topic, hear)
        outbox.subscribe(topic, hear)
    publish(topic)
    outbox.drain(using="funds", now=clock)
    assert (len(first), len(second)) == (1, 1)


def test_a_topic_without_subscribers_is_done(topic: str, clock: Clock) -> None:
    publish(topic)
    assert outbox.drain(using="funds", now=clock) == 1
    assert rows(topic)[0].done_at == NOW


def test_a_failed_delivery_is_tried_again_later_and_later(topic: str, clock: Clock) -> None:
    calls, subscriber = failing_until(5)
    outbox.subscribe(topic, subscriber)
    publish(topic)
    pauses = []
    for _ in range(4):
        assert outbox.drain(using="funds", now=clock) == 0
        row = rows(topic)[0]
        assert (row.done_at, row.last_error) == (None, "ConnectionError('receiver is away')")
        pauses.append((row.next_at - clock()).total_seconds())
        clock.forward(pauses[-1] - 0.001)
        assert outbox.drain(using="funds", now=clock) == 0  # a moment too early: nobody is called
        clock.forward(0.001)
    assert (pauses, calls) == ([2, 4, 8, 16], [1, 2, 3, 4])
    assert outbox.drain(using="funds", now=clock) == 1
    row = rows(topic)[0]
    assert (row.done_at, row.tries, row.last_error) == (clock(), 5, "")
    assert Alert.objects.filter(code="outbox_delivery_failing").count() == 0


def test_after_eight_failures_a_person_is_called_and_it_still_goes_on(topic: str, clock: Clock) -> None:
    calls, subscriber = failing_until(12)
    outbox.subscribe(topic, subscriber)
    publish(topic)
    alerts_after, pauses = [], []
    for _ in range(11):
        outbox.drain(using="funds", now=clock)
        found = Alert.objects.filter(code="outbox_delivery_failing", subject=f"{topic}:k").first()
        alerts_after.append(found.times if found else 0)
        pause = (rows(topic)[0].next_at - clock()).total_seconds()
        pauses.append(pause)
        clock.forward(pause)
    assert alerts_after == [0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert outbox.drain(using="funds", now=clock) == 1
    assert len(calls) == 12


def test_one_bad_event_does_not_hold_up_the_others(topic: str, clock: Clock) -> None:
    delivered: list[str] = []

    def subscriber(event: outbox.Event) -> None:
        if event.key == "bad":
            raise ValueError("bad")
        delivered.append(event.key)

    outbox.subscribe(topic, subscriber)
    keys = [f"k{number}" for number in range(outbox.BATCH + 3)]
    for key in [keys[0], "bad", *keys[1:]]:
        publish(topic, key)
    assert outbox.drain(using="funds", now=clock) == len(keys)
    assert delivered == keys
    assert [row.key for row in rows(topic) if row.done_at is None] == ["bad"]


def test_a_repeat_calls_every_subscriber_again_until_all_succeed(topic: str, clock: Clock) -> None:
    seen = collecting(topic)
    calls, subscriber = failing_until(2)
    outbox.subscribe(topic, subscriber)
    publish(topic)
    assert outbox.drain(using="funds", now=clock) == 0
    clock.forward(2)
    assert outbox.drain(using="funds", now=clock) == 1
    assert (len(seen), calls) == (2, [1, 2])


def test_a_process_that_dies_while_delivering_loses_nothing(topic: str, clock: Clock) -> None:
    """Killed after the lease: the row is hidden for the lease and then delivered by somebody else."""
    seen = collecting(topic)
    publish(topic)
    assert [row.key for row in outbox._lease(using="funds", now=NOW) if row.topic == topic] == ["k"]
    clock.forward(outbox.LEASE_SECONDS - 1)
    assert (outbox.drain(using="funds", now=clock), seen) == (0, [])
    clock.forward(1)
    assert outbox.drain(using="funds", now=clock) == 1
    assert seen[0].tries == 2


def test_a_late_deliverer_does_not_touch_the_new_ones_row(topic: str, clock: Clock) -> None:
    """It comes back with a failure after its lease ran out and another delivered."""

    def late(event: outbox.Event) -> None:
        if event.tries == 1:
            clock.forward(outbox.LEASE_SECONDS)
            assert outbox.drain(using="funds", now=clock) == 1
            raise TimeoutError("much too late")

    outbox.subscribe(topic, late)
    publish(topic)
    assert outbox.drain(using="funds", now=clock) == 0
    row = rows(topic)[0]
    assert (row.tries, row.done_at, row.last_error) == (2, clock(), "")


def test_a_late_failure_does_not_shorten_the_new_ones_lease(topic: str, clock: Clock) -> None:
    """It comes back while another is still delivering: the row stays the other's."""

    def late(event: outbox.Event) -> None:
        clock.forward(outbox.LEASE_SECONDS)
        assert [row.tries for row in outbox._lease(using="funds", now=clock())] == [2]
        raise TimeoutError("much too late")

    outbox.subscribe(topic, late)
    publish(topic)
    assert outbox.drain(using="funds", now=clock, max_batches=1) == 0
    row = rows(topic)[0]
    assert (row.tries, row.done_at, row.last_error) == (2, None, "")
    assert row.next_at == clock() + dt.timedelta(seconds=outbox.LEASE_SECONDS)

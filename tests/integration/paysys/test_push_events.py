"""What is kept of pushed events, and publishing after a commit."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest
import redis.asyncio
from django.conf import settings
from django.db import transaction

from foundation import clock, outbox, push
from foundation import redis as shared_redis
from foundation.models import OutboxEvent


def new_owner() -> str:
    return f"tester:{uuid.uuid4().hex}"


def missed(owner: str, after: str | None) -> push.Missed:
    async def read() -> push.Missed:
        async with redis.asyncio.Redis.from_url(settings.REDIS_URL, decode_responses=True, protocol=2) as client:
            return await push.read_missed(client, owner=owner, after=after)

    return asyncio.run(read())


def told(owner: str) -> list[tuple[str, object]]:
    return [(one.event, json.loads(one.data())) for one in missed(owner, push.NOTHING).events]


def test_events_are_kept_in_order_sealed_and_for_a_while() -> None:
    owner = new_owner()
    for number in range(3):
        push.publish(owner=owner, event="test.counted", data={"number": number, "text": "红包\n\nid: 1"})
    assert told(owner) == [("test.counted", {"number": number, "text": "红包\n\nid: 1"}) for number in range(3)]
    ids = [one.id for one in missed(owner, push.NOTHING).events]
    assert sorted(ids, key=push.order) == ids
    client = shared_redis.client()
    assert 0 < client.ttl(push.stream_key(owner)) <= push.KEEP_SECONDS
    assert "红包" not in repr(client.xrange(push.stream_key(owner)))
    assert "\n" not in missed(owner, push.NOTHING).events[0].data()


def test_no_more_is_kept_than_the_limit() -> None:
    owner = new_owner()
    for number in range(push.KEPT_EVENTS + 5):
        push.publish(owner=owner, event="test.counted", data={"number": number})
    assert [data["number"] for _, data in told(owner)] == list(range(5, push.KEPT_EVENTS + 5))  # type: ignore[index]
    assert shared_redis.client().xlen(push.FEED_KEY) < push.FEED_EVENTS + 200  # approximate: cut by whole nodes


def test_what_is_missed_after_a_position() -> None:
    owner = new_owner()
    assert missed(owner, None) == push.Missed(events=[], position=push.NOTHING, has_gap=False)
    assert missed(owner, push.NOTHING) == push.Missed(events=[], position=push.NOTHING, has_gap=False)
    for number in range(3):
        push.publish(owner=owner, event="test.counted", data={"number": number})
    ids = [one.id for one in missed(owner, push.NOTHING).events]
    assert missed(owner, None) == push.Missed(events=[], position=ids[2], has_gap=False)
    assert [one.id for one in missed(owner, ids[0]).events] == ids[1:]
    assert missed(owner, ids[2]) == push.Missed(events=[], position=ids[2], has_gap=False)
    lost = missed(owner, "1-0")  # an id that was here once and is not any more
    assert (lost.has_gap, [one.id for one in lost.events]) == (True, ids)


def test_many_owners_hear_of_it_and_with_a_key_once() -> None:
    owners = [new_owner() for _ in range(push.CHUNK + 3)]
    for _ in range(2):
        push.publish_to_many(owners=owners, event="test.once", data={"a": 1}, once="the fact")
    assert [told(owner) for owner in (owners[0], owners[push.CHUNK], owners[-1])] == [[("test.once", {"a": 1})]] * 3
    push.publish(owner=owners[0], event="test.once", data={"a": 2}, once="another fact")
    assert len(told(owners[0])) == 2


@pytest.mark.parametrize(("owner", "event"), [("", "a.b"), ("Employee:1", "a.b"), ("e:1 2", "a.b"), ("e:1", "a\nb.c")])
def test_labels_are_plain(owner: str, event: str) -> None:
    with pytest.raises(ValueError, match="not an event"):
        push.publish(owner=owner, event=event, data={})


@pytest.mark.usefixtures("committed_db")
def test_after_a_commit_through_the_outbox_and_only_then() -> None:
    owner, key = new_owner(), uuid.uuid4().hex
    now = clock.now()

    def later(data: dict[str, int]) -> None:
        push.publish_later(using="default", owners=[owner], event="test.later", data=data, key=key, now=now)

    with pytest.raises(RuntimeError, match="must be open"):
        later({"a": 0})
    with transaction.atomic():
        later({"a": 0})
        transaction.set_rollback(True)
    with transaction.atomic():
        later({"a": 1})
        later({"a": 2})  # the same fact: nothing is added
        assert told(owner) == []
    row = OutboxEvent.objects.get(topic=push.TOPIC, key=key)
    event = outbox.Event(
        alias="default", topic=row.topic, key=row.key, payload=row.payload, created_at=row.created_at, tries=1
    )
    outbox.drain(using="default", now=clock.now)
    push.deliver(event)  # delivered again, as after a worker that died
    assert told(owner) == [("test.later", {"a": 1})]


@pytest.mark.parametrize(
    ("text", "is_good"), [("1-0", True), ("0-0", True), ("1", False), ("-1-0", False), ("١-0", False)]
)
def test_ids(text: str, is_good: bool) -> None:
    assert push.is_id(text) is is_good

"""What clients are told: of arrivals, of settled batches, of the end; each once, and nothing before its commit."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from redis.exceptions import RedisError

from foundation import bells, clock, outbox, push, redis
from foundation.db import roles
from foundation.models import OutboxEvent
from foundation.outbox import Event
from identity import selectors as identity
from payments.domain import events
from payments.domain.people import Person
from redpacket import callbacks
from redpacket.models import RedPacket, Settlement
from redpacket.services import announcing, expiry, grab, opening, settlement
from tests.integration.redpacket.packets import end_lifetime, send_lucky, send_normal
from tests.integration.redpacket.people import People, make_people

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def people() -> People:
    return make_people(count=3)


def told(person: Person) -> list[tuple[str, Any]]:
    """(event, data) on the person's channel, oldest first."""
    key = push.stream_key(identity.push_owner(employee_id=person.employee_id))
    rows = redis.client().xrange(key)
    stored = [push.Stored(id=row_id, event=row["event"], sealed=row["data"]) for row_id, row in rows]  # type: ignore[union-attr]
    return [(one.event, json.loads(one.data())) for one in stored]


def queued(topic: str, packet_id: str) -> list[OutboxEvent]:
    rows = OutboxEvent.objects.using(roles.alias_for("redpacket")).filter(topic=topic)
    return [row for row in rows if packet_id in row.key]


def event_of(row: OutboxEvent) -> Event:
    return Event(
        alias=roles.alias_for("redpacket"),
        topic=row.topic,
        key=row.key,
        payload=row.payload,
        created_at=row.created_at,
        tries=1,
    )


def pay(packet: RedPacket) -> None:
    """The event that payments publishes with the ledger's commit, as the outbox delivers it."""
    row = OutboxEvent.objects.using(roles.alias_for("funds")).get(topic=events.ORDER_PAID, key=packet.funding_order_no)
    callbacks.on_order_paid(event_of(row))


def close(packet: RedPacket) -> None:
    end_lifetime(packet)
    assert expiry.expire_packet(packet=RedPacket.objects.get(pk=packet.pk), now=clock.now())


def test_all_of_the_group_but_the_sender_hear_of_an_arrival_once(people: People) -> None:
    packet = send_lucky(people, total_fen=500, count=2, greeting="恭喜发财").packet
    for _ in range(2):
        pay(packet)
    rows = queued(announcing.ARRIVED, packet.pk)
    assert len(rows) == 1
    assert told(people.members[1]) == []  # nothing before the outbox delivers
    for _ in range(2):
        callbacks.on_arrived(event_of(rows[0]))
    assert packet.expires_at is not None
    data = {
        "redpacket": packet.pk,
        "kind": "lucky",
        "group": people.group_id,
        "sender": {"employee": "e0001", "name": "First"},
        "greeting": "恭喜发财",
        "cover": "classic",
        "has_article": False,
        "expires_at": packet.expires_at.isoformat(),
    }
    arrived = [("redpacket.arrived", data)]
    assert [told(person) for person in people.members] == [[], arrived, arrived]


def test_only_the_receiver_hears_of_a_normal_packet(people: People) -> None:
    packet = send_normal(people, total_fen=500).packet
    assert announcing.announce_arrival(packet_id=packet.pk, now=clock.now()) == 1
    assert [len(told(person)) for person in people.members] == [0, 1, 0]
    assert told(people.members[1])[0][1]["group"] is None


def test_a_packet_that_is_over_does_not_arrive(people: People) -> None:
    packet = send_lucky(people, total_fen=500, count=2).packet
    end_lifetime(packet)
    assert announcing.announce_arrival(packet_id=packet.pk, now=clock.now()) == 0
    close(packet)
    pay(packet)
    assert queued(announcing.ARRIVED, packet.pk) == []
    assert told(people.members[1]) == []


def test_while_redis_is_away_the_outbox_keeps_the_arrival(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    packet = send_lucky(people, total_fen=500, count=2).packet
    pay(packet)
    row = queued(announcing.ARRIVED, packet.pk)[0]

    def away() -> Any:
        raise redis.RedisAway("away")

    with monkeypatch.context() as patch:
        patch.setattr(redis, "client", away)
        with pytest.raises(RedisError):
            callbacks.on_arrived(event_of(row))
    callbacks.on_arrived(event_of(row))
    assert len(told(people.members[2])) == 1


@pytest.mark.parametrize("ending", ["EXHAUSTED", "EXPIRED"])
def test_everybody_hears_of_the_end_once(people: People, ending: str) -> None:
    packet = send_lucky(people, total_fen=500, count=2).packet
    if ending == "EXHAUSTED":
        for person in people.members[:2]:
            grab.grab(packet_id=packet.pk, employee=person, now=clock.now())
        settlement.settle_packet(packet_id=packet.pk, now=clock.now())
    else:
        close(packet)
    assert callbacks.is_news_due()
    assert announcing.announce_due(now=clock.now()).concluded >= 1
    assert announcing.conclude_packet(packet_id=packet.pk, now=clock.now()) is False
    rows = queued(announcing.GONE, packet.pk)
    assert len(rows) == 1
    for _ in range(2):
        callbacks.on_gone(event_of(rows[0]))
    data = {"redpacket": packet.pk, "group": people.group_id, "state": ending}
    for person in people.members:
        assert [one for one in told(person) if one[0] == "redpacket.gone"] == [("redpacket.gone", data)]


def test_old_ends_are_written_down_but_told_to_nobody(people: People) -> None:
    packet = send_lucky(people, total_fen=500, count=2).packet
    close(packet)
    assert announcing.conclude_packet(packet_id=packet.pk, now=clock.now() + announcing.NEWS * 2)
    packet.refresh_from_db()
    assert (packet.claimed_count, packet.best_share_id, packet.concluded_at is None) == (0, None, False)
    assert queued(announcing.GONE, packet.pk) == []


def test_a_packet_paid_too_late_never_was_and_is_not_gone(people: People) -> None:
    packet = send_lucky(people, total_fen=500, count=2).packet
    RedPacket.objects.filter(pk=packet.pk).update(state="CANCELLED", opened_at=None, expires_at=None)
    opening.open_packet(packet_id=packet.pk, now=clock.now())
    assert announcing.conclude_packet(packet_id=packet.pk, now=clock.now())
    assert (queued(announcing.ARRIVED, packet.pk), queued(announcing.GONE, packet.pk)) == ([], [])


def test_the_sender_hears_of_batches_together_and_never_of_a_grab(people: People) -> None:
    packet = send_lucky(people, total_fen=500, count=4).packet
    total = 0
    for person in people.members:  # one batch each
        total += grab.grab(packet_id=packet.pk, employee=person, now=clock.now()).amount_fen
        assert settlement.settle_packet(packet_id=packet.pk, now=clock.now()).batches == 1
    assert queued(push.TOPIC, packet.pk) == []
    announcing.announce_due(now=clock.now())
    announcing.announce_due(now=clock.now())
    rows = queued(push.TOPIC, packet.pk)
    assert [row.key for row in rows] == [f"redpacket.grabbed:{packet.pk}:3"]
    for _ in range(2):
        push.deliver(event_of(rows[0]))
    data = {"redpacket": packet.pk, "share_count": 3, "amount_fen": total}
    assert told(people.sender) == [("redpacket.grabbed", data)]
    assert [told(person) for person in people.members[1:]] == [[], []]
    assert not Settlement.objects.filter(packet_id=packet.pk, announced_at=None).exists()


def test_batches_of_long_ago_are_no_news(people: People) -> None:
    packet = send_lucky(people, total_fen=500, count=2).packet
    grab.grab(packet_id=packet.pk, employee=people.sender, now=clock.now())
    settlement.settle_packet(packet_id=packet.pk, now=clock.now())
    Settlement.objects.filter(packet_id=packet.pk).update(
        posted_at=clock.now() - announcing.NEWS - dt.timedelta(seconds=1)
    )
    announcing.announce_due(now=clock.now())
    assert queued(push.TOPIC, packet.pk) == []


def test_the_bell_and_the_subscribers_are_there() -> None:
    bell = next(one for one in bells.registered() if one.name == "redpacket.news")
    assert (bell.task, bell.queue) == (callbacks.announce.name, "callbacks")
    assert callbacks.on_arrived in outbox._subscribers[announcing.ARRIVED]
    assert callbacks.on_gone in outbox._subscribers[announcing.GONE]

"""Back-pressure of settlement: figures, metrics, alert, and bells per packet instead of per grab."""

from __future__ import annotations

import datetime as dt

import pytest

from foundation import bells, clock, jobs, redis, relay
from foundation.models import Alert
from redpacket import tasks
from redpacket.models import RedPacket, Settlement, Share
from redpacket.services import backlog, grab, settlement
from tests.integration.redpacket.packets import send_lucky
from tests.integration.redpacket.people import make_people

pytestmark = pytest.mark.django_db(databases="__all__")


def grabbed(*, grabs: int) -> RedPacket:
    people = make_people(count=grabs + 1)
    packet = send_lucky(people, total_fen=900, count=grabs + 1).packet
    for person in people.members[:grabs]:
        grab.grab(packet_id=packet.pk, employee=person, now=clock.now())
    return packet


@pytest.fixture(autouse=True)
def nothing_waits() -> None:
    settlement.settle_due(now=clock.now() + dt.timedelta(days=1))
    Settlement.objects.filter(state="ASSIGNED").update(next_at=clock.now() + dt.timedelta(days=9))
    assert backlog.list_groups(now=clock.now()) == []


def claimed_ago(packet: RedPacket, seconds: float) -> None:
    moment = clock.now() - dt.timedelta(seconds=seconds)
    Share.objects.filter(packet_id=packet.pk, receiver_id__isnull=False).update(claimed_at=moment)


def test_figures_count_claims_until_their_money_moved() -> None:
    before = backlog.measure(now=clock.now()).claims_waiting
    packet = grabbed(grabs=3)
    claimed_ago(packet, 7)
    figures = backlog.measure(now=clock.now())
    assert figures.claims_waiting - before == 3
    assert figures.oldest_seconds >= 7
    assert backlog.CLAIMS_WAITING._value.get() == figures.claims_waiting
    assert settlement._fix_batch(packet, clock.now()) is not None  # fixed is not settled
    assert backlog.measure(now=clock.now()).claims_waiting - before == 3
    settlement.settle_packet(packet_id=packet.pk, now=clock.now() + dt.timedelta(seconds=11))
    after = backlog.measure(now=clock.now())
    assert after.claims_waiting == before
    assert after.lag_worst_seconds >= 18


def test_a_person_is_called_when_claims_wait_too_long() -> None:
    packet = grabbed(grabs=1)
    job = jobs.get("redpacket.watch_settlement")
    claimed_ago(packet, backlog.ALERT_AFTER_SECONDS - 5)
    report = job.run(now=clock.now())
    assert report["redis_policy"] == "noeviction"
    assert not Alert.objects.filter(code="redpacket_settlement_lagging").exists()
    claimed_ago(packet, backlog.ALERT_AFTER_SECONDS + 5)
    report = job.run(now=clock.now())
    assert report["claims_waiting"] >= 1
    assert "the oldest for" in Alert.objects.get(code="redpacket_settlement_lagging").message


def test_a_redis_that_evicts_is_alerted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "eviction_policy", lambda: "allkeys-lru")
    assert jobs.get("redpacket.watch_settlement").run(now=clock.now())["redis_policy"] == "allkeys-lru"
    assert Alert.objects.get(code="redis_evicts").severity == "WARNING"


def test_large_packets_ring_alone_and_small_ones_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "GROUP_CLAIMS", 3)
    large, small, smaller = grabbed(grabs=4), grabbed(grabs=2), grabbed(grabs=1)
    groups = backlog.list_groups(now=clock.now())
    assert sorted(map(sorted, groups)) == sorted([[large.pk], sorted([small.pk, smaller.pk])])


def test_many_grabs_ring_one_bell_and_the_task_settles_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_coalescer", bells.Coalescer(seconds=60))
    packet = grabbed(grabs=5)
    sent: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(relay.Relay, "_send", staticmethod(lambda task, args, queue: sent.append((task, args)) or True))
    ringer = relay.Relay()
    for _ in range(3):
        ringer.poll()
    settle = [args for task, args in sent if task == "redpacket.settle_packets"]
    assert settle == [[packet.pk]]
    assert tasks.settle_packets(packet.pk) == 5
    assert tasks.settle_packets(f"{packet.pk},not-a-packet") == 0
    ringer.poll()
    assert len([1 for task, _ in sent if task == "redpacket.settle_packets"]) == 1

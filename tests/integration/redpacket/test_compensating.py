"""Redis against the database, share by share: what differs is found, repaired, reported; what agrees is left alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

from foundation import clock, jobs, redis
from foundation.models import Alert
from redpacket import cache
from redpacket.domain.states import PacketState
from redpacket.models import RedPacket, Share
from redpacket.services import claiming, compensating, expiry, grab, publishing, settlement
from redpacket.services.compensating import Compared
from tests.books import assert_books_balance
from tests.integration.redpacket.packets import amounts, claims, end_lifetime, send_lucky
from tests.integration.redpacket.people import People, make_people, wallet

pytestmark = pytest.mark.django_db(databases="__all__")
LATER = dt.timedelta(seconds=compensating.SETTLED_SECONDS + 1)


def world(*, grabs: int) -> tuple[People, RedPacket]:
    people = make_people(count=4)
    packet = send_lucky(people, total_fen=900, count=3).packet
    for person in people.members[:grabs]:
        grab.grab(packet_id=packet.pk, employee=person, now=clock.now())
    return people, packet


def compare(packet: RedPacket) -> Compared:
    report = Compared()
    compensating.compare_packet(packet_id=packet.pk, report=report, now=clock.now() + LATER)
    return report


def keys(packet: RedPacket) -> list[str]:
    return cache.keys_of(packet.pk)


def held(packet: RedPacket) -> compensating.Held:
    found = compensating._read_cache(packet.pk)
    assert found is not None
    return found


def test_what_agrees_is_left_alone() -> None:
    _, packet = world(grabs=2)
    before = held(packet)
    report = compare(packet)
    assert (report.packets, report.shares, dict(report.differences), report.rebuilt) == (1, 3, {}, 0)
    assert held(packet) == before


def test_a_grab_that_the_database_lost_is_claimed_again() -> None:
    people, packet = world(grabs=2)
    before = claims(packet)
    lost = people.members[1].employee_id
    Share.objects.filter(packet_id=packet.pk, receiver_id=lost).update(receiver_id=None, claimed_at=None)
    report = compare(packet)
    assert (dict(report.differences), report.reclaimed, report.unrepaired) == ({"LOST_CLAIM": 1}, 1, 0)
    assert claims(packet) == before
    assert Alert.objects.get(code="redpacket_claim_lost").context["employee_id"] == lost
    settlement.settle_packet(packet_id=packet.pk, now=clock.now())
    received = sum(amounts(packet)[number] for number in before)
    assert sum(wallet(person)[0] for person in people.members[:2]) == received
    assert dict(compare(packet).differences) == {}


def test_a_lost_grab_of_an_ended_packet_calls_a_person_and_moves_nothing() -> None:
    people, packet = world(grabs=1)
    Share.objects.filter(packet_id=packet.pk).update(receiver_id=None, claimed_at=None)
    end_lifetime(packet)
    expiry.expire_due(now=clock.now())
    report = compare(packet)
    assert (report.differences["LOST_CLAIM"], report.reclaimed, report.unrepaired) == (1, 0, 1)
    assert "EXPIRED" in Alert.objects.get(code="redpacket_claim_lost").message
    assert claims(packet) == {}
    assert wallet(people.sender) == (900, 0)


def test_a_reservation_that_is_not_acknowledged_is_the_janitors() -> None:
    people, packet = world(grabs=0)
    person = people.members[0]
    cache.admit(packet_id=packet.pk, employee_id=person.employee_id, enterprise_id=people.enterprise_id)
    assert dict(compare(packet).differences) == {}
    assert held(packet).pending == {person.employee_id}


def leak(packet: RedPacket) -> None:
    redis.client().lpop(keys(packet)[1])


def forget_claim(packet: RedPacket) -> None:
    redis.client().hdel(keys(packet)[2], str(Share.objects.get(packet_id=packet.pk, share_no=1).receiver_id))


def list_again(packet: RedPacket) -> None:
    redis.client().rpush(keys(packet)[1], f"1:{amounts(packet)[1]}")


def change_amount(packet: RedPacket) -> None:
    who = Share.objects.get(packet_id=packet.pk, share_no=1).receiver_id
    redis.client().hset(keys(packet)[2], str(who), f"1:{amounts(packet)[1] + 1}")


def name_another(packet: RedPacket) -> None:
    redis.client().hset(keys(packet)[2], "987654321", f"1:{amounts(packet)[1]}")


@pytest.mark.parametrize(
    ("spoil", "difference", "severity"),
    [
        (leak, "LEAKED_SHARE", "WARNING"),
        (forget_claim, "UNKNOWN_CLAIM", "WARNING"),
        (list_again, "STALE_LIST", "WARNING"),
        (change_amount, "OTHER_AMOUNT", "CRITICAL"),
        (name_another, "OTHER_RECEIVER", "CRITICAL"),
    ],
)
def test_redis_is_repaired_from_the_database(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[RedPacket], None], difference: str, severity: str
) -> None:
    _, packet = world(grabs=1)
    before, owners = held(packet), claims(packet)
    spoil(packet)
    assert held(packet) != before
    monkeypatch.setattr(compensating, "list_packet_ids", lambda *, now: [packet.pk])
    report = compensating.compare_all(now=clock.now() + LATER)
    assert (dict(report.differences), report.rebuilt, report.unrepaired) == ({difference: 1}, 1, 0)
    assert packet.pk in report.shown[0]
    assert held(packet) == before
    assert claims(packet) == owners
    assert Alert.objects.get(code="redpacket_cache_differs").severity == severity
    assert dict(compare(packet).differences) == {}


def test_a_packet_that_ended_unnoticed_by_redis_is_marked() -> None:
    _, packet = world(grabs=1)
    end_lifetime(packet)
    expiry.expire_due(now=clock.now())
    redis.client().hset(keys(packet)[0], "state", "OPEN")
    assert dict(compare(packet).differences) == {"OTHER_STATE": 1}
    assert held(packet).state == PacketState.EXPIRED


def test_a_claim_on_its_way_is_no_difference() -> None:
    """Committed, and Redis will be told in a moment: only what is old enough counts."""
    people, packet = world(grabs=0)
    person = people.members[0]
    ticket = held(packet).free[0]
    claiming.claim_share(packet_id=packet.pk, ticket=ticket, employee_id=person.employee_id, now=clock.now())
    report = Compared()
    compensating.compare_packet(packet_id=packet.pk, report=report, now=clock.now())
    assert dict(report.differences) == {}
    assert dict(compare(packet).differences) == {"UNKNOWN_CLAIM": 1, "STALE_LIST": 1}
    assert held(packet).taken == {person.employee_id: ticket}


def test_an_empty_redis_is_filled_with_the_open_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    people, packet = world(grabs=1)
    _, ended = world(grabs=0)
    before = held(packet)
    end_lifetime(ended)
    expiry.expire_due(now=clock.now())
    for one in (packet, ended):
        cache.forget(packet_id=one.pk)
    monkeypatch.setattr(compensating, "list_packet_ids", lambda *, now: [packet.pk, ended.pk])
    report = jobs.get("redpacket.compare_cache").run(now=clock.now())
    assert (report["published"], report["differences"]) == (1, {})
    assert held(packet) == before
    assert not cache.is_published(packet_id=ended.pk)
    again = grab.grab(packet_id=packet.pk, employee=people.members[0], now=clock.now())
    assert again.result == "already"


def test_another_builder_at_work_is_not_disturbed() -> None:
    _, packet = world(grabs=1)
    list_again(packet)
    token = cache.lock_build(packet_id=packet.pk)
    assert token is not None
    assert publishing.republish_packet(packet_id=packet.pk, now=clock.now()) is False
    assert compare(packet).rebuilt == 0
    cache.unlock_build(packet_id=packet.pk, token=token)
    assert compare(packet).rebuilt == 1


def test_a_share_that_two_believe_to_have_stays_with_whom_the_database_names() -> None:
    people, packet = world(grabs=1)
    owner, other = people.members[0], people.members[1]
    redis.client().hset(keys(packet)[2], str(other.employee_id), f"1:{amounts(packet)[1]}")
    compare(packet)
    result = grab.grab(packet_id=packet.pk, employee=other, now=clock.now())
    assert (result.result, result.share_no == 1) == ("grabbed", False)
    assert claims(packet)[1] == owner.employee_id
    assert_books_balance()


def test_packets_of_the_last_day_and_older_open_ones_are_compared() -> None:
    _, young = world(grabs=1)
    _, old = world(grabs=1)
    _, ended = world(grabs=0)
    RedPacket.objects.filter(pk__in=[old.pk, ended.pk]).update(opened_at=clock.now() - dt.timedelta(days=3))
    end_lifetime(ended)
    expiry.expire_due(now=clock.now())
    found = compensating.list_packet_ids(now=clock.now())
    assert (young.pk in found, old.pk in found, ended.pk in found) == (True, True, False)

"""Grabbing on MariaDB and Redis: who gets what, what a repeat gets, and that the database has the last word."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import redis as redis_library
from django.db import IntegrityError, transaction

from foundation import clock, redis
from foundation.db import roles
from foundation.errors import Busy, NotFound, PermissionDenied
from payments.domain.people import Person
from redpacket import cache
from redpacket.cache import Code, Ticket
from redpacket.domain.states import PacketState
from redpacket.models import RedPacket, Share
from redpacket.services import claiming, grab, janitor, publishing
from redpacket.services.grab import GrabResult, RedPacketEmpty, RedPacketExpired, RedPacketNotOpen
from tests.integration.redpacket.packets import amounts, claims, end_lifetime, send_lucky, send_normal
from tests.integration.redpacket.people import make_people

pytestmark = pytest.mark.django_db(databases="__all__")


def do_grab(packet: RedPacket, person: Person) -> GrabResult:
    return grab.grab(packet_id=packet.pk, employee=person, now=clock.now())


def claim_behind_redis(packet: RedPacket, *, share_no: int, person: Person) -> None:
    """A claim that Redis does not hear of (it was restored from an older state, say)."""
    changed = Share.objects.filter(packet_id=packet.pk, share_no=share_no, receiver_id=None).update(
        receiver_id=person.employee_id, claimed_at=clock.now()
    )
    assert changed == 1


@pytest.fixture
def redis_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every Redis call is refused, as when the server is down."""
    broken = redis_library.Redis.from_url("redis://127.0.0.1:1/0")
    with monkeypatch.context() as patch:
        patch.setattr(redis, "client", lambda: broken)
        yield


# --- Who gets what --------------------------------------------------------------------------------------------------


def test_every_member_gets_one_share_until_it_is_empty() -> None:
    people = make_people(count=4)
    packet = send_lucky(people, total_fen=500, count=3).packet
    results = [do_grab(packet, person) for person in people.members[:3]]
    assert [result.result for result in results] == ["grabbed"] * 3
    assert {result.share_no: result.amount_fen for result in results} == amounts(packet)
    assert sum(result.amount_fen for result in results) == 500
    with pytest.raises(RedPacketEmpty) as refusal:
        do_grab(packet, people.members[3])
    assert (refusal.value.code, refusal.value.http_status) == ("redpacket_empty", 409)
    assert claims(packet) == {
        result.share_no: person.employee_id for result, person in zip(results, people.members[:3], strict=True)
    }


def test_a_grab_is_confirmed_in_redis_after_its_commit() -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet
    result = do_grab(packet, people.members[1])
    admission = cache.admit(
        packet_id=packet.pk, employee_id=people.members[1].employee_id, enterprise_id=people.enterprise_id
    )
    assert admission.code is Code.ALREADY
    assert admission.ticket == Ticket(share_no=result.share_no, amount_fen=result.amount_fen)


def test_the_same_employee_gets_the_same_share_again() -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet
    first = do_grab(packet, people.members[1])
    again = do_grab(packet, people.members[1])
    assert again == GrabResult(result="already", amount_fen=first.amount_fen, share_no=first.share_no)
    assert claims(packet) == {first.share_no: people.members[1].employee_id}


def test_the_sender_may_grab_from_his_own_lucky_packet() -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet
    assert do_grab(packet, people.sender).result == "grabbed"


def test_a_normal_packet_goes_to_its_receiver_only() -> None:
    people = make_people(count=3)
    packet = send_normal(people, total_fen=888).packet
    for person in (people.members[0], people.members[2]):
        with pytest.raises(PermissionDenied):
            do_grab(packet, person)
    assert claims(packet) == {}
    assert do_grab(packet, people.members[1]) == GrabResult(result="grabbed", amount_fen=888, share_no=1)


def test_another_enterprise_does_not_learn_that_the_packet_exists() -> None:
    people, others = make_people(count=2), make_people(count=1)
    packet = send_lucky(people, total_fen=500, count=2).packet
    with pytest.raises(NotFound):
        do_grab(packet, others.members[0])
    cache.forget(packet_id=packet.pk)
    with pytest.raises(NotFound):
        do_grab(packet, others.members[0])
    assert claims(packet) == {}


@pytest.mark.parametrize("packet_id", ["0" * 32, "x", "0" * 31 + "}", "0" * 33])
def test_an_unknown_packet_is_not_found(packet_id: str) -> None:
    people = make_people(count=1)
    with pytest.raises(NotFound):
        grab.grab(packet_id=packet_id, employee=people.sender, now=clock.now())
    assert redis.client().exists(*cache.keys_of(packet_id)) == 0


@pytest.mark.parametrize("state", [PacketState.DRAFT, PacketState.CANCELLED])
def test_an_unpaid_packet_is_not_open(state: PacketState) -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet
    RedPacket.objects.filter(pk=packet.pk).update(state=state)
    cache.forget(packet_id=packet.pk)
    for _ in range(2):
        with pytest.raises(RedPacketNotOpen) as refusal:
            do_grab(packet, people.members[1])
    assert (refusal.value.code, refusal.value.http_status) == ("redpacket_not_open", 409)
    assert claims(packet) == {}


def test_a_draft_never_stands_in_redis() -> None:
    """A stale draft there would hide a packet that opens meanwhile."""
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet
    RedPacket.objects.filter(pk=packet.pk).update(state=PacketState.DRAFT)
    cache.forget(packet_id=packet.pk)
    assert publishing.publish_packet(packet_id=packet.pk, now=clock.now()) is False
    assert cache.is_published(packet_id=packet.pk) is False


def test_the_database_clock_ends_a_packet_that_redis_believes_open() -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet
    kept = do_grab(packet, people.sender)
    end_lifetime(packet)
    for _ in range(2):  # the second time Redis knows
        with pytest.raises(RedPacketExpired) as refusal:
            do_grab(packet, people.members[1])
    assert (refusal.value.code, refusal.value.http_status) == ("expired", 410)
    assert claims(packet) == {kept.share_no: people.sender.employee_id}
    assert do_grab(packet, people.sender) == GrabResult(
        result="already", amount_fen=kept.amount_fen, share_no=kept.share_no
    )


# --- Crashes, lost answers, lost Redis ------------------------------------------------------------------------------


def test_a_share_taken_before_a_crash_goes_to_the_same_employee_again() -> None:
    people = make_people(count=3)
    packet = send_lucky(people, total_fen=500, count=2).packet
    died_after = cache.admit(
        packet_id=packet.pk, employee_id=people.members[1].employee_id, enterprise_id=people.enterprise_id
    )
    assert died_after.ticket is not None
    result = do_grab(packet, people.members[1])
    assert (result.result, result.share_no) == ("grabbed", died_after.ticket.share_no)


def test_a_lost_confirmation_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet

    def refuse(**_: object) -> None:
        raise redis_library.ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(cache, "confirm_all", refuse)
        first = do_grab(packet, people.members[1])
    assert first.result == "grabbed"
    again = do_grab(packet, people.members[1])
    assert again == GrabResult(result="already", amount_fen=first.amount_fen, share_no=first.share_no)
    assert claims(packet) == {first.share_no: people.members[1].employee_id}


def test_a_lost_confirmation_changes_no_answer_after_the_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet
    with monkeypatch.context() as patch:
        patch.setattr(cache, "confirm_all", lambda **_: None)
        first = do_grab(packet, people.members[1])
    end_lifetime(packet)
    again = do_grab(packet, people.members[1])
    assert again == GrabResult(result="already", amount_fen=first.amount_fen, share_no=first.share_no)


def test_lost_keys_are_built_again_from_the_database() -> None:
    people = make_people(count=3)
    packet = send_lucky(people, total_fen=500, count=3).packet
    first = do_grab(packet, people.members[0])
    cache.forget(packet_id=packet.pk)
    second = do_grab(packet, people.members[1])
    assert second.result == "grabbed"
    assert second.share_no != first.share_no
    assert do_grab(packet, people.members[0]).result == "already"
    free = sorted(set(amounts(packet)) - {first.share_no, second.share_no})
    listed = redis.client().lrange(cache.keys_of(packet.pk)[1], 0, -1)
    assert [int(text.split(":")[0]) for text in listed] == free


@pytest.mark.usefixtures("redis_away")
def test_without_redis_the_database_gives_the_shares() -> None:
    people, others = make_people(count=4), make_people(count=1)
    packet = send_lucky(people, total_fen=500, count=3).packet
    results = [do_grab(packet, person) for person in people.members[:3]]
    assert [result.result for result in results] == ["grabbed"] * 3
    assert {result.share_no: result.amount_fen for result in results} == amounts(packet)
    assert do_grab(packet, people.members[1]) == GrabResult(
        result="already", amount_fen=results[1].amount_fen, share_no=results[1].share_no
    )
    with pytest.raises(RedPacketEmpty):
        do_grab(packet, people.members[3])
    with pytest.raises(NotFound):
        do_grab(packet, others.members[0])
    assert len(claims(packet)) == 3


@pytest.mark.usefixtures("redis_away")
def test_without_redis_the_same_people_are_refused() -> None:
    people = make_people(count=3)
    normal = send_normal(people, total_fen=100).packet
    with pytest.raises(PermissionDenied):
        do_grab(normal, people.members[2])
    lucky = send_lucky(people, total_fen=500, count=3).packet
    end_lifetime(lucky)
    with pytest.raises(RedPacketExpired):
        do_grab(lucky, people.members[2])
    RedPacket.objects.filter(pk=lucky.pk).update(state=PacketState.CANCELLED)
    with pytest.raises(RedPacketNotOpen):
        do_grab(lucky, people.members[2])
    assert (claims(normal), claims(lucky)) == ({}, {})


@pytest.mark.usefixtures("redis_away")
def test_without_redis_only_a_few_grabs_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet
    full = threading.BoundedSemaphore(1)
    full.acquire()
    monkeypatch.setattr(grab, "_database_paths", full)
    monkeypatch.setattr(grab, "DATABASE_PATH_WAIT_SECONDS", 0.01)
    with pytest.raises(Busy):
        do_grab(packet, people.members[1])
    assert claims(packet) == {}
    full.release()
    assert do_grab(packet, people.members[1]).result == "grabbed"
    full.acquire(blocking=False)
    full.release()  # the slot was given back


def test_shares_that_the_database_gave_away_are_jumped_over() -> None:
    people = make_people(count=6)
    packet = send_lucky(people, total_fen=500, count=5).packet
    for number in (1, 2, 3):
        claim_behind_redis(packet, share_no=number, person=people.members[number])
    result = do_grab(packet, people.members[0])
    assert (result.result, result.share_no) == ("grabbed", 4)
    assert result.amount_fen == amounts(packet)[4]
    assert claims(packet) == {
        **{number: people.members[number].employee_id for number in (1, 2, 3)},
        4: people.sender.employee_id,
    }


def test_a_list_that_is_wrong_throughout_is_given_up_and_built_again() -> None:
    people = make_people(count=8)
    packet = send_lucky(people, total_fen=500, count=7).packet
    for number in range(1, 6):
        claim_behind_redis(packet, share_no=number, person=people.members[number])
    result = do_grab(packet, people.members[0])
    assert (result.result, result.share_no in (6, 7)) == ("grabbed", True)
    assert cache.is_published(packet_id=packet.pk) is False
    last = do_grab(packet, people.members[6])
    assert {result.share_no, last.share_no} == {6, 7}
    with pytest.raises(RedPacketEmpty):
        do_grab(packet, people.members[7])


def test_who_has_a_share_unknown_to_redis_gets_that_one_and_the_other_stays_free() -> None:
    people = make_people(count=3)
    packet = send_lucky(people, total_fen=500, count=2).packet
    claim_behind_redis(packet, share_no=2, person=people.members[1])
    result = do_grab(packet, people.members[1])
    assert result == GrabResult(result="already", amount_fen=amounts(packet)[2], share_no=2)
    assert claims(packet) == {2: people.members[1].employee_id}
    assert do_grab(packet, people.members[2]).share_no == 1


def test_the_database_itself_refuses_a_second_share_and_a_second_receiver() -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet
    claim_behind_redis(packet, share_no=1, person=people.members[1])
    second = Share.objects.filter(packet_id=packet.pk, share_no=2)
    with pytest.raises(IntegrityError), transaction.atomic(using=roles.alias_for("redpacket")):
        second.update(receiver_id=people.members[1].employee_id, claimed_at=clock.now())
    claim = claiming.claim_share(
        packet_id=packet.pk,
        ticket=Ticket(share_no=1, amount_fen=amounts(packet)[1]),
        employee_id=people.sender.employee_id,
        now=clock.now(),
    )
    assert claim.verdict is claiming.Verdict.TAKEN
    assert claims(packet) == {1: people.members[1].employee_id}


def test_an_absent_builder_is_not_waited_for_longer_than_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet
    cache.forget(packet_id=packet.pk)
    monkeypatch.setattr(publishing, "WAIT_SECONDS", 0.05)
    token = cache.lock_build(packet_id=packet.pk)
    assert token is not None
    assert do_grab(packet, people.members[1]).result == "grabbed"
    assert cache.is_published(packet_id=packet.pk) is False
    cache.unlock_build(packet_id=packet.pk, token=token)


# --- Janitor --------------------------------------------------------------------------------------------------------


def reserve(packet: RedPacket, person: Person) -> Ticket:
    admission = cache.admit(packet_id=packet.pk, employee_id=person.employee_id, enterprise_id=person.enterprise_id)
    assert admission.ticket is not None
    return admission.ticket


def tidy(monkeypatch: pytest.MonkeyPatch, *, pending_seconds: float) -> None:
    monkeypatch.setattr(janitor, "PENDING_SECONDS", pending_seconds)
    janitor.return_pending()


def test_the_janitor_settles_each_old_reservation_by_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=5)
    packet = send_lucky(people, total_fen=500, count=3).packet
    free, his, lost = (reserve(packet, person) for person in people.members[:3])
    claim_behind_redis(packet, share_no=his.share_no, person=people.members[1])
    claim_behind_redis(packet, share_no=lost.share_no, person=people.members[4])
    with pytest.raises(RedPacketEmpty):
        do_grab(packet, people.members[3])
    tidy(monkeypatch, pending_seconds=-1)
    _, free_list, taken, pending, _ = cache.keys_of(packet.pk)
    assert redis.client().lrange(free_list, 0, -1) == [free.text()]
    assert redis.client().hgetall(taken) == {str(people.members[1].employee_id): his.text()}
    assert redis.client().zcard(pending) == 0
    assert do_grab(packet, people.members[3]).share_no == free.share_no


def test_the_janitor_leaves_young_reservations_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=1).packet
    ticket = reserve(packet, people.sender)
    tidy(monkeypatch, pending_seconds=5)
    with pytest.raises(RedPacketEmpty):
        do_grab(packet, people.members[1])
    assert do_grab(packet, people.sender).share_no == ticket.share_no


def test_a_claim_that_comes_after_the_janitor_still_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=1).packet
    ticket = reserve(packet, people.sender)
    tidy(monkeypatch, pending_seconds=-1)
    late = claiming.claim_share(
        packet_id=packet.pk, ticket=ticket, employee_id=people.sender.employee_id, now=clock.now()
    )
    assert late.verdict is claiming.Verdict.GRABBED
    with pytest.raises(RedPacketEmpty):
        do_grab(packet, people.members[1])
    assert claims(packet) == {1: people.sender.employee_id}

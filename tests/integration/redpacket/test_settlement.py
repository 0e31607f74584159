"""Settlement: every claimed share becomes money once, whatever dies in between."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError

from foundation import clock, jobs
from foundation.errors import Broken, Busy
from foundation.models import Alert
from payments.domain.people import Person
from payments.services import shares
from redpacket import selectors, tasks
from redpacket.domain.states import PacketState, SettlementState
from redpacket.models import RedPacket, Settlement, Share
from redpacket.services import grab, settlement
from redpacket.services.settlement import Settled
from tests.books import assert_books_balance
from tests.integration.redpacket.packets import amounts, send_lucky
from tests.integration.redpacket.people import People, make_people, wallet

pytestmark = pytest.mark.django_db(databases="__all__")


def open_and_grab(people: People, *, total_fen: int, count: int, grabs: int) -> RedPacket:
    packet = send_lucky(people, total_fen=total_fen, count=count).packet
    for person in people.members[-grabs:] if grabs else ():
        grab.grab(packet_id=packet.pk, employee=person, now=clock.now())
    return packet


def settle(packet: RedPacket, *, after_seconds: float = 0) -> Settled:
    return settlement.settle_packet(packet_id=packet.pk, now=clock.now() + dt.timedelta(seconds=after_seconds))


def received(packet: RedPacket) -> dict[int, int]:
    """Receiver → amount of his share."""
    claimed = Share.objects.filter(packet_id=packet.pk, receiver_id__isnull=False)
    return dict(claimed.values_list("receiver_id", "amount_fen"))


def batches(packet: RedPacket) -> list[tuple[int, str, int]]:
    rows = Settlement.objects.filter(packet_id=packet.pk).order_by("batch_no")
    return list(rows.values_list("batch_no", "state", "share_count"))


def fail_with(error: Exception, *, after: Callable[..., None] | None = None) -> Callable[..., None]:
    def settle_shares(**arguments: Any) -> None:
        if after is not None:
            after(**arguments)
        raise error

    return settle_shares


def test_claimed_shares_move_from_the_frozen_money_to_the_receivers() -> None:
    people = make_people(count=4)
    packet = open_and_grab(people, total_fen=900, count=3, grabs=2)
    free_fen = 900 - sum(received(packet).values())
    assert wallet(people.sender) == (0, 900)
    assert settle(packet) == Settled(batches=1, shares=2)
    assert wallet(people.sender) == (0, free_fen)
    assert [wallet(person) for person in people.members[2:]] == [
        (received(packet)[person.employee_id], 0) for person in people.members[2:]
    ]
    assert batches(packet) == [(1, "POSTED", 2)]
    settled = Share.objects.filter(packet_id=packet.pk, settled_at__isnull=False)
    assert len({share.receipt_no for share in settled}) == 2
    assert all(share.receipt_no.startswith("RR") for share in settled)
    packet.refresh_from_db()
    assert packet.state == PacketState.OPEN
    assert_books_balance()


def test_settling_again_moves_nothing() -> None:
    people = make_people(count=4)
    packet = open_and_grab(people, total_fen=900, count=3, grabs=2)
    settle(packet)
    before = [wallet(person) for person in people.members]
    assert settle(packet, after_seconds=60) == Settled()
    assert [wallet(person) for person in people.members] == before
    assert batches(packet) == [(1, "POSTED", 2)]


def test_the_last_settlement_exhausts_the_packet() -> None:
    people = make_people(count=4)
    packet = open_and_grab(people, total_fen=900, count=3, grabs=3)
    settle(packet)
    packet.refresh_from_db()
    assert (packet.state, packet.rest_fen, packet.closed_at is not None) == (PacketState.EXHAUSTED, 0, True)
    assert wallet(people.sender) == (0, 0)
    for grab_again in (grab.grab, through_database):
        with pytest.raises(grab.RedPacketEmpty):
            grab_again(packet_id=packet.pk, employee=people.sender, now=clock.now())


def through_database(*, packet_id: str, employee: Person, now: dt.datetime) -> Any:
    return grab._through_database(packet_id, employee, now)


def test_the_sender_may_receive_from_himself() -> None:
    people = make_people(count=2)
    packet = open_and_grab(people, total_fen=900, count=2, grabs=2)
    settle(packet)
    assert wallet(people.sender) == (received(packet)[people.sender.employee_id], 0)
    assert_books_balance()


def test_many_claims_settle_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settlement, "BATCH_SHARES", 2)
    people = make_people(count=6)
    packet = open_and_grab(people, total_fen=900, count=5, grabs=5)
    assert settle(packet) == Settled(batches=3, shares=5)
    assert batches(packet) == [(1, "POSTED", 2), (2, "POSTED", 2), (3, "POSTED", 1)]
    assert wallet(people.sender) == (0, 0)
    assert_books_balance()


def test_a_batch_fixed_before_a_crash_is_posted_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=4)
    packet = open_and_grab(people, total_fen=900, count=3, grabs=2)
    with monkeypatch.context() as patch:
        patch.setattr(shares, "settle", fail_with(SystemExit()))
        with pytest.raises(SystemExit):
            settle(packet)
    fixed = list(Share.objects.exclude(receipt_no="").filter(packet_id=packet.pk).values_list("share_no", "receipt_no"))
    assert len(fixed) == 2
    assert wallet(people.sender) == (0, 900)
    grab.grab(packet_id=packet.pk, employee=people.members[1], now=clock.now())
    assert settle(packet) == Settled(batches=1, shares=1)  # the abandoned batch is still somebody's for ten seconds
    assert settle(packet, after_seconds=11) == Settled(batches=1, shares=2)
    assert batches(packet) == [(1, "POSTED", 2), (2, "POSTED", 1)]
    again = Share.objects.filter(packet_id=packet.pk, settlement__batch_no=1).values_list("share_no", "receipt_no")
    assert list(again) == fixed
    assert wallet(people.sender) == (0, 0)
    assert_books_balance()


def test_a_crash_after_the_ledger_commit_moves_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=4)
    packet = open_and_grab(people, total_fen=900, count=3, grabs=2)
    with monkeypatch.context() as patch:
        patch.setattr(shares, "settle", fail_with(SystemExit(), after=shares.settle))
        with pytest.raises(SystemExit):
            settle(packet)
    booked = [wallet(person) for person in people.members]
    assert booked[0] == (0, 900 - sum(received(packet).values()))
    assert batches(packet) == [(1, "ASSIGNED", 2)]
    assert settle(packet, after_seconds=11) == Settled(batches=1, shares=2)
    assert [wallet(person) for person in people.members] == booked
    assert batches(packet) == [(1, "POSTED", 2)]
    assert_books_balance()


def test_a_failing_batch_waits_longer_each_time_and_calls_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=3)
    packet = open_and_grab(people, total_fen=900, count=2, grabs=2)
    subject = f"{packet.pk}:1"
    moment = clock.now()
    monkeypatch.setattr(shares, "settle", fail_with(Busy()))
    assert settlement.settle_packet(packet_id=packet.pk, now=moment) == Settled(failed=1)
    for tries, pause in ((1, 2), (2, 4)):
        batch = Settlement.objects.get(packet_id=packet.pk)
        assert (batch.tries, batch.next_at) == (tries, moment + dt.timedelta(seconds=pause))
        assert not Alert.objects.filter(subject=subject).exists()
        assert selectors.is_settlement_due(now=batch.next_at)
        early = settlement.settle_packet(packet_id=packet.pk, now=batch.next_at - dt.timedelta(milliseconds=1))
        assert early == Settled()
        moment = batch.next_at
        assert settlement.settle_packet(packet_id=packet.pk, now=moment) == Settled(failed=1)
    assert Alert.objects.get(subject=subject).code == "redpacket_settlement_failing"
    assert wallet(people.sender) == (0, 900)
    monkeypatch.undo()
    assert settle(packet, after_seconds=400) == Settled(batches=1, shares=2)
    assert wallet(people.sender) == (0, 0)


def test_one_packet_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=3)
    bad = open_and_grab(people, total_fen=300, count=2, grabs=2)
    good = open_and_grab(people, total_fen=700, count=2, grabs=2)
    original = shares.settle

    def settle_shares(**arguments: Any) -> None:
        if arguments["packet_id"] == bad.pk:
            raise Broken({"reason": "planted"})
        original(**arguments)

    monkeypatch.setattr(shares, "settle", settle_shares)
    assert settlement.settle_due(now=clock.now()).failed == 1
    assert (batches(bad), batches(good)) == ([(1, "ASSIGNED", 2)], [(1, "POSTED", 2)])
    assert Alert.objects.get(subject=f"{bad.pk}:1").code == "redpacket_settlement_failing"
    assert wallet(people.sender) == (0, 300)


def test_a_batch_that_was_tampered_with_is_never_posted() -> None:
    people = make_people(count=3)
    packet = open_and_grab(people, total_fen=900, count=3, grabs=2)
    fixed = settlement._fix_batch(packet, clock.now())
    assert fixed is not None
    share = Share.objects.filter(settlement=fixed.settlement).first()
    assert share is not None
    Share.objects.filter(pk=share.pk).update(amount_fen=share.amount_fen + 1)
    assert settle(packet, after_seconds=11) == Settled(failed=1)
    assert wallet(people.sender) == (0, 900)
    assert batches(packet) == [(1, "ASSIGNED", 2)]


def test_the_bell_rings_while_a_claim_or_an_abandoned_batch_waits() -> None:
    settlement.settle_due(now=clock.now() + dt.timedelta(days=1))
    assert tasks.is_due() is False
    people = make_people(count=3)
    packet = open_and_grab(people, total_fen=900, count=3, grabs=1)
    assert tasks.is_due() is True
    settlement._fix_batch(packet, clock.now())
    assert tasks.is_due() is False
    assert selectors.is_settlement_due(now=clock.now() + dt.timedelta(seconds=11)) is True
    assert selectors.list_packets_to_settle(now=clock.now() + dt.timedelta(seconds=11), limit=10) == [packet.pk]


def test_what_a_key_of_the_database_refuses_is_recorded_and_alerted(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=3)
    packet = open_and_grab(people, total_fen=900, count=2, grabs=2)
    with monkeypatch.context() as patch:
        patch.setattr(shares, "settle", fail_with(IntegrityError(1062, "Duplicate entry")))
        assert settle(packet) == Settled(failed=1)
    batch = Settlement.objects.get(packet_id=packet.pk)
    assert (batch.state, batch.tries, "Duplicate entry" in batch.last_error) == ("ASSIGNED", 1, True)
    assert Alert.objects.get(subject=f"{packet.pk}:1").code == "redpacket_settlement_failing"
    assert wallet(people.sender) == (0, 900)
    assert settle(packet, after_seconds=10) == Settled(batches=1, shares=2)
    assert wallet(people.sender) == (0, 0)


def refuse(*_: Any) -> None:
    raise IntegrityError(1062, "Duplicate entry")


def test_a_batch_that_cannot_be_fixed_is_alerted_and_the_claims_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=3)
    packet = open_and_grab(people, total_fen=900, count=2, grabs=2)
    with monkeypatch.context() as patch:
        patch.setattr(settlement, "_insert", refuse)
        assert settle(packet) == Settled()
    assert Alert.objects.get(subject=packet.pk).code == "redpacket_batch_refused"
    assert batches(packet) == []
    assert settle(packet) == Settled(batches=1, shares=2)


def test_a_claim_that_another_worker_took_is_not_fixed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between choosing and fixing another worker put one of the claims into its batch: all is chosen anew."""
    people = make_people(count=4)
    packet = open_and_grab(people, total_fen=900, count=3, grabs=3)
    insert, met = settlement._insert, []

    def insert_late(packet: RedPacket, claims: Any, receipts: Any, now: dt.datetime) -> Settlement:
        if not met:
            met.append(1)
            insert(packet, claims[:1], receipts, now)
        return insert(packet, claims, receipts, now)

    monkeypatch.setattr(settlement, "_insert", insert_late)
    first = settlement._choose(packet)
    assert len(first) == 3
    fixed = settlement._fix_batch(packet, clock.now())
    assert fixed is not None
    rows = list(Settlement.objects.filter(packet_id=packet.pk).values_list("batch_no", "share_count"))
    stored = Share.objects.filter(settlement=fixed.settlement).count()
    assert len(fixed.shares) == stored == 3
    assert rows == [(1, 3)]


def test_what_is_claimed_while_the_last_batch_is_posted_waits_for_the_next_bell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people = make_people(count=4)
    packet = open_and_grab(people, total_fen=900, count=3, grabs=2)
    original = shares.settle

    def settle_while_grabbing(**arguments: Any) -> None:
        original(**arguments)
        if not Share.objects.filter(packet_id=packet.pk, receiver_id=people.sender.employee_id).exists():
            grab.grab(packet_id=packet.pk, employee=people.sender, now=clock.now())

    monkeypatch.setattr(shares, "settle", settle_while_grabbing)
    assert settle(packet) == Settled(batches=1, shares=2)
    assert tasks.is_due() is True
    assert settle(packet) == Settled(batches=1, shares=1)
    packet.refresh_from_db()
    assert packet.state == PacketState.EXHAUSTED


def test_the_sweep_stops_when_its_time_is_up() -> None:
    people = make_people(count=3)
    packet = open_and_grab(people, total_fen=900, count=2, grabs=2)
    ticks = iter([0.0, settlement.ROUND_SECONDS + 1])
    assert settlement.settle_due(now=clock.now(), clock=lambda: next(ticks)) == Settled()
    assert batches(packet) == []


def test_the_task_and_the_sweep_settle_what_waits() -> None:
    people = make_people(count=3)
    first = open_and_grab(people, total_fen=900, count=3, grabs=2)
    assert tasks.settle_claims() >= 2
    assert batches(first) == [(1, SettlementState.POSTED, 2)]
    grab.grab(packet_id=first.pk, employee=people.members[0], now=clock.now())
    report = jobs.get("redpacket.settle_sweep").run(now=clock.now())
    assert report["shares"] >= 1
    assert batches(first) == [(1, SettlementState.POSTED, 2), (2, SettlementState.POSTED, 1)]
    first.refresh_from_db()
    assert first.state == PacketState.EXHAUSTED
    assert sum(amounts(first).values()) == 900

"""The end of a packet: what nobody grabbed goes back once, what was grabbed stays grabbed."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from foundation import clock, jobs, outbox
from foundation.db import roles
from foundation.errors import Broken, Busy
from foundation.models import Alert
from payments.domain import events
from payments.services import refunds
from redpacket.domain.states import PacketState, RefundState
from redpacket.models import RedPacket
from redpacket.services import expiry, grab, opening, settlement
from tests.books import assert_books_balance
from tests.integration.redpacket.packets import amounts, claims, end_lifetime, send_lucky
from tests.integration.redpacket.people import People, make_people, wallet

pytestmark = pytest.mark.django_db(databases="__all__")


def open_and_grab(people: People, *, total_fen: int, count: int, grabs: int) -> RedPacket:
    packet = send_lucky(people, total_fen=total_fen, count=count).packet
    for person in people.members[1 : grabs + 1]:
        grab.grab(packet_id=packet.pk, employee=person, now=clock.now())
    return packet


def claimed_fen(packet: RedPacket) -> int:
    return sum(amounts(packet)[number] for number in claims(packet))


def fresh(packet: RedPacket) -> RedPacket:
    return RedPacket.objects.get(pk=packet.pk)


def test_the_rest_goes_back_to_the_wallet_and_grabbed_shares_still_settle() -> None:
    people = make_people(count=3)
    packet = open_and_grab(people, total_fen=900, count=4, grabs=2)
    rest_fen = 900 - claimed_fen(packet)
    end_lifetime(packet)
    expiry.expire_due(now=clock.now())
    ended = fresh(packet)
    assert (ended.state, ended.rest_fen, ended.refund_state) == (PacketState.EXPIRED, rest_fen, RefundState.SUCCESS)
    assert ended.refund_no.startswith("RX")
    assert wallet(people.sender) == (rest_fen, claimed_fen(packet))
    settlement.settle_packet(packet_id=packet.pk, now=clock.now())
    assert wallet(people.sender) == (rest_fen, 0)
    assert sum(wallet(person)[0] for person in people.members[1:]) == claimed_fen(packet)
    assert fresh(packet).state == PacketState.EXPIRED
    assert_books_balance()


def test_an_expired_packet_gives_no_share() -> None:
    people = make_people(count=3)
    packet = open_and_grab(people, total_fen=900, count=4, grabs=1)
    end_lifetime(packet)
    expiry.expire_due(now=clock.now())
    before = claims(packet)
    with pytest.raises(grab.RedPacketExpired):
        grab.grab(packet_id=packet.pk, employee=people.members[2], now=clock.now())
    with pytest.raises(grab.RedPacketExpired):
        grab._through_database(packet.pk, people.members[2], clock.now())
    assert claims(packet) == before


def test_nothing_ends_before_its_time_whatever_the_caller_believes() -> None:
    people = make_people(count=2)
    packet = open_and_grab(people, total_fen=900, count=4, grabs=1)
    expiry.expire_due(now=clock.now() + dt.timedelta(days=400))
    assert expiry.expire_packet(packet=packet, now=clock.now() + dt.timedelta(days=400)) is False
    assert (fresh(packet).state, fresh(packet).rest_fen, fresh(packet).refund_no) == (PacketState.OPEN, None, "")
    assert wallet(people.sender) == (0, 900)


def test_ending_twice_returns_the_rest_once() -> None:
    people = make_people(count=2)
    packet = open_and_grab(people, total_fen=900, count=4, grabs=0)
    end_lifetime(packet)
    expiry.expire_due(now=clock.now())
    first = fresh(packet)
    expiry.expire_due(now=clock.now())
    assert expiry.return_rest(packet=first, now=clock.now()) is True
    assert fresh(packet).refund_no == first.refund_no
    assert wallet(people.sender) == (900, 0)
    assert_books_balance()


def test_a_crash_between_state_and_refund_is_continued_with_the_same_number(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=2)
    packet = open_and_grab(people, total_fen=900, count=4, grabs=0)
    end_lifetime(packet)

    def die(**_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(refunds, "return_rest", die)
        with pytest.raises(SystemExit):
            expiry.expire_due(now=clock.now())
    fixed = fresh(packet)
    assert (fixed.state, fixed.refund_state, fixed.rest_fen) == (PacketState.EXPIRED, RefundState.DUE, 900)
    assert wallet(people.sender) == (0, 900)
    report = jobs.get("redpacket.expire_due").run(now=clock.now())
    assert report["returned"] >= 1
    assert fresh(packet).refund_no == fixed.refund_no
    assert fresh(packet).refund_state == RefundState.SUCCESS
    assert wallet(people.sender) == (900, 0)


def test_a_refund_that_fails_is_alerted_and_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=2)
    bad = open_and_grab(people, total_fen=300, count=3, grabs=0)
    good = open_and_grab(people, total_fen=700, count=3, grabs=0)
    original = refunds.return_rest

    def return_rest(**arguments: Any) -> Any:
        if arguments["business_no"] == bad.pk:
            raise Busy()
        return original(**arguments)

    end_lifetime(bad)
    end_lifetime(good)
    with monkeypatch.context() as patch:
        patch.setattr(refunds, "return_rest", return_rest)
        assert expiry.expire_due(now=clock.now()).failed == 1
    assert Alert.objects.get(code="redpacket_refund_failing").subject == bad.pk
    assert (fresh(bad).refund_state, fresh(good).refund_state) == (RefundState.DUE, RefundState.SUCCESS)
    assert wallet(people.sender) == (700, 300)


def test_a_packet_grabbed_to_the_last_share_is_exhausted_not_expired() -> None:
    people = make_people(count=3)
    packet = open_and_grab(people, total_fen=900, count=2, grabs=2)
    end_lifetime(packet)
    expiry.expire_due(now=clock.now())
    ended = fresh(packet)
    assert (ended.state, ended.rest_fen, ended.refund_no) == (PacketState.EXHAUSTED, 0, "")
    settlement.settle_packet(packet_id=packet.pk, now=clock.now())
    assert wallet(people.sender) == (0, 0)
    assert_books_balance()


def finish_refund(packet: RedPacket, *, state: str, amount_fen: int | None = None) -> None:
    expiry.record_refund(
        packet_id=packet.pk,
        refund_no=packet.refund_no,
        state=state,
        amount_fen=packet.rest_fen if amount_fen is None else amount_fen,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("state", "late"), [("SUCCESS", "FAILED"), ("FAILED", "SUCCESS")])
def test_the_end_of_a_providers_refund_is_recorded_once(state: str, late: str) -> None:
    people = make_people(count=2)
    packet = open_and_grab(people, total_fen=900, count=4, grabs=0)
    end_lifetime(packet)
    expiry.expire_packet(packet=packet, now=clock.now())
    RedPacket.objects.filter(pk=packet.pk).update(refund_state=RefundState.PENDING)
    ended = fresh(packet)
    with pytest.raises(Broken):
        finish_refund(ended, state=state, amount_fen=899)
    assert fresh(packet).refund_state == RefundState.PENDING
    for event_state in (state, state, late):
        finish_refund(ended, state=event_state)
        assert fresh(packet).refund_state == state


def test_a_payment_after_the_cancellation_goes_back_in_full() -> None:
    people = make_people(count=2)
    packet = open_and_grab(people, total_fen=900, count=4, grabs=0)
    RedPacket.objects.filter(pk=packet.pk).update(state=PacketState.CANCELLED, opened_at=None, expires_at=None)
    for _ in range(2):
        opening.record_paid(
            packet_id=packet.pk, funding_order_no=packet.funding_order_no, amount_fen=900, now=clock.now()
        )
    ended = fresh(packet)
    assert (ended.state, ended.rest_fen, ended.refund_state) == (PacketState.EXPIRED, 900, RefundState.DUE)
    assert Alert.objects.get(subject=packet.pk).code == "redpacket_paid_late"
    expiry.expire_due(now=clock.now())
    assert wallet(people.sender) == (900, 0)
    assert_books_balance()


def test_drafts_are_given_up_after_a_day() -> None:
    people = make_people(count=2)
    old, young = (open_and_grab(people, total_fen=900, count=4, grabs=0) for _ in range(2))
    drafts = RedPacket.objects.filter(pk__in=[old.pk, young.pk])
    drafts.update(state=PacketState.DRAFT, opened_at=None, expires_at=None)
    RedPacket.objects.filter(pk=old.pk).update(created_at=clock.now() - dt.timedelta(hours=24, seconds=1))
    assert opening.cancel_old_drafts(now=clock.now()) == 1
    assert (fresh(old).state, fresh(young).state) == (PacketState.CANCELLED, PacketState.DRAFT)


def test_events_open_cancel_and_finish() -> None:
    """The subscribers are registered and read the payloads that payments publishes."""
    people = make_people(count=2)
    paid, closed = (open_and_grab(people, total_fen=900, count=4, grabs=0) for _ in range(2))
    RedPacket.objects.filter(pk__in=[paid.pk, closed.pk]).update(
        state=PacketState.DRAFT, opened_at=None, expires_at=None
    )
    event = outbox.Event(
        alias=roles.alias_for("funds"),
        topic=events.ORDER_CLOSED,
        key=closed.funding_order_no,
        payload={"kind": "REDPACKET_SEND", "business_no": closed.pk, "order_no": closed.funding_order_no},
        created_at=clock.now(),
        tries=1,
    )
    for subscriber in outbox._subscribers[events.ORDER_CLOSED]:
        subscriber(event)
    assert fresh(closed).state == PacketState.CANCELLED
    outbox.drain(using=roles.alias_for("funds"), now=clock.now)
    assert fresh(paid).state == PacketState.OPEN

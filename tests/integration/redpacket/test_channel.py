"""A packet paid through a channel, with the provider's answers planted: from the draft to the refund of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from foundation import clock, outbox
from foundation.db import roles
from gateway import registry
from gateway.ports import Outcome, Result
from gateway.services import calls
from payments.services import outcomes, refund_results
from payments.services.outcomes import Success
from redpacket.domain.states import PacketKind, PacketState, RefundState
from redpacket.models import RedPacket
from redpacket.services import expiry, grab, send, settlement
from redpacket.services.grab import RedPacketNotOpen
from redpacket.services.send import NewPacket, PayBy, SentPacket
from tests.books import assert_books_balance
from tests.integration.redpacket.packets import amounts, claims, end_lifetime, reserve_number
from tests.integration.redpacket.people import People, make_people, wallet

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture(autouse=True)
def provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepts everything; refunds are accepted and not finished."""
    payment = {"kind": "code_url", "code_url": "weixin://pay/1"}
    monkeypatch.setattr(registry, "adapter", lambda channel: object())
    monkeypatch.setattr(calls, "prepay", lambda **_: Result(outcome=Outcome.SUCCESS, payment=payment))
    monkeypatch.setattr(calls, "refund", lambda **_: Result(outcome=Outcome.PENDING))


def send_by_channel(people: People) -> SentPacket:
    return send.send_packet(
        order_no=reserve_number(people.sender),
        sender=people.sender,
        new=NewPacket(kind=PacketKind.LUCKY, total_fen=900, count=4, group_id=people.group_id),
        pay=PayBy(source="wechat", scene="native"),
        now=clock.now(),
    )


def pay(sent: SentPacket) -> None:
    success = Success(
        attempt_no=sent.order.attempts[0].attempt_no, amount_fen=900, provider_no="4200", paid_at=clock.now()
    )
    outcomes.record_success(success=success, now=clock.now())
    deliver()


def deliver() -> None:
    for alias in roles.all_aliases():
        outbox.drain(using=alias, now=clock.now)


def fresh(sent: SentPacket) -> RedPacket:
    return RedPacket.objects.get(pk=sent.packet.pk)


def test_a_draft_waits_for_its_payment() -> None:
    people = make_people(count=2)
    sent = send_by_channel(people)
    assert (sent.packet.state, sent.order.state) == ("DRAFT", "PENDING")
    assert sent.payment == {"kind": "code_url", "code_url": "weixin://pay/1"}
    with pytest.raises(RedPacketNotOpen):
        grab.grab(packet_id=sent.packet.pk, employee=people.members[1], now=clock.now())
    shares = amounts(sent.packet)
    pay(sent)
    assert fresh(sent).state == PacketState.OPEN
    assert amounts(sent.packet) == shares
    assert wallet(people.sender) == (0, 900)
    assert grab.grab(packet_id=sent.packet.pk, employee=people.members[1], now=clock.now()).result == "grabbed"


@pytest.mark.parametrize(("outcome", "state"), [(Outcome.SUCCESS, "SUCCESS"), (Outcome.FAILED, "FAILED")])
def test_the_rest_goes_back_through_the_channel(outcome: Outcome, state: str) -> None:
    people = make_people(count=2)
    sent = send_by_channel(people)
    pay(sent)
    grabbed = grab.grab(packet_id=sent.packet.pk, employee=people.members[1], now=clock.now())
    end_lifetime(sent.packet)
    expiry.expire_due(now=clock.now())
    deliver()
    ended = fresh(sent)
    rest_fen = 900 - grabbed.amount_fen
    assert (ended.state, ended.rest_fen, ended.refund_state) == (PacketState.EXPIRED, rest_fen, RefundState.PENDING)
    assert wallet(people.sender) == (0, grabbed.amount_fen)
    refund_results.apply(refund_no=ended.refund_no, result=Result(outcome=outcome), now=clock.now())
    deliver()
    assert fresh(sent).refund_state == state
    settlement.settle_packet(packet_id=sent.packet.pk, now=clock.now())
    back_fen = 0 if outcome is Outcome.SUCCESS else rest_fen
    assert wallet(people.sender) == (back_fen, 0)
    assert wallet(people.members[1]) == (grabbed.amount_fen, 0)
    assert_books_balance()


def test_an_order_that_ends_unpaid_cancels_the_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    from payments.services import closing

    people = make_people(count=2)
    sent = send_by_channel(people)
    closed: list[Any] = []
    monkeypatch.setattr(calls, "close", lambda **call: closed.append(call) or Result(outcome=Outcome.SUCCESS))
    closing.close_order(order_no=sent.order.order_no, now=clock.now())
    deliver()
    assert len(closed) == 1
    assert fresh(sent).state == PacketState.CANCELLED
    with pytest.raises(RedPacketNotOpen):
        grab.grab(packet_id=sent.packet.pk, employee=people.members[1], now=clock.now())
    assert claims(sent.packet) == {}
    assert_books_balance()

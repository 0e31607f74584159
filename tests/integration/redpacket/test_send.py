"""Sending: packet, shares and money belong together, whatever is repeated or refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import override_settings

from foundation import clock, ids, outbox
from foundation.db import roles
from foundation.errors import Broken, InvalidRequest, NotFound, PermissionDenied
from funds.services.ledger import InsufficientFunds
from payments.services import purchase
from redpacket import cache, selectors
from redpacket.domain.states import PacketKind, PacketState
from redpacket.models import RedPacket, Share
from redpacket.services import opening, send
from redpacket.services.send import NewPacket, PayBy
from tests.books import assert_books_balance
from tests.integration.redpacket.packets import amounts, reserve_number, send_lucky, send_normal
from tests.integration.redpacket.people import People, code_of, give_money, make_people, wallet

pytestmark = pytest.mark.django_db(databases="__all__")
WALLET = PayBy(source="wallet")


def attempt(people: People, new: NewPacket, *, order_no: str = "") -> send.SentPacket:
    return send.send_packet(
        order_no=order_no or reserve_number(people.sender), sender=people.sender, new=new, pay=WALLET, now=clock.now()
    )


def lucky(people: People, **more: Any) -> NewPacket:
    fields = {"kind": PacketKind.LUCKY, "total_fen": 500, "count": 3, "group_id": people.group_id, **more}
    return NewPacket(**fields)


def packets_of(people: People) -> int:
    return RedPacket.objects.filter(sender_id=people.sender.employee_id).count()


def test_a_lucky_packet_paid_from_the_wallet_is_open_at_once() -> None:
    people = make_people(count=2)
    order_no = reserve_number(people.sender)
    sent = send_lucky(people, total_fen=500, count=3, order_no=order_no, greeting="恭喜发财")
    packet = RedPacket.objects.get(pk=sent.packet.pk)
    assert (packet.state, packet.funding_order_no, packet.greeting) == (PacketState.OPEN, order_no, "恭喜发财")
    assert packet.opened_at is not None
    assert packet.expires_at is not None
    assert (packet.expires_at - packet.opened_at).total_seconds() == 24 * 3600
    assert sorted(amounts(packet)) == [1, 2, 3]
    assert sum(amounts(packet).values()) == 500
    assert (sent.order.order_no, sent.order.business_no, sent.payment) == (order_no, packet.pk, {"kind": "none"})
    assert wallet(people.sender) == (0, 500)
    assert cache.is_published(packet_id=packet.pk)
    assert_books_balance()


def test_a_normal_packet_is_one_share_for_one_receiver() -> None:
    people = make_people(count=2)
    packet = send_normal(people, total_fen=888).packet
    assert (packet.kind, packet.receiver_id, packet.group_id) == ("NORMAL", people.members[1].employee_id, "")
    assert amounts(packet) == {1: 888}


def test_repeating_a_request_changes_nothing() -> None:
    people = make_people(count=2)
    order_no = reserve_number(people.sender)
    first = send_lucky(people, total_fen=500, count=5, order_no=order_no).packet
    shares = amounts(first)
    give_money(people.sender, amount_fen=500)
    again = attempt(people, lucky(people, total_fen=500, count=5), order_no=order_no)
    assert again.packet.pk == first.pk
    assert (again.order.order_no, again.payment) == (order_no, {"kind": "none"})
    assert (amounts(first), packets_of(people)) == (shares, 1)
    assert wallet(people.sender) == (500, 500)


def test_a_request_that_died_before_its_purchase_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=2)
    give_money(people.sender, amount_fen=500)
    order_no = reserve_number(people.sender)

    def die(**_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(purchase, "pay_from_wallet", die)
        with pytest.raises(SystemExit):
            attempt(people, lucky(people), order_no=order_no)
    draft = selectors.find_by_order(funding_order_no=order_no)
    assert draft is not None
    assert (draft.state, wallet(people.sender)) == (PacketState.DRAFT, (500, 0))
    shares = amounts(draft)
    sent = attempt(people, lucky(people), order_no=order_no)
    assert (sent.packet.pk, sent.packet.state, amounts(draft)) == (draft.pk, PacketState.OPEN, shares)
    assert wallet(people.sender) == (0, 500)


def test_the_event_opens_a_packet_whose_request_died_after_paying(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=2)
    give_money(people.sender, amount_fen=500)
    order_no = reserve_number(people.sender)

    def die(**_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(opening, "open_packet", die)
        with pytest.raises(SystemExit):
            attempt(people, lucky(people), order_no=order_no)
    packet = selectors.find_by_order(funding_order_no=order_no)
    assert packet is not None
    assert packet.state == PacketState.DRAFT
    assert outbox.drain(using=roles.alias_for("funds"), now=clock.now) >= 1
    packet.refresh_from_db()
    assert packet.state == PacketState.OPEN
    assert cache.is_published(packet_id=packet.pk)


def test_another_sender_cannot_use_the_order_number() -> None:
    people, others = make_people(count=2), make_people(count=2)
    order_no = reserve_number(people.sender)
    send_lucky(people, total_fen=500, count=5, order_no=order_no)
    with pytest.raises(Broken):
        attempt(others, lucky(others), order_no=order_no)
    assert packets_of(others) == 0


def test_without_money_nothing_is_frozen_and_the_draft_is_cancelled() -> None:
    people = make_people(count=2)
    give_money(people.sender, amount_fen=499)
    order_no = reserve_number(people.sender)
    with pytest.raises(InsufficientFunds):
        attempt(people, lucky(people), order_no=order_no)
    assert wallet(people.sender) == (499, 0)
    packet = selectors.find_by_order(funding_order_no=order_no)
    assert packet is not None
    for alias in roles.order_aliases():
        outbox.drain(using=alias, now=clock.now)
    packet.refresh_from_db()
    assert packet.state == PacketState.CANCELLED
    assert_books_balance()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"total_fen": 2}, "total_fen"),
        ({"total_fen": 60_001}, "total_fen"),
        ({"count": 0}, "count"),
        ({"count": 10_001, "total_fen": 20_000}, "count"),
        ({"greeting": "x" * 61}, "greeting"),
        ({"greeting": "a\x00b"}, "greeting"),
        ({"group_id": ""}, "group"),
        ({"receiver_code": "e0002"}, "receiver"),
        ({"kind": PacketKind.NORMAL, "count": 1}, "receiver"),
        ({"kind": PacketKind.NORMAL, "count": 1, "receiver_code": "e0002"}, "group"),
        ({"kind": PacketKind.NORMAL, "count": 2, "group_id": "", "receiver_code": "e0002"}, "count"),
        ({"kind": PacketKind.NORMAL, "count": 1, "group_id": "", "receiver_code": "e0001"}, "receiver"),
    ],
)
def test_a_packet_against_the_rules_is_refused(change: dict[str, Any], field: str) -> None:
    people = make_people(count=2)
    give_money(people.sender, amount_fen=500)
    with pytest.raises(InvalidRequest) as refusal:
        attempt(people, lucky(people, **change))
    assert field in refusal.value.details
    assert (packets_of(people), wallet(people.sender)) == (0, (500, 0))


def test_unknown_and_foreign_receivers_and_groups_are_not_found() -> None:
    people, others = make_people(count=2), make_people(count=3)
    foreign_code = code_of(others.members[2])
    for new in (
        lucky(people, group_id=ids.new_id()),
        lucky(people, group_id=others.group_id),
        NewPacket(kind=PacketKind.NORMAL, total_fen=5, count=1, receiver_code="nobody"),
        NewPacket(kind=PacketKind.NORMAL, total_fen=5, count=1, receiver_code=foreign_code),
    ):
        with pytest.raises(NotFound):
            attempt(people, new)
    assert packets_of(people) == 0


def test_only_members_send_to_a_group() -> None:
    people = make_people(count=3)
    from identity.models import GroupMember

    GroupMember.objects.filter(group_id=people.group_id, employee_id=people.sender.employee_id).delete()
    with pytest.raises(PermissionDenied):
        attempt(people, lucky(people))
    assert packets_of(people) == 0


@override_settings(REDPACKET_LIFETIME_SECONDS=60)
def test_the_lifetime_is_a_setting() -> None:
    packet = send_lucky(make_people(count=2), total_fen=500, count=5).packet
    assert packet.expires_at is not None
    assert packet.opened_at is not None
    assert (packet.expires_at - packet.opened_at).total_seconds() == 60


def test_the_largest_packet_is_made_whole() -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=1_000_000, count=10_000).packet
    shares = amounts(packet)
    assert (len(shares), sum(shares.values()), min(shares.values()) >= 1) == (10_000, 1_000_000, True)


@pytest.mark.parametrize(
    "change",
    [
        {"total_fen": 0},
        {"receiver_id": 5},
        {"group_id": ""},
        {"rest_fen": 5},
        {"state": "EXPIRED"},
        {"state": "EXPIRED", "rest_fen": 501, "closed_at": clock.now(), "refund_no": "X", "refund_state": "DUE"},
        {"state": "EXHAUSTED", "rest_fen": 5, "closed_at": clock.now()},
        {"expires_at": None},
        {"refund_no": "X"},
    ],
)
def test_the_database_refuses_packets_that_cannot_be(change: dict[str, Any]) -> None:
    packet = send_lucky(make_people(count=2), total_fen=500, count=5).packet
    with pytest.raises(Exception, match="CONSTRAINT"), transaction.atomic(using=roles.alias_for("redpacket")):
        RedPacket.objects.filter(pk=packet.pk).update(**change)
    assert RedPacket.objects.filter(pk=packet.pk, state="OPEN", total_fen=500, rest_fen=None).exists()


@pytest.mark.parametrize(
    "change",
    [
        {"amount_fen": 0},
        {"receiver_id": 5},
        {"claimed_at": clock.now()},
        {"receipt_no": "X"},
        {"settled_at": clock.now()},
    ],
)
def test_the_database_refuses_shares_that_cannot_be(change: dict[str, Any]) -> None:
    packet = send_lucky(make_people(count=2), total_fen=500, count=5).packet
    with pytest.raises(Exception, match="CONSTRAINT"), transaction.atomic(using=roles.alias_for("redpacket")):
        Share.objects.filter(packet_id=packet.pk, share_no=1).update(**change)


def test_the_database_refuses_a_second_packet_of_an_order_and_a_second_share_of_a_number() -> None:
    packet = send_lucky(make_people(count=2), total_fen=500, count=5).packet
    alias = roles.alias_for("redpacket")
    with pytest.raises(IntegrityError), transaction.atomic(using=alias):
        Share.objects.create(packet_id=packet.pk, share_no=1, amount_fen=1)
    packet.pk = ids.new_id()
    with pytest.raises(IntegrityError), transaction.atomic(using=alias):
        packet.save(force_insert=True)

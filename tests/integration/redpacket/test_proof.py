"""The proof of the packets' invariants holds for what the services make, and finds what they would never make."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from foundation import clock
from redpacket import selectors
from redpacket.models import RedPacket, Settlement, Share
from redpacket.services import expiry, grab, settlement
from tests.integration.redpacket.packets import end_lifetime, send_lucky
from tests.integration.redpacket.people import make_people

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def packet() -> RedPacket:
    """Expired: one share settled, one claimed, two gone back."""
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=900, count=4).packet
    grab.grab(packet_id=packet.pk, employee=people.members[0], now=clock.now())
    settlement.settle_packet(packet_id=packet.pk, now=clock.now())
    grab.grab(packet_id=packet.pk, employee=people.members[1], now=clock.now())
    end_lifetime(packet)
    expiry.expire_due(now=clock.now())
    return packet


def broken() -> set[str]:
    return {line.name for line in selectors.prove() if not line.ok}


def test_the_proof_holds_for_what_the_services_made(packet: RedPacket) -> None:
    assert broken() == set()


def settled_share(packet: RedPacket) -> Share:
    return Share.objects.get(packet_id=packet.pk, settled_at__isnull=False)


def add_a_fen(packet: RedPacket) -> None:
    share = Share.objects.filter(packet_id=packet.pk, receiver_id=None).first()
    assert share is not None
    Share.objects.filter(pk=share.pk).update(amount_fen=share.amount_fen + 1)


def return_too_little(packet: RedPacket) -> None:
    RedPacket.objects.filter(pk=packet.pk).update(rest_fen=1)


def call_it_exhausted(packet: RedPacket) -> None:
    RedPacket.objects.filter(pk=packet.pk).update(state="EXHAUSTED", rest_fen=0, refund_no="", refund_state="NONE")


def call_it_unpaid(packet: RedPacket) -> None:
    RedPacket.objects.filter(pk=packet.pk).update(state="DRAFT", rest_fen=None, refund_no="", refund_state="NONE")


def reopen_the_batch(packet: RedPacket) -> None:
    Settlement.objects.filter(packet_id=packet.pk).update(state="ASSIGNED", posted_at=None)


def forget_the_settlement(packet: RedPacket) -> None:
    Share.objects.filter(pk=settled_share(packet).pk).update(settled_at=None)


def shrink_the_batch(packet: RedPacket) -> None:
    Settlement.objects.filter(packet_id=packet.pk).update(total_fen=1)


def settle_in_a_foreign_batch(packet: RedPacket) -> None:
    other = send_lucky(make_people(count=1), total_fen=10, count=1).packet
    Settlement.objects.filter(packet_id=packet.pk).update(packet_id=other.pk)


def use_a_receipt_twice(packet: RedPacket) -> None:
    share = settled_share(packet)
    claimed = Share.objects.filter(packet_id=packet.pk, receiver_id__isnull=False, settlement=None)
    assert claimed.update(settlement=share.settlement_id, receipt_no=share.receipt_no) == 1


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (add_a_fen, {"shares sum to the total"}),
        (return_too_little, {"claimed + rest = total when closed"}),
        (call_it_exhausted, {"claimed + rest = total when closed", "exhausted packets have no free share"}),
        (call_it_unpaid, {"unpaid packets have no claims"}),
        (reopen_the_batch, {"settled shares stand in a posted settlement"}),
        (forget_the_settlement, {"posted settlements have settled shares only"}),
        (shrink_the_batch, {"settlements agree with their shares"}),
        (settle_in_a_foreign_batch, {"shares settle in a batch of their own packet"}),
        (
            use_a_receipt_twice,
            {
                "receipts have numbers of their own",
                "settlements agree with their shares",
                "posted settlements have settled shares only",
            },
        ),
    ],
)
def test_damage_is_found(packet: RedPacket, damage: Callable[[RedPacket], None], found: set[str]) -> None:
    damage(packet)
    assert broken() == found

"""Red packets for the tests, made through the services."""

from __future__ import annotations

import datetime as dt

from foundation import clock
from payments.domain.people import Person
from payments.services import numbers
from redpacket.domain.states import PacketKind
from redpacket.models import RedPacket, Share
from redpacket.services import send
from redpacket.services.send import NewPacket, PayBy, SentPacket
from tests.integration.redpacket.people import People, code_of, give_money


def reserve_number(sender: Person) -> str:
    return numbers.issue(prefix=numbers.Prefix.REDPACKET_SEND, account_id=sender.employee_id)


def send_lucky(people: People, *, total_fen: int, count: int, order_no: str = "", greeting: str = "") -> SentPacket:
    """A lucky packet of the group, paid from the wallet: open and in Redis."""
    give_money(people.sender, amount_fen=total_fen)
    return send.send_packet(
        order_no=order_no or reserve_number(people.sender),
        sender=people.sender,
        new=NewPacket(
            kind=PacketKind.LUCKY, total_fen=total_fen, count=count, group_id=people.group_id, greeting=greeting
        ),
        pay=PayBy(source="wallet"),
        now=clock.now(),
    )


def send_normal(people: People, *, total_fen: int) -> SentPacket:
    """A normal packet from the first to the second of the people, paid from the wallet."""
    give_money(people.sender, amount_fen=total_fen)
    return send.send_packet(
        order_no=reserve_number(people.sender),
        sender=people.sender,
        new=NewPacket(kind=PacketKind.NORMAL, total_fen=total_fen, count=1, receiver_code=code_of(people.members[1])),
        pay=PayBy(source="wallet"),
        now=clock.now(),
    )


def end_lifetime(packet: RedPacket) -> None:
    """Its time has come, by the database's clock; Redis is not told."""
    RedPacket.objects.filter(pk=packet.pk).update(expires_at=clock.now() - dt.timedelta(seconds=1))


def claims(packet: RedPacket) -> dict[int, int]:
    """Share number → receiver of the claimed shares, as the database has them."""
    claimed = Share.objects.filter(packet_id=packet.pk, receiver_id__isnull=False)
    return dict(claimed.values_list("share_no", "receiver_id"))


def amounts(packet: RedPacket) -> dict[int, int]:
    """Share number → amount in fen."""
    return dict(Share.objects.filter(packet_id=packet.pk).values_list("share_no", "amount_fen"))

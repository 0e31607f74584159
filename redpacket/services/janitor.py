"""Returns shares that Redis handed out and nobody claimed: their process died between the two steps."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from redpacket import cache
from redpacket.cache import Ticket
from redpacket.domain.states import PacketState
from redpacket.models import RedPacket, Share

PENDING_SECONDS = 3
"""A claim takes milliseconds; one that is still open after this is dead or will be refused without harm.

With the time between two runs (paysys/schedule.py) well below 10 s: by then a share that died is free again.
"""
PACKETS_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class Tidied:
    """What was done with reservations that were too old."""

    given_back: int = 0
    confirmed: int = 0
    discarded: int = 0


def return_pending() -> Tidied:
    """Looks through all open packets; the database says what becomes of each old reservation.

    Free there: back to the list. His: confirmed. Somebody else's: forgotten. Safe to repeat and to run beside a late
    claim: a share on the list that is not free is refused by the database. May raise redis.RedisError.
    """
    older_than = cache.clock() - dt.timedelta(seconds=PENDING_SECONDS)
    given_back = confirmed = discarded = 0
    open_ids = list(RedPacket.objects.filter(state=PacketState.OPEN).values_list("pk", flat=True))
    for start in range(0, len(open_ids), PACKETS_AT_ONCE):
        chunk = open_ids[start : start + PACKETS_AT_ONCE]
        for packet_id, employee_id, ticket in cache.list_pending(packet_ids=chunk, older_than=older_than):
            receiver_id, own = _truth(packet_id, employee_id, ticket)
            if own is not None:
                cache.confirm(packet_id=packet_id, employee_id=employee_id, ticket=own)
                confirmed += 1
            elif receiver_id is None:
                given_back += cache.give_back(packet_id=packet_id, employee_id=employee_id, ticket=ticket)
            else:
                discarded += cache.discard(packet_id=packet_id, employee_id=employee_id, ticket=ticket)
    return Tidied(given_back=given_back, confirmed=confirmed, discarded=discarded)


def _truth(packet_id: str, employee_id: int, ticket: Ticket) -> tuple[int | None, Ticket | None]:
    """Who has the share, and which share of the packet the employee has."""
    receiver_id = own = None
    for share in Share.objects.filter(packet_id=packet_id, share_no=ticket.share_no):
        receiver_id = share.receiver_id
    for share in Share.objects.filter(packet_id=packet_id, receiver_id=employee_id):
        own = Ticket(share_no=share.share_no, amount_fen=share.amount_fen)
    return receiver_id, own

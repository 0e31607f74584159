"""Claims a share in the database: the commit that makes a grab true.

The packet's row is locked shared, so that the expiry, which takes it exclusively, either sees the claim or stops it;
the share changes hands by one conditional update. The unique key (packet, receiver) and the update's condition decide,
whatever Redis believed. Source: design `faults.md` 3.5.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from django.db import IntegrityError, connections

from foundation.db import roles, transactions
from redpacket import selectors
from redpacket.cache import Ticket
from redpacket.domain.states import PacketState
from redpacket.models import RedPacket, Share


class Verdict(StrEnum):
    """What the database says of a claim."""

    GRABBED = "GRABBED"
    ALREADY = "ALREADY"  # the employee has a share of this packet: that one
    TAKEN = "TAKEN"  # the wanted share is somebody else's, or every free one is locked at this moment
    EMPTY = "EMPTY"
    EXPIRED = "EXPIRED"
    NOT_OPEN = "NOT_OPEN"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`ticket` is the employee's share with GRABBED and ALREADY."""

    verdict: Verdict
    ticket: Ticket | None = None


_REFUSALS = {
    PacketState.EXHAUSTED: Verdict.EMPTY,
    PacketState.EXPIRED: Verdict.EXPIRED,
    PacketState.DRAFT: Verdict.NOT_OPEN,
    PacketState.CANCELLED: Verdict.NOT_OPEN,
}


def claim_share(*, packet_id: str, ticket: Ticket, employee_id: int, now: dt.datetime) -> Claim:
    """Claims exactly the share of `ticket`; committed when this returns GRABBED. Raises Busy on contention.

    Safe to repeat: who has a share gets it again as ALREADY, whatever share is asked for.
    """

    def work() -> Claim:
        refusal = _lock_open_packet(packet_id)
        if refusal is not None:
            return Claim(verdict=refusal)
        return _take(packet_id, ticket, employee_id, now)

    return _decide(work, packet_id=packet_id, employee_id=employee_id)


def claim_any(*, packet_id: str, employee_id: int, now: dt.datetime) -> Claim:
    """Claims some free share without Redis, jumping over shares that others are claiming at this moment."""

    def work() -> Claim:
        refusal = _lock_open_packet(packet_id)
        if refusal is not None:
            return Claim(verdict=refusal)
        # No ORDER BY: sorting would lock every free row, and the others would find none.
        free = Share.objects.filter(packet_id=packet_id, receiver_id=None).select_for_update(skip_locked=True)
        share = next(iter(free[:1]), None)
        if share is None:
            has_more = selectors.has_free_share(packet_id=packet_id)
            return Claim(verdict=Verdict.TAKEN if has_more else Verdict.EMPTY)
        return _take(packet_id, Ticket(share_no=share.share_no, amount_fen=share.amount_fen), employee_id, now)

    mine = selectors.find_share(packet_id=packet_id, receiver_id=employee_id)
    if mine is not None:
        return _already(mine)
    return _decide(work, packet_id=packet_id, employee_id=employee_id)


def _decide(work: Callable[[], Claim], *, packet_id: str, employee_id: int) -> Claim:
    try:
        claim = transactions.run(work, using=roles.alias_for("redpacket"))
    except IntegrityError:
        mine = selectors.find_share(packet_id=packet_id, receiver_id=employee_id)
        if mine is None:
            raise
        return _already(mine)
    if claim.verdict is Verdict.GRABBED:
        return claim
    mine = selectors.find_share(packet_id=packet_id, receiver_id=employee_id)
    return claim if mine is None else _already(mine)


def _already(share: Share) -> Claim:
    return Claim(verdict=Verdict.ALREADY, ticket=Ticket(share_no=share.share_no, amount_fen=share.amount_fen))


def _take(packet_id: str, ticket: Ticket, employee_id: int, now: dt.datetime) -> Claim:
    changed = Share.objects.filter(packet_id=packet_id, share_no=ticket.share_no, receiver_id=None).update(
        receiver_id=employee_id, claimed_at=now
    )
    return Claim(verdict=Verdict.GRABBED, ticket=ticket) if changed else Claim(verdict=Verdict.TAKEN)


def _lock_open_packet(packet_id: str) -> Verdict | None:
    """Locks the packet's row shared; None when it is open by the database's clock, else why not."""
    alias = roles.alias_for("redpacket")
    transactions.assert_in_transaction(using=alias)
    connection = connections[alias]
    if connection.vendor == "mysql":
        table = connection.ops.quote_name(RedPacket._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT state, expires_at > UTC_TIMESTAMP(6) FROM {table} WHERE id = %s LOCK IN SHARE MODE",  # noqa: S608
                [packet_id],
            )
            row = cursor.fetchone()
    else:  # SQLite: BEGIN IMMEDIATE holds the one write lock already
        found = RedPacket.objects.filter(pk=packet_id).values_list("state", "expires_at").first()
        moment = transactions.database_now(using=alias)
        row = None if found is None else (found[0], found[1] is not None and found[1] > moment)
    if row is None:
        return Verdict.NOT_OPEN
    state, is_in_time = PacketState(row[0]), bool(row[1])
    if state is not PacketState.OPEN:
        return _REFUSALS[state]
    return None if is_in_time else Verdict.EXPIRED

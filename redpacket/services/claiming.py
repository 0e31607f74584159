"""Claims a share in the database: the commit that makes a grab true.

The packet's row is locked shared, so that the expiry, which takes it exclusively, either sees the claim or stops it;
the share changes hands by one conditional update. The unique key (packet, receiver) and the update's condition decide,
whatever Redis believed. Many claims may be committed together (`claim_together`); whatever is not plain there is left
to `claim_share`. Source: design `faults.md` 3.5 and its decision on grabs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.db import IntegrityError, connections, transaction
from django.db.models import Q

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


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A claim that is asked for: the share of `ticket` for the employee."""

    packet_id: str
    ticket: Ticket
    employee_id: int


class _NotPlain(Exception):
    """A share of the batch was not free after all: nothing of it is committed."""


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


def claim_together(*, wanted: Sequence[Wanted], now: dt.datetime) -> list[bool]:
    """Claims many shares, also of several packets, in one transaction; for each of `wanted` whether it is committed.

    False says nothing: `claim_share` must decide (the share was gone, the packet had closed, he had one, a rival stands
    in the same batch). One such claim never holds up the others: the batch is then made again once without it. Locks
    the packets' rows shared in the order of their ids, then the shares in the order of (packet, number), as every
    batch does. May raise any django.db.Error; then nothing is committed, or all of it when the answer of COMMIT was
    lost, and `claim_share` answers ALREADY.
    """
    positions = _without_rivals(wanted)
    for _ in range(2):
        if not positions:
            break
        try:
            with transaction.atomic(using=roles.alias_for("redpacket")):
                refusals = _lock_open_packets(sorted({wanted[at].packet_id for at in positions}))
                positions = [at for at in positions if refusals[wanted[at].packet_id] is None]
                chosen = [wanted[at] for at in positions]
                if chosen and _take_all(chosen, now) != len(chosen):
                    raise _NotPlain
        except (_NotPlain, IntegrityError):
            positions = _plain_ones(wanted, positions)
        else:
            return [at in set(positions) for at in range(len(wanted))]
    return [False] * len(wanted)


def _without_rivals(wanted: Sequence[Wanted]) -> list[int]:
    """Positions in `wanted` with every (packet, share) and every (packet, employee) at most once."""
    seen: set[tuple[str, str, int]] = set()
    positions = []
    for at, one in enumerate(wanted):
        marks = {(one.packet_id, "share", one.ticket.share_no), (one.packet_id, "employee", one.employee_id)}
        if not marks & seen:
            seen |= marks
            positions.append(at)
    return positions


def _plain_ones(wanted: Sequence[Wanted], positions: Sequence[int]) -> list[int]:
    """Those of the positions whose share is free and whose employee has none of the packet."""
    condition = Q()
    for at in positions:
        one = wanted[at]
        condition |= Q(packet_id=one.packet_id, share_no=one.ticket.share_no)
        condition |= Q(packet_id=one.packet_id, receiver_id=one.employee_id)
    free, owners = set(), set()
    for packet_id, share_no, receiver_id in Share.objects.filter(condition).values_list(
        "packet_id", "share_no", "receiver_id"
    ):
        if receiver_id is None:
            free.add((packet_id, share_no))
        else:
            owners.add((packet_id, receiver_id))
    return [
        at
        for at in positions
        if (wanted[at].packet_id, wanted[at].ticket.share_no) in free
        and (wanted[at].packet_id, wanted[at].employee_id) not in owners
    ]


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


def _take_all(wanted: Sequence[Wanted], now: dt.datetime) -> int:
    """One conditional update for all of `wanted`; the number of shares that changed hands.

    Literal numbers of ours and bound texts. The index is named: with few free shares left the optimizer would otherwise
    walk, and lock, the packet's free shares by the index of receivers.
    """
    connection = connections[roles.alias_for("redpacket")]
    table = connection.ops.quote_name(Share._meta.db_table)
    hint = " FORCE INDEX (share_packet_no)" if connection.vendor == "mysql" else ""
    by_packet: dict[str, list[Wanted]] = {}
    for one in wanted:
        by_packet.setdefault(one.packet_id, []).append(one)
    moves, places = [], []
    for packet_id in sorted(by_packet):
        rows = sorted(by_packet[packet_id], key=lambda one: one.ticket.share_no)
        numbers = ", ".join(f"{one.ticket.share_no:d}" for one in rows)
        cases = " ".join(f"WHEN {one.ticket.share_no:d} THEN {one.employee_id:d}" for one in rows)
        moves.append(f"WHEN packet_id = %s THEN CASE share_no {cases} END")
        places.append(f"(packet_id = %s AND share_no IN ({numbers}))")
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table}{hint} SET receiver_id = CASE {' '.join(moves)} END, claimed_at = %s "  # noqa: S608
            f"WHERE ({' OR '.join(places)}) AND receiver_id IS NULL",
            [*sorted(by_packet), connection.ops.adapt_datetimefield_value(now), *sorted(by_packet)],
        )
        return int(cursor.rowcount)


def _lock_open_packet(packet_id: str) -> Verdict | None:
    """Locks the packet's row shared; None when it is open by the database's clock, else why not."""
    return _lock_open_packets([packet_id])[packet_id]


def _lock_open_packets(packet_ids: Sequence[str]) -> Mapping[str, Verdict | None]:
    """As `_lock_open_packet`, for many, locked in the order of their ids."""
    alias = roles.alias_for("redpacket")
    transactions.assert_in_transaction(using=alias)
    connection = connections[alias]
    if connection.vendor == "mysql":
        table = connection.ops.quote_name(RedPacket._meta.db_table)
        marks = ", ".join(["%s"] * len(packet_ids))
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id, state, expires_at > UTC_TIMESTAMP(6) FROM {table} WHERE id IN ({marks}) "  # noqa: S608
                "ORDER BY id LOCK IN SHARE MODE",
                list(packet_ids),
            )
            rows = cursor.fetchall()
    else:  # SQLite: BEGIN IMMEDIATE holds the one write lock already
        found = RedPacket.objects.filter(pk__in=packet_ids).values_list("pk", "state", "expires_at")
        moment = transactions.database_now(using=alias)
        rows = [(packet_id, state, end is not None and end > moment) for packet_id, state, end in found]
    known = {packet_id: _refusal(PacketState(state), bool(is_in_time)) for packet_id, state, is_in_time in rows}
    return {packet_id: known.get(packet_id, Verdict.NOT_OPEN) for packet_id in packet_ids}


def _refusal(state: PacketState, is_in_time: bool) -> Verdict | None:
    if state is not PacketState.OPEN:
        return _REFUSALS[state]
    return None if is_in_time else Verdict.EXPIRED

"""Compares Redis with the database, share by share, and repairs what differs (缓存与数据库一致性补偿).

Source: the requirements (every 10 minutes, the last day). The database decides everything but one thing: a grab that
Redis knows to be acknowledged and the database does not know was lost by the database, and is claimed again for him.
Redis is read first, in one MULTI, and the database after it; what changed in the last SETTLED_SECONDS is left to the
next run. So no difference is seen that is only a grab on its way.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from foundation import alerts, redis
from foundation.errors import PaysysError
from redpacket import cache
from redpacket.cache import Ticket
from redpacket.domain.states import PacketState
from redpacket.models import RedPacket, Share
from redpacket.services import claiming, publishing
from redpacket.services.claiming import Verdict

logger = structlog.get_logger("redpacket")

WINDOW = dt.timedelta(days=1)
"""A packet lives a day; open ones are compared whatever their age."""
SETTLED_SECONDS = 30
"""A claim is told to Redis within milliseconds of its commit."""
SHOWN = 20
"""Differences named in the report; all are counted."""


class Difference(StrEnum):
    """What can differ between Redis and the database."""

    LOST_CLAIM = "LOST_CLAIM"  # acknowledged according to Redis, free in the database
    OTHER_RECEIVER = "OTHER_RECEIVER"  # Redis says he has it, the database says somebody else
    OTHER_AMOUNT = "OTHER_AMOUNT"
    UNKNOWN_CLAIM = "UNKNOWN_CLAIM"  # claimed in the database, Redis would let him grab again
    LEAKED_SHARE = "LEAKED_SHARE"  # free in the database, neither on Redis' list nor reserved
    STALE_LIST = "STALE_LIST"  # on Redis' list, claimed in the database
    OTHER_STATE = "OTHER_STATE"  # closed in the database, open in Redis


MONEY_DIFFERENCES = frozenset({Difference.LOST_CLAIM, Difference.OTHER_RECEIVER, Difference.OTHER_AMOUNT})
"""Somebody may have been told something that the books do not say."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What Redis holds of one packet."""

    state: str
    free: Sequence[Ticket]
    taken: Mapping[int, Ticket]
    pending: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Found:
    """One difference. `employee_id` is whom Redis or the database names."""

    difference: Difference
    packet_id: str
    share_no: int = 0
    employee_id: int = 0

    def __str__(self) -> str:
        return f"{self.difference} {self.packet_id}#{self.share_no} employee {self.employee_id}"


@dataclass(kw_only=True)
class Compared:
    """Report of a run. `unrepaired` needs a person; `published` are open packets that Redis did not know."""

    packets: int = 0
    shares: int = 0
    published: int = 0
    differences: Counter[str] = field(default_factory=Counter)
    reclaimed: int = 0
    rebuilt: int = 0
    unrepaired: int = 0
    shown: list[str] = field(default_factory=list)


def compare_all(*, now: dt.datetime) -> Compared:
    """Compares and repairs every packet of the last day and every open one. Raises redis.RedisError without Redis.

    Safe to repeat and beside grabs: claims go through the same conditional update, and keys are replaced whole from the
    database, whose refusals make a list that is stale again harmless.
    """
    report = Compared()
    for packet_id in list_packet_ids(now=now):
        compare_packet(packet_id=packet_id, report=report, now=now)
    if report.differences:
        _alert(report, now)
    return report


def list_packet_ids(*, now: dt.datetime) -> list[str]:
    """Packets that opened within the last day, and older ones that are still open."""
    recent = RedPacket.objects.filter(opened_at__gte=now - WINDOW)
    still_open = RedPacket.objects.filter(state=PacketState.OPEN, opened_at__lt=now - WINDOW)
    return [*recent.values_list("pk", flat=True), *still_open.values_list("pk", flat=True)]


def compare_packet(*, packet_id: str, report: Compared, now: dt.datetime) -> None:
    """Compares one packet, repairs it and adds to the report."""
    held = _read_cache(packet_id)
    packet = RedPacket.objects.get(pk=packet_id)
    report.packets += 1
    if held is None:
        if packet.state == PacketState.OPEN and packet.expires_at is not None and packet.expires_at > now:
            report.published += publishing.publish_packet(packet_id=packet_id, now=now)
        return
    shares = list(Share.objects.filter(packet_id=packet_id))
    report.shares += len(shares)
    found = _find(packet, shares, held, now)
    if not found:
        return
    report.differences.update(item.difference.value for item in found)
    report.shown += [str(item) for item in found[: SHOWN - len(report.shown)]]
    for item in found:
        logger.warning("redis and database differ", difference=str(item))
    for item in found:
        if item.difference is Difference.LOST_CLAIM:
            _claim_again(item, held, report, now)
    report.rebuilt += publishing.republish_packet(packet_id=packet_id, now=now)


def _read_cache(packet_id: str) -> Held | None:
    """One consistent look at the packet's keys; None when Redis does not know it."""
    meta, free, taken, pending, _ = cache.keys_of(packet_id)
    pipeline = redis.client().pipeline(transaction=True)
    pipeline.hget(meta, "state")
    pipeline.lrange(free, 0, -1)
    pipeline.hgetall(taken)
    pipeline.zrange(pending, 0, -1)
    state, listed, holders, waiting = pipeline.execute()
    if state is None:
        return None
    return Held(
        state=state,
        free=[Ticket.parse(text) for text in listed],
        taken={int(employee): Ticket.parse(text) for employee, text in holders.items()},
        pending=frozenset(int(employee) for employee in waiting),
    )


def _find(packet: RedPacket, shares: Sequence[Share], held: Held, now: dt.datetime) -> list[Found]:
    settled_at = now - dt.timedelta(seconds=SETTLED_SECONDS)
    by_number = {share.share_no: share for share in shares}
    found = []
    for employee_id, ticket in held.taken.items():
        if employee_id in held.pending:
            continue  # not acknowledged yet; the janitor decides about it
        share = by_number.get(ticket.share_no)
        difference = _judge(share, employee_id, ticket)
        if difference is not None:
            found.append(_found(difference, packet, ticket.share_no, employee_id))
    listed = {ticket.share_no for ticket in held.free}
    reserved = {ticket.share_no for ticket in held.taken.values()}
    is_open = packet.state == PacketState.OPEN
    for share in shares:
        if share.receiver_id is None:
            if is_open and held.state == PacketState.OPEN and share.share_no not in listed | reserved:
                found.append(_found(Difference.LEAKED_SHARE, packet, share.share_no, 0))
        elif share.claimed_at is not None and share.claimed_at < settled_at:
            if share.receiver_id not in held.taken:
                found.append(_found(Difference.UNKNOWN_CLAIM, packet, share.share_no, share.receiver_id))
            if is_open and share.share_no in listed:
                found.append(_found(Difference.STALE_LIST, packet, share.share_no, share.receiver_id))
    is_closed = packet.closed_at is not None and packet.closed_at < settled_at
    if is_closed and held.state == PacketState.OPEN:
        found.append(_found(Difference.OTHER_STATE, packet, 0, 0))
    return found


def _judge(share: Share | None, employee_id: int, ticket: Ticket) -> Difference | None:
    if share is None or share.amount_fen != ticket.amount_fen:
        return Difference.OTHER_AMOUNT
    if share.receiver_id is None:
        return Difference.LOST_CLAIM
    return None if share.receiver_id == employee_id else Difference.OTHER_RECEIVER


def _found(difference: Difference, packet: RedPacket, share_no: int, employee_id: int) -> Found:
    return Found(difference=difference, packet_id=packet.pk, share_no=share_no, employee_id=employee_id)


def _claim_again(item: Found, held: Held, report: Compared, now: dt.datetime) -> None:
    """The database lost a grab that was acknowledged: he gets the same share again, if it can still be had."""
    try:
        claim = claiming.claim_share(
            packet_id=item.packet_id, ticket=held.taken[item.employee_id], employee_id=item.employee_id, now=now
        )
        outcome = claim.verdict.value
        is_repaired = claim.verdict in (Verdict.GRABBED, Verdict.ALREADY)
    except PaysysError as error:
        outcome, is_repaired = repr(error), False
    if is_repaired:
        report.reclaimed += 1
    else:
        report.unrepaired += 1
    alerts.raise_alert(
        code="redpacket_claim_lost",
        subject=f"{item.packet_id}#{item.share_no}",
        message="A grab that was acknowledged was missing in the database: "
        + ("claimed again." if is_repaired else f"it cannot be claimed any more ({outcome}), settle with the people."),
        context={"employee_id": item.employee_id, "share_no": item.share_no, "outcome": outcome},
        now=now,
    )


def _alert(report: Compared, now: dt.datetime) -> None:
    is_money = any(report.differences[kind.value] for kind in MONEY_DIFFERENCES)
    alerts.raise_alert(
        code="redpacket_cache_differs",
        subject="redpacket",
        severity="CRITICAL" if is_money else "WARNING",
        message="Redis and the database differed and were repaired: "
        + ", ".join(f"{kind} {number}" for kind, number in sorted(report.differences.items())),
        context={"shown": report.shown, "unrepaired": report.unrepaired},
        now=now,
    )

"""Tells clients what becomes of packets (推送), and writes down how a closed packet ended.

    redpacket.arrived  to whom the packet goes, but its sender, when it opens
    redpacket.gone     to the same and the sender, when it is exhausted or has expired
    redpacket.grabbed  to the sender, once for all batches that settled since the last time, never for a single grab

Arrivals and ends are rows of the outbox, delivered to every member in chunks (foundation.push), each once. Closed
packets without `concluded_at` and posted batches without `announced_at` are queues of their own: a bell rings for them
(redpacket/callbacks.py), so neither a grab nor a settlement waits for a client. No event carries anything that its
receiver may not read over the API.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import structlog

from foundation import outbox, push
from foundation.db import roles, transactions
from foundation.errors import PaysysError
from identity import selectors as identity
from redpacket import selectors
from redpacket.domain.states import PacketKind, PacketState
from redpacket.models import RedPacket, Settlement, Share
from redpacket.services import statistics

logger = structlog.get_logger("redpacket")

ARRIVED, GONE, GRABBED = "redpacket.arrived", "redpacket.gone", "redpacket.grabbed"
"""Names of the events; of the first two also topics of the outbox (key: packet id, payload: packet)."""
NEWS = dt.timedelta(hours=1)
"""What happened longer ago is no news any more: a client reads the state instead."""
LIMIT = 500
"""Packets, and batches, of one run."""


@dataclass(frozen=True, kw_only=True)
class Announced:
    """Figures of a run: packets whose end was written down, events about settled batches, packets that failed."""

    concluded: int = 0
    grabbed_events: int = 0
    failed: int = 0


def queue_arrival(*, packet: RedPacket, now: dt.datetime) -> None:
    """Commits that the packet is to be announced; once, however often it is called. Nothing when it is not open."""
    if packet.state != PacketState.OPEN:
        return
    alias = roles.alias_for("redpacket")
    transactions.run(lambda: _queue(alias, ARRIVED, packet.pk, now), using=alias)


def announce_arrival(*, packet_id: str, now: dt.datetime) -> int:
    """Tells those the packet goes to; returns how many. Nothing when it is over already. May raise RedisError.

    Safe to repeat: nobody hears of it twice.
    """
    packet = RedPacket.objects.get(pk=packet_id)
    if packet.state != PacketState.OPEN or packet.expires_at is None or packet.expires_at <= now:
        return 0
    sender = identity.get_employee(employee_id=packet.sender_id)
    data = {
        "redpacket": packet.pk,
        "kind": packet.kind.lower(),
        "group": packet.group_id or None,
        "sender": {"employee": sender.code, "name": sender.name},
        "greeting": packet.greeting,
        "cover": packet.cover,
        "has_article": bool(packet.article_url),
        "expires_at": packet.expires_at.isoformat(),
    }
    others = [one for one in selectors.list_addressee_ids(packet=packet) if one != packet.sender_id]
    return _tell(packet, others, ARRIVED, data)


def announce_gone(*, packet_id: str) -> int:
    """Tells all, the sender included, that nothing is left to grab; returns how many. As `announce_arrival`."""
    packet = RedPacket.objects.get(pk=packet_id)
    everybody = dict.fromkeys([packet.sender_id, *selectors.list_addressee_ids(packet=packet)])
    data = {"redpacket": packet.pk, "group": packet.group_id or None, "state": packet.state}
    return _tell(packet, list(everybody), GONE, data)


def announce_due(*, now: dt.datetime) -> Announced:
    """Writes down the end of closed packets and tells senders of settled batches. Safe to repeat and beside others.

    One packet's failure is logged, waits for the next bell and does not stop the others.
    """
    concluded = events = failed = 0
    for packet_id in selectors.list_packets_to_conclude(limit=LIMIT):
        try:
            concluded += conclude_packet(packet_id=packet_id, now=now)
        except PaysysError:
            failed += 1
            logger.warning("packet not concluded, the next bell tries again", packet_id=packet_id, exc_info=True)
    batches = selectors.list_batches_to_announce(since=now - NEWS, limit=LIMIT)
    for packet_id, of_packet in groupby(sorted(batches, key=lambda one: one.packet_id), key=lambda one: one.packet_id):
        found = list(of_packet)
        try:
            events += _announce_batches(found[0].packet, [batch.pk for batch in found], now)
        except PaysysError:
            failed += 1
            logger.warning("batches not announced, the next bell tries again", packet_id=packet_id, exc_info=True)
    return Announced(concluded=concluded, grabbed_events=events, failed=failed)


def conclude_packet(*, packet_id: str, now: dt.datetime) -> bool:
    """Writes down how many shares of a closed packet were claimed and which is the luckiest; True when this call did.

    In the same commit the row of the outbox that tells everybody, unless it is old news. No lock: nothing is claimed of
    a closed packet any more (`claiming`).
    """
    alias = roles.alias_for("redpacket")

    def work() -> bool:
        packet = RedPacket.objects.get(pk=packet_id)
        if packet.closed_at is None:
            return False
        best = selectors.find_best_share(packet_id=packet_id) if packet.kind == PacketKind.LUCKY else None
        changed = RedPacket.objects.filter(pk=packet_id, concluded_at=None, closed_at__isnull=False).update(
            claimed_count=Share.objects.filter(packet_id=packet_id, receiver_id__isnull=False).count(),
            best_share_id=None if best is None else best.pk,
            concluded_at=now,
        )
        # A packet that was paid after it had been given up never opened: nobody has heard of it.
        if changed and packet.opened_at is not None and packet.closed_at >= now - NEWS:
            _queue(alias, GONE, packet_id, now)
        return bool(changed)

    is_mine = transactions.run(work, using=alias)
    selectors.forget_front(packet_id=packet_id)
    if is_mine:
        statistics.forget_concluded(packet_id=packet_id)
    return is_mine


def _announce_batches(packet: RedPacket, settlement_ids: Sequence[int], now: dt.datetime) -> int:
    """One event to the sender about all of the batches that nobody else announces at this moment; 0 without any."""
    alias = roles.alias_for("redpacket")

    def work() -> int:
        mine = list(
            Settlement.objects.select_for_update(skip_locked=True).filter(pk__in=settlement_ids, announced_at=None)
        )
        if not mine:
            return 0
        Settlement.objects.filter(pk__in=[batch.pk for batch in mine]).update(announced_at=now)
        push.publish_later(
            using=alias,
            owners=[identity.push_owner(employee_id=packet.sender_id)],
            event=GRABBED,
            data={
                "redpacket": packet.pk,
                "share_count": sum(batch.share_count for batch in mine),
                "amount_fen": sum(batch.total_fen for batch in mine),
            },
            key=f"{GRABBED}:{packet.pk}:{max(batch.batch_no for batch in mine)}",
            now=now,
        )
        return 1

    return transactions.run(work, using=alias)


def _queue(alias: str, topic: str, packet_id: str, now: dt.datetime) -> None:
    outbox.publish(using=alias, topic=topic, key=packet_id, payload={"redpacket": packet_id}, now=now)


def _tell(packet: RedPacket, employee_ids: Sequence[int], event: str, data: Mapping[str, object]) -> int:
    owners = [identity.push_owner(employee_id=employee_id) for employee_id in employee_ids]
    push.publish_to_many(owners=owners, event=event, data=data, once=f"{event}:{packet.pk}")
    return len(owners)

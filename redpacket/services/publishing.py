"""Puts a packet into Redis: after it opened, and whenever Redis does not know it. One builder, from the database."""

from __future__ import annotations

import datetime as dt
import time

import structlog
from redis.exceptions import RedisError

from redpacket import cache, selectors
from redpacket.cache import Contents, Ticket
from redpacket.domain.states import PacketState
from redpacket.models import RedPacket, Share

logger = structlog.get_logger("redpacket")

WAIT_SECONDS = 1.0
"""Who finds another builder at work waits this long; then the database path answers."""
POLL_SECONDS = 0.02


def publish_packet(*, packet_id: str, now: dt.datetime) -> bool:
    """Makes sure that Redis knows the packet; True when it does. May raise redis.RedisError.

    Drafts are never published: a stale "draft" would hide a packet that opened meanwhile. Safe to repeat: what is there
    stays. A list that is stale when it is written does no harm, the database refuses what is not free.
    """
    token = cache.lock_build(packet_id=packet_id)
    if token is None:
        return _wait_for_builder(packet_id)
    try:
        if cache.is_published(packet_id=packet_id):
            return True
        packet = selectors.find_packet(packet_id=packet_id)
        if packet is None or packet.state == PacketState.DRAFT:
            return False
        cache.publish(contents=_read_contents(packet, now), now=now)
        return True
    finally:
        cache.unlock_build(packet_id=packet_id, token=token)


def republish_packet(*, packet_id: str, now: dt.datetime) -> bool:
    """Replaces what Redis holds of the packet by what the database says; False when another one builds just now.

    What is reserved at this moment is forgotten: its claim goes on, and the database refuses who comes second. May
    raise redis.RedisError.
    """
    token = cache.lock_build(packet_id=packet_id)
    if token is None:
        return False
    try:
        packet = selectors.find_packet(packet_id=packet_id)
        if packet is None or packet.state == PacketState.DRAFT:
            return False
        cache.publish(contents=_read_contents(packet, now), now=now)
        return True
    finally:
        cache.unlock_build(packet_id=packet_id, token=token)


def try_publish(*, packet_id: str, now: dt.datetime) -> None:
    """As `publish_packet`; when Redis is away the first grab builds the keys."""
    try:
        publish_packet(packet_id=packet_id, now=now)
    except RedisError:
        logger.warning("packet not published, the first grab will", packet_id=packet_id, exc_info=True)


def try_mark(*, packet_id: str, state: PacketState) -> None:
    """Tells Redis that a packet has closed; when Redis is away the database refuses late grabs anyway."""
    try:
        cache.mark(packet_id=packet_id, state=state.value)
    except RedisError:
        logger.warning("packet not marked in redis", packet_id=packet_id, state=state.value, exc_info=True)


def _read_contents(packet: RedPacket, now: dt.datetime) -> Contents:
    free: list[Ticket] = []
    taken: dict[int, Ticket] = {}
    for share_no, amount_fen, receiver_id in (
        Share.objects.filter(packet_id=packet.pk)
        .order_by("share_no")
        .values_list("share_no", "amount_fen", "receiver_id")
    ):
        ticket = Ticket(share_no=share_no, amount_fen=amount_fen)
        if receiver_id is None:
            free.append(ticket)
        else:
            taken[receiver_id] = ticket
    return Contents(
        packet_id=packet.pk,
        state=packet.state,
        enterprise_id=packet.enterprise_id,
        expires_at=packet.expires_at or now,
        free=free if packet.state == PacketState.OPEN else [],
        taken=taken,
        members=selectors.list_member_ids(packet=packet),
    )


def _wait_for_builder(packet_id: str) -> bool:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if cache.is_published(packet_id=packet_id):
            return True
        time.sleep(POLL_SECONDS)
    return False

"""Opens a paid packet, cancels an unpaid one. Called by payments' events and, for the wallet, by `send`."""

from __future__ import annotations

import datetime as dt

from django.conf import settings

from foundation import alerts
from foundation.db import roles, transactions
from foundation.errors import Broken, NotFound
from payments.services import refunds
from redpacket.domain.states import PacketState, packet_sources
from redpacket.models import RedPacket
from redpacket.services import closing, publishing, statistics

DRAFT_KEEP_SECONDS = 24 * 3600
"""A draft without a decision for a day belongs to a request that died before its order; a late payment is returned."""
SWEEP_LIMIT = 1000


def open_packet(*, packet_id: str, now: dt.datetime) -> RedPacket:
    """DRAFT → OPEN: grabs may begin, until now + the packet's life. Returns the packet as it stands.

    Only for a packet whose order is paid. One conditional update, then the keys in Redis; repeating changes nothing. A
    packet that had been given up does not open: all of its money goes back (see `closing.return_late_payment`).
    """
    packet = RedPacket.objects.filter(pk=packet_id).first()
    if packet is None:
        raise NotFound()
    if packet.state == PacketState.CANCELLED:
        return _return_late_payment(packet, now)

    def work() -> bool:
        expires_at = now + dt.timedelta(seconds=packet.lifetime_seconds or settings.REDPACKET_LIFETIME_SECONDS)
        return bool(
            RedPacket.objects.filter(pk=packet_id, state__in=packet_sources(PacketState.OPEN)).update(
                state=PacketState.OPEN, opened_at=now, expires_at=expires_at
            )
        )

    transactions.run(work, using=roles.alias_for("redpacket"))
    packet.refresh_from_db()
    if packet.state == PacketState.CANCELLED:  # the sweep of drafts was faster
        return _return_late_payment(packet, now)
    if packet.state == PacketState.OPEN:
        statistics.forget_opened(packet=packet)
        publishing.try_publish(packet_id=packet_id, now=now)
    return packet


def record_paid(*, packet_id: str, funding_order_no: str, amount_fen: int, now: dt.datetime) -> RedPacket:
    """The event "order paid": checks that it speaks of this packet, then opens it. Raises Broken when it does not."""
    packet = RedPacket.objects.filter(pk=packet_id).first()
    if packet is None or (packet.funding_order_no, packet.total_fen) != (funding_order_no, amount_fen):
        raise Broken({"packet_id": packet_id, "order_no": funding_order_no, "reason": "paid order without its packet"})
    return open_packet(packet_id=packet_id, now=now)


def cancel_packet(*, packet_id: str) -> bool:
    """DRAFT → CANCELLED when its order ended unpaid; True when it moved. Repeating changes nothing."""
    return bool(
        RedPacket.objects.filter(pk=packet_id, state__in=packet_sources(PacketState.CANCELLED)).update(
            state=PacketState.CANCELLED
        )
    )


def cancel_old_drafts(*, now: dt.datetime) -> int:
    """Cancels drafts older than DRAFT_KEEP_SECONDS; returns how many. Safe: a late payment is returned in full."""
    before = now - dt.timedelta(seconds=DRAFT_KEEP_SECONDS)
    old = RedPacket.objects.filter(state=PacketState.DRAFT, created_at__lt=before)
    return sum(cancel_packet(packet_id=packet_id) for packet_id in old.values_list("pk", flat=True)[:SWEEP_LIMIT])


def _return_late_payment(packet: RedPacket, now: dt.datetime) -> RedPacket:
    refund_no = refunds.issue_number(funding_order_no=packet.funding_order_no)
    if closing.return_late_payment(packet_id=packet.pk, refund_no=refund_no, now=now):
        publishing.try_mark(packet_id=packet.pk, state=PacketState.EXPIRED)
        alerts.raise_alert(
            code="redpacket_paid_late",
            subject=packet.pk,
            severity="WARNING",
            message="Paid after it had been cancelled; the money goes back by itself.",
            context={"order_no": packet.funding_order_no, "amount_fen": packet.total_fen},
            now=now,
        )
    packet.refresh_from_db()
    return packet

"""Closes packets: the state, the rest and the number of its refund are one commit under the packet's exclusive lock.

Claims hold the shared lock of the same row, so a claim is either counted or refused (design `faults.md` 3.5 and 4.5).
"""

from __future__ import annotations

import datetime as dt

from django.db.models import Sum

from foundation.db import roles, transactions
from redpacket.domain.states import PacketState, RefundState
from redpacket.models import RedPacket, Share


def expire(*, packet_id: str, refund_no: str, now: dt.datetime) -> PacketState | None:
    """OPEN → EXPIRED with the rest and `refund_no` fixed, or → EXHAUSTED when nothing is left.

    The database's clock decides whether it is time. None when the packet is not open or its time has not come. Locks
    the packet row exclusively; repeating changes nothing.
    """
    alias = roles.alias_for("redpacket")

    def work() -> PacketState | None:
        packet = RedPacket.objects.select_for_update().get(pk=packet_id)
        moment = transactions.database_now(using=alias)
        if packet.state != PacketState.OPEN or packet.expires_at is None or packet.expires_at > moment:
            return None
        free = Share.objects.filter(packet_id=packet_id, receiver_id=None)
        return _close(packet, free.aggregate(fen=Sum("amount_fen", default=0))["fen"], refund_no, now)

    return transactions.run(work, using=alias)


def return_late_payment(*, packet_id: str, refund_no: str, now: dt.datetime) -> bool:
    """CANCELLED → EXPIRED with everything as rest: paid after it was given up. True when it moved."""

    def work() -> bool:
        packet = RedPacket.objects.select_for_update().get(pk=packet_id)
        if packet.state != PacketState.CANCELLED:
            return False
        _close(packet, packet.total_fen, refund_no, now)
        return True

    return transactions.run(work, using=roles.alias_for("redpacket"))


def exhaust_if_settled(*, packet_id: str, now: dt.datetime) -> bool:
    """OPEN → EXHAUSTED when every share is claimed and settled; True when it moved.

    A share never becomes free again, so the question may be asked before the lock.
    """
    shares = Share.objects.filter(packet_id=packet_id)
    if shares.filter(receiver_id=None).exists():  # by the index, whatever the packet's size; the usual answer
        return False
    if shares.filter(settled_at=None).exists():
        return False

    def work() -> bool:
        changed = RedPacket.objects.filter(pk=packet_id, state=PacketState.OPEN).update(
            state=PacketState.EXHAUSTED, closed_at=now, rest_fen=0
        )
        return bool(changed)

    return transactions.run(work, using=roles.alias_for("redpacket"))


def _close(packet: RedPacket, rest_fen: int, refund_no: str, now: dt.datetime) -> PacketState:
    state = PacketState.EXPIRED if rest_fen else PacketState.EXHAUSTED
    packet.state, packet.closed_at, packet.rest_fen = state.value, now, rest_fen
    if rest_fen:
        packet.refund_no, packet.refund_state = refund_no, RefundState.DUE.value
    packet.save(update_fields=["state", "closed_at", "rest_fen", "refund_no", "refund_state"])
    return state

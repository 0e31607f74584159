"""Reads of red packets: what a person may see, what waits, and the proof of the packets' invariants."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, F, Q, Sum

from foundation.errors import NotFound
from foundation.proof import ProofLine
from identity import selectors as identity
from payments.domain.people import Person
from redpacket.domain import rules
from redpacket.domain.states import CLOSED_STATES, PacketKind, PacketState, SettlementState
from redpacket.models import RedPacket, Settlement, Share

UNPAID_STATES = (PacketState.DRAFT, PacketState.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class PacketView:
    """A packet as its viewer sees it. `shares` are the claimed ones, oldest claim first; `mine` is the viewer's own."""

    packet: RedPacket
    claimed_fen: int
    claimed_count: int
    mine: Share | None
    shares: tuple[Share, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PacketPage:
    """A page, newest first; `next_after` is the position behind the last item when more follow."""

    items: tuple[PacketView, ...]
    next_after: tuple[str, ...] | None


def find_packet(*, packet_id: str) -> RedPacket | None:
    """The packet, whoever asks; None when there is none."""
    if not rules.is_packet_id(packet_id):
        return None
    return RedPacket.objects.filter(pk=packet_id).first()


def find_by_order(*, funding_order_no: str) -> RedPacket | None:
    """The packet that an order pays."""
    return RedPacket.objects.filter(funding_order_no=funding_order_no).first()


def find_share(*, packet_id: str, receiver_id: int) -> Share | None:
    """The share that the employee has claimed."""
    return Share.objects.filter(packet_id=packet_id, receiver_id=receiver_id).first()


def has_free_share(*, packet_id: str) -> bool:
    """True while a share has no receiver."""
    return Share.objects.filter(packet_id=packet_id, receiver_id=None).exists()


def list_member_ids(*, packet: RedPacket) -> list[int]:
    """Employee ids that may grab: the receiver, or the present members of the group."""
    if packet.receiver_id is not None:
        return [packet.receiver_id]
    return identity.list_group_member_ids(group_id=packet.group_id)


def is_member(*, packet: RedPacket, employee_id: int) -> bool:
    """True when the employee may grab the packet."""
    if packet.kind == PacketKind.NORMAL:
        return packet.receiver_id == employee_id
    return identity.is_group_member(group_id=packet.group_id, employee_id=employee_id)


def get_view(*, packet_id: str, viewer: Person) -> PacketView:
    """The packet with its claims. NotFound for who is neither sender nor one of those it goes to.

    Before it is paid only its sender sees it.
    """
    packet = find_packet(packet_id=packet_id)
    if packet is None or packet.enterprise_id != viewer.enterprise_id:
        raise NotFound()
    is_sender = packet.sender_id == viewer.employee_id
    if not is_sender and (
        packet.state in UNPAID_STATES or not is_member(packet=packet, employee_id=viewer.employee_id)
    ):
        raise NotFound()
    shares = tuple(
        Share.objects.filter(packet_id=packet_id, receiver_id__isnull=False).order_by("claimed_at", "share_no")
    )
    return PacketView(
        packet=packet,
        claimed_fen=sum(share.amount_fen for share in shares),
        claimed_count=len(shares),
        mine=next((share for share in shares if share.receiver_id == viewer.employee_id), None),
        shares=shares,
    )


def list_sent(*, viewer: Person, after: Sequence[str] | None, limit: int) -> PacketPage:
    """Packets the viewer sent, newest first; `after` is a former page's `next_after`. Ids are ordered by creation."""
    packets = RedPacket.objects.filter(sender_id=viewer.employee_id)
    if after:
        packets = packets.filter(id__lt=after[0])
    rows = list(packets.order_by("-id")[: limit + 1])
    mine = _own_shares(viewer, [row.pk for row in rows])
    views = _with_claims(rows[:limit], mine)
    return PacketPage(items=views, next_after=(rows[limit - 1].pk,) if len(rows) > limit else None)


def list_received(*, viewer: Person, after: Sequence[str] | None, limit: int) -> PacketPage:
    """Packets of which the viewer has a share, latest claim first."""
    shares = Share.objects.filter(receiver_id=viewer.employee_id).select_related("packet")
    if after:
        claimed_at, share_id = dt.datetime.fromisoformat(after[0]), int(after[1])
        shares = shares.filter(Q(claimed_at__lt=claimed_at) | Q(claimed_at=claimed_at, id__lt=share_id))
    rows = list(shares.order_by("-claimed_at", "-id")[: limit + 1])
    views = _with_claims([row.packet for row in rows[:limit]], {row.packet_id: row for row in rows})
    if len(rows) <= limit:
        return PacketPage(items=views, next_after=None)
    last = rows[limit - 1]
    assert last.claimed_at is not None
    return PacketPage(items=views, next_after=(last.claimed_at.isoformat(), str(last.pk)))


def _own_shares(viewer: Person, packet_ids: list[str]) -> dict[str, Share]:
    own = Share.objects.filter(packet_id__in=packet_ids, receiver_id=viewer.employee_id)
    return {share.packet_id: share for share in own}


def _with_claims(packets: list[RedPacket], mine: Mapping[str, Share]) -> tuple[PacketView, ...]:
    claims = {
        row["packet_id"]: row
        for row in Share.objects.filter(packet_id__in=[packet.pk for packet in packets], receiver_id__isnull=False)
        .values("packet_id")
        .annotate(fen=Sum("amount_fen"), number=Count("id"))
    }
    nothing = {"fen": 0, "number": 0}
    return tuple(
        PacketView(
            packet=packet,
            claimed_fen=claims.get(packet.pk, nothing)["fen"],
            claimed_count=claims.get(packet.pk, nothing)["number"],
            mine=mine.get(packet.pk),
        )
        for packet in packets
    )


def is_settlement_due(*, now: dt.datetime) -> bool:
    """True when a claim waits for a batch or a batch for the ledger: two indexed reads, no locks."""
    return (
        Share.objects.filter(settlement=None, claimed_at__isnull=False).exists()
        or Settlement.objects.filter(state=SettlementState.ASSIGNED, next_at__lte=now).exists()
    )


def list_packets_to_settle(*, now: dt.datetime, limit: int) -> list[str]:
    """Packets with due batches, then those with claims in no batch, longest waiting first (of `limit` rows each)."""
    batches = Settlement.objects.filter(state=SettlementState.ASSIGNED, next_at__lte=now).order_by("next_at")
    claims = Share.objects.filter(settlement=None, claimed_at__isnull=False).order_by("claimed_at")
    found = [
        *batches.values_list("packet_id", flat=True)[:limit],
        *claims.values_list("packet_id", flat=True)[:limit],
    ]
    return list(dict.fromkeys(found))


# --- Proof ----------------------------------------------------------------------------------------------------------

SHOWN_OFFENDERS = 5


def prove() -> list[ProofLine]:
    """Every invariant of packets, shares and settlements, by set-based queries over all rows."""
    packets = RedPacket.objects.annotate(
        share_sum=Sum("shares__amount_fen", default=0),
        share_number=Count("shares"),
        claimed_sum=Sum("shares__amount_fen", filter=Q(shares__receiver_id__isnull=False), default=0),
        claimed_number=Count("shares", filter=Q(shares__receiver_id__isnull=False)),
    )
    closed = [state.value for state in CLOSED_STATES]
    unsettled = Q(settled_at__isnull=False) & (Q(settlement=None) | ~Q(settlement__state=SettlementState.POSTED))
    batches = Settlement.objects.annotate(share_sum=Sum("shares__amount_fen", default=0), share_number=Count("shares"))
    doubled = Share.objects.exclude(receiver_id=None).values("packet_id", "receiver_id").annotate(number=Count("id"))
    return [
        _line("shares sum to the total", packets.exclude(share_sum=F("total_fen"), share_number=F("count"))),
        _line("one share for each receiver", doubled.filter(number__gt=1)),
        _line(
            "claimed + rest = total when closed",
            packets.filter(state__in=closed).exclude(total_fen=F("claimed_sum") + F("rest_fen")),
        ),
        _line(
            "exhausted packets have no free share",
            packets.filter(state=PacketState.EXHAUSTED).exclude(claimed_number=F("count")),
        ),
        _line("unpaid packets have no claims", packets.filter(state__in=UNPAID_STATES, claimed_number__gt=0)),
        _line("settled shares stand in a posted settlement", Share.objects.filter(unsettled)),
        _line(
            "posted settlements have settled shares only",
            Share.objects.filter(settlement__state=SettlementState.POSTED, settled_at=None),
        ),
        _line(
            "settlements agree with their shares",
            batches.exclude(share_sum=F("total_fen"), share_number=F("share_count")),
        ),
        _line(
            "shares settle in a batch of their own packet",
            Share.objects.exclude(settlement=None).exclude(settlement__packet_id=F("packet_id")),
        ),
        _line(
            "receipts have numbers of their own",
            Share.objects.exclude(receipt_no="").values("receipt_no").annotate(number=Count("id")).filter(number__gt=1),
        ),
    ]


def _line(name: str, offenders: Any) -> ProofLine:
    shown = [str(row) for row in offenders[:SHOWN_OFFENDERS]]
    return ProofLine(name=name, ok=not shown, detail="; ".join(shown), figures={"offenders": len(shown)})

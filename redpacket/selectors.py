"""Reads of red packets: what a person may see, what waits, and the proof of the packets' invariants."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from django.db.models import Count, F, Q, Sum

from foundation import caching
from foundation.errors import NotFound
from foundation.proof import ProofLine
from identity import selectors as identity
from payments.domain.people import Person
from redpacket.domain import rules
from redpacket.domain.states import CLOSED_STATES, PacketKind, PacketState, SettlementState
from redpacket.models import Reading, RedPacket, Settlement, Share

logger = structlog.get_logger("redpacket")

UNPAID_STATES = (PacketState.DRAFT, PacketState.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class PacketView:
    """A packet as its viewer sees it. `shares` are the first claimed ones, oldest claim first; `mine` is the viewer's.

    `claims_after` is the position behind the last of `shares` when more follow (`list_claims`). `best` is the luckiest
    share (手气最佳) of a lucky packet, None until it has closed and when nothing was claimed.
    """

    packet: RedPacket
    claimed_fen: int
    claimed_count: int
    mine: Share | None
    best: Share | None = None
    shares: tuple[Share, ...] = ()
    claims_after: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class ClaimPage:
    """Claimed shares, oldest claim first; `next_after` is the position behind the last one when more follow."""

    items: tuple[Share, ...]
    next_after: tuple[str, ...] | None


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


def list_addressee_ids(*, packet: RedPacket) -> list[int]:
    """Employee ids the packet goes to: the receiver, or the present members of the group."""
    if packet.receiver_id is not None:
        return [packet.receiver_id]
    return identity.list_group_member_ids(group_id=packet.group_id)


def list_member_ids(*, packet: RedPacket) -> list[int]:
    """Employee ids that may grab now: those it goes to, of an article packet those of them who have read."""
    addressees = list_addressee_ids(packet=packet)
    if not packet.article_url:
        return addressees
    done = Reading.objects.filter(packet_id=packet.pk, finished_at__isnull=False)
    readers = set(done.values_list("employee_id", flat=True))
    return [employee_id for employee_id in addressees if employee_id in readers]


def is_member(*, packet: RedPacket, employee_id: int) -> bool:
    """True when the employee may grab the packet now."""
    if not is_addressee(packet=packet, employee_id=employee_id):
        return False
    if not packet.article_url:
        return True
    return Reading.objects.filter(packet_id=packet.pk, employee_id=employee_id, finished_at__isnull=False).exists()


def is_addressee(*, packet: RedPacket, employee_id: int) -> bool:
    """True when the packet goes to the employee, whether or not he may grab already."""
    if packet.kind == PacketKind.NORMAL:
        return packet.receiver_id == employee_id
    return identity.is_group_member(group_id=packet.group_id, employee_id=employee_id)


def get_visible(*, packet_id: str, viewer: Person) -> RedPacket:
    """The packet. NotFound for who is neither sender nor one of those it goes to.

    Before it is paid only its sender sees it.
    """
    packet = find_packet(packet_id=packet_id)
    if packet is None or packet.enterprise_id != viewer.enterprise_id:
        raise NotFound()
    is_sender = packet.sender_id == viewer.employee_id
    if not is_sender and (
        packet.state in UNPAID_STATES or not is_addressee(packet=packet, employee_id=viewer.employee_id)
    ):
        raise NotFound()
    return packet


def get_view(*, packet_id: str, viewer: Person) -> PacketView:
    """The packet with its totals and the first CLAIMS_SHOWN claims; raises as `get_visible`.

    Who may see it, its state and the viewer's own share are asked of the database; totals and claims of large and of
    closed packets come from Redis where it has them (`_read_front`).
    """
    packet = get_visible(packet_id=packet_id, viewer=viewer)
    front = _read_front(packet)
    return PacketView(
        packet=packet,
        claimed_fen=front.claimed_fen,
        claimed_count=front.claimed_count,
        mine=find_share(packet_id=packet_id, receiver_id=viewer.employee_id),
        best=_find_best([packet]).get(packet.pk),
        shares=front.claims.items,
        claims_after=front.claims.next_after,
    )


def list_claims(*, packet_id: str, after: Sequence[str] | None, limit: int) -> ClaimPage:
    """Claimed shares behind the position `after` (of a former page). Who may see them is asked by `get_visible`."""
    shares = Share.objects.filter(packet_id=packet_id, receiver_id__isnull=False)
    if after:
        claimed_at, share_no = dt.datetime.fromisoformat(after[0]), int(after[1])
        shares = shares.filter(Q(claimed_at__gt=claimed_at) | Q(claimed_at=claimed_at, share_no__gt=share_no))
    rows = list(shares.order_by("claimed_at", "share_no")[: limit + 1])
    if len(rows) <= limit:
        return ClaimPage(items=tuple(rows), next_after=None)
    last = rows[limit - 1]
    assert last.claimed_at is not None
    return ClaimPage(items=tuple(rows[:limit]), next_after=(last.claimed_at.isoformat(), str(last.share_no)))


def find_best_share(*, packet_id: str) -> Share | None:
    """The largest claimed share, of equal ones the one claimed first; reads all claims of the packet."""
    claimed = Share.objects.filter(packet_id=packet_id, receiver_id__isnull=False)
    return claimed.order_by("-amount_fen", "claimed_at", "share_no").first()


# --- Totals and first claims, from Redis first ---------------------------------------------------------------------

CLAIMS_SHOWN = 50
"""Claims in the details of a packet; more come page by page."""
LARGE_PACKET = 500
"""From this many shares on a filling packet is counted once in FILLING_SECONDS, whoever looks."""
FILLING_SECONDS = 1
CLOSED_SECONDS = 600
STALE_SECONDS = 1
"""An old answer stands in this long while one caller counts."""


@dataclass(frozen=True, kw_only=True)
class _Front:
    """`is_final`: the packet has closed and all of its claimed shares are settled, so that nothing changes any more."""

    claimed_fen: int
    claimed_count: int
    claims: ClaimPage
    is_final: bool = False


def front_key(*, packet_id: str, is_concluded: bool) -> str:
    """Where `foundation.caching` keeps the first part of a packet's details, before and after its conclusion."""
    return _FRONT.key(packet_id, is_concluded)


def forget_front(*, packet_id: str) -> None:
    """Drops what Redis holds of the packet's details; after the commit that changes them."""
    for is_concluded in (False, True):
        caching.forget(_FRONT, packet_id, is_concluded)


def _read_front(packet: RedPacket) -> _Front:
    """Of concluded and of large packets through the cache (whatever the number who look), else from the database.

    Nothing of a concluded packet changes but that its last shares settle: until they have, it lives no longer than a
    filling one.
    """
    is_concluded = packet.concluded_at is not None
    if not is_concluded and packet.count < LARGE_PACKET:
        return _count_front(packet)
    return caching.read(_FRONT, packet.pk, is_concluded, compute=lambda: _count_front(packet))


def _count_front(packet: RedPacket) -> _Front:
    totals = _claims_of([packet])[packet.pk]
    claims = list_claims(packet_id=packet.pk, after=None, limit=CLAIMS_SHOWN)
    is_final = False
    if packet.concluded_at is not None:
        unsettled = Share.objects.filter(packet_id=packet.pk, receiver_id__isnull=False, settled_at=None)
        is_final = not unsettled.exists()
    return _Front(claimed_fen=totals[0], claimed_count=totals[1], claims=claims, is_final=is_final)


def _front_to_data(front: _Front) -> Any:
    rows = [
        [
            share.packet_id,
            share.share_no,
            share.amount_fen,
            share.receiver_id,
            _text(share.claimed_at),
            _text(share.settled_at),
        ]
        for share in front.claims.items
    ]
    return [front.claimed_fen, front.claimed_count, rows, front.claims.next_after, front.is_final]


def _front_from_data(data: Any) -> _Front:
    claimed_fen, claimed_count, rows, next_after, is_final = data
    shares = tuple(
        Share(
            packet_id=packet_id,
            share_no=share_no,
            amount_fen=amount_fen,
            receiver_id=receiver_id,
            claimed_at=dt.datetime.fromisoformat(claimed_at),
            settled_at=dt.datetime.fromisoformat(settled_at) if settled_at else None,
        )
        for packet_id, share_no, amount_fen, receiver_id, claimed_at, settled_at in rows
    )
    page = ClaimPage(items=shares, next_after=tuple(next_after) if next_after else None)
    return _Front(claimed_fen=claimed_fen, claimed_count=claimed_count, claims=page, is_final=is_final)


_FRONT: caching.Kind[_Front] = caching.Kind(
    name="redpacket.front",
    version=1,
    fresh_seconds=lambda front: CLOSED_SECONDS if front.is_final else FILLING_SECONDS,
    stale_seconds=STALE_SECONDS,
    dump=_front_to_data,
    load=_front_from_data,
)


def _text(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


# --- Lists -----------------------------------------------------------------------------------------------------------


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
    claims, best = _claims_of(packets), _find_best(packets)
    return tuple(
        PacketView(
            packet=packet,
            claimed_fen=claims[packet.pk][0],
            claimed_count=claims[packet.pk][1],
            mine=mine.get(packet.pk),
            best=best.get(packet.pk),
        )
        for packet in packets
    )


def _claims_of(packets: Sequence[RedPacket]) -> dict[str, tuple[int, int]]:
    """Packet id → (claimed fen, claimed shares). Concluded packets know it themselves, the others are counted."""
    found = {packet.pk: (0, 0) for packet in packets}
    counted = []
    for packet in packets:
        if packet.concluded_at is not None and packet.claimed_count is not None and packet.rest_fen is not None:
            found[packet.pk] = (packet.total_fen - packet.rest_fen, packet.claimed_count)
        elif packet.state not in UNPAID_STATES:
            counted.append(packet.pk)
    if counted:
        rows = Share.objects.filter(packet_id__in=counted, receiver_id__isnull=False).values("packet_id")
        for row in rows.annotate(fen=Sum("amount_fen"), number=Count("id")):
            found[row["packet_id"]] = (row["fen"], row["number"])
    return found


def _find_best(packets: Sequence[RedPacket]) -> dict[str, Share]:
    """Packet id → the luckiest share. Of a packet that closed a moment ago it is looked for."""
    closed = [packet for packet in packets if packet.kind == PacketKind.LUCKY and packet.state in CLOSED_STATES]
    known = [packet.best_share_id for packet in closed if packet.best_share_id is not None]
    found = {share.packet_id: share for share in Share.objects.filter(pk__in=known)} if known else {}
    for packet in closed:
        if packet.concluded_at is None:
            share = find_best_share(packet_id=packet.pk)
            if share is not None:
                found[packet.pk] = share
    return found


# --- What waits ------------------------------------------------------------------------------------------------------


def list_packets_to_conclude(*, limit: int) -> list[str]:
    """Ids of closed packets whose end nobody was told, longest closed first; an indexed read."""
    waiting = RedPacket.objects.filter(concluded_at=None, closed_at__isnull=False)
    return list(waiting.order_by("closed_at").values_list("pk", flat=True)[:limit])


def list_batches_to_announce(*, since: dt.datetime, limit: int) -> list[Settlement]:
    """Batches posted after `since` of which the sender was not told, longest posted first; an indexed read."""
    waiting = Settlement.objects.filter(announced_at=None, posted_at__gte=since)
    return list(waiting.order_by("posted_at").select_related("packet")[:limit])


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


# --- Proof --------------------------------------------------------------------------------------------------------

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

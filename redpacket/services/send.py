"""Sends a red packet (发红包): packet and shares first, then the order that pays them."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import IntegrityError

from foundation.db import roles, transactions
from foundation.errors import Broken, InvalidRequest, PermissionDenied
from identity import selectors as identity
from payments.domain.people import Person
from payments.services import purchase, screening
from payments.services.purchase import Purchase
from redpacket import selectors
from redpacket.domain import articles, rules, split
from redpacket.domain.articles import Article
from redpacket.domain.states import PacketKind, PacketState
from redpacket.models import RedPacket, Share
from redpacket.services import opening

ORDER_KIND = "REDPACKET_SEND"
WALLET = "wallet"
MIN_LIFETIME_SECONDS = 10
"""Shorter, and the packet would be over before its message arrives."""
INSERT_BATCH = 1000
"""Shares of one INSERT statement; 10 of them make the largest packet."""


@dataclass(frozen=True, kw_only=True)
class NewPacket:
    """What the sender asks for. NORMAL names `receiver_code` (an employee's code), LUCKY a `group_id`.

    `lifetime_seconds` from the opening on; None is settings.REDPACKET_LIFETIME_SECONDS, which is also the longest.
    `cover` is one of rules.COVERS; with an `article` only who has read it may grab.
    """

    kind: PacketKind
    total_fen: int
    count: int
    receiver_code: str = ""
    group_id: str = ""
    greeting: str = ""
    lifetime_seconds: int | None = None
    cover: str = rules.DEFAULT_COVER
    article: Article | None = None


@dataclass(frozen=True, kw_only=True)
class PayBy:
    """ "wallet", or a channel with its scene."""

    source: str
    scene: str = ""


@dataclass(frozen=True, kw_only=True)
class SentPacket:
    """The packet, the order that pays it and what the client needs to pay (kind "none" when it is paid)."""

    packet: RedPacket
    order: Any
    payment: Mapping[str, Any]


def send_packet(*, order_no: str, sender: Person, new: NewPacket, pay: PayBy, now: dt.datetime) -> SentPacket:
    """Makes the packet with its shares as DRAFT in one commit, then opens and pays the order `order_no`.

    The shares are made now, so a paid order always finds them. Safe to repeat with the same `order_no`: the packet of
    the first call is used (nothing is split again) and the purchase goes on where it stood. Raises InvalidRequest,
    NotFound (receiver, group), PermissionDenied (not in the group) before anything is written; InsufficientFunds and
    ChannelRefused of the purchase leave a DRAFT that the end of its order cancels.
    """
    packet = selectors.find_by_order(funding_order_no=order_no)
    if packet is None:
        receiver_id, group_id = _check(sender=sender, new=new)
        screening.screen(
            kind="REDPACKET_SEND",
            order_no=order_no,
            payer=sender,
            amount_fen=new.total_fen,
            channel=pay.source,
            payee_id=receiver_id,
            now=now,
        )
        packet = _create(
            order_no=order_no,
            sender=sender,
            new=new,
            receiver_id=receiver_id,
            group_id=group_id,
            pay_source=pay.source,
            now=now,
        )
    elif (packet.sender_id, packet.enterprise_id) != (sender.employee_id, sender.enterprise_id):
        raise Broken({"order_no": order_no, "reason": "the order number belongs to another sender"})
    bought = _buy(packet=packet, sender=sender, scene=pay.scene, now=now)
    if bought.order.state == "SUCCESS" and packet.state == PacketState.DRAFT:
        packet = opening.open_packet(packet_id=packet.pk, now=now)
    return SentPacket(packet=packet, order=bought.order, payment=bought.payment)


def _check(*, sender: Person, new: NewPacket) -> tuple[int | None, str]:
    """The receiver's id, or the group's; raises when the packet may not be sent."""
    limits = rules.Limits(
        share_min_fen=settings.REDPACKET_SHARE_MIN_FEN,
        share_max_fen=settings.REDPACKET_SHARE_MAX_FEN,
        count_max=settings.REDPACKET_COUNT_MAX,
    )
    problems = rules.find_problems(
        kind=new.kind, total_fen=new.total_fen, count=new.count, greeting=new.greeting, limits=limits
    )
    wanted, refused = ("receiver", "group") if new.kind is PacketKind.NORMAL else ("group", "receiver")
    given = {"receiver": new.receiver_code, "group": new.group_id}
    if not given[wanted]:
        problems[wanted] = f"is needed for a {new.kind.lower()} packet"
    if given[refused]:
        problems[refused] = f"does not go with a {new.kind.lower()} packet"
    longest = settings.REDPACKET_LIFETIME_SECONDS
    if new.lifetime_seconds is not None and not MIN_LIFETIME_SECONDS <= new.lifetime_seconds <= longest:
        problems["expires_in_seconds"] = f"must be {MIN_LIFETIME_SECONDS} to {longest}"
    if new.cover not in rules.COVERS:
        problems["cover"] = f"must be one of {', '.join(rules.COVERS)}"
    if new.article is not None:
        problem = articles.find_problem(article=new.article, lifetime_seconds=new.lifetime_seconds or longest)
        problems |= {"article": problem} if problem else {}
    if problems:
        raise InvalidRequest({name: [text] for name, text in problems.items()})
    if new.kind is PacketKind.NORMAL:
        receiver = identity.find_employee(enterprise_id=sender.enterprise_id, code=new.receiver_code)
        if receiver.pk == sender.employee_id:
            raise InvalidRequest({"receiver": ["must be somebody else"]})
        return receiver.pk, ""
    group = identity.get_group(group_id=new.group_id, enterprise_id=sender.enterprise_id)
    if not identity.is_group_member(group_id=group.pk, employee_id=sender.employee_id):
        raise PermissionDenied({"group": ["you are not a member"]})
    return None, group.pk


def _create(
    *,
    order_no: str,
    sender: Person,
    new: NewPacket,
    receiver_id: int | None,
    group_id: str,
    pay_source: str,
    now: dt.datetime,
) -> RedPacket:
    amounts = split.split(
        total_fen=new.total_fen,
        count=new.count,
        min_fen=settings.REDPACKET_SHARE_MIN_FEN,
        max_fen=settings.REDPACKET_SHARE_MAX_FEN,
        rng=secrets.SystemRandom(),
    )
    if sum(amounts) != new.total_fen or len(amounts) != new.count:
        raise Broken({"order_no": order_no, "reason": "the shares do not sum to the total"})
    packet = RedPacket(
        kind=new.kind.value,
        sender_id=sender.employee_id,
        enterprise_id=sender.enterprise_id,
        receiver_id=receiver_id,
        group_id=group_id,
        total_fen=new.total_fen,
        count=new.count,
        greeting=new.greeting,
        lifetime_seconds=new.lifetime_seconds,
        cover=new.cover,
        article_url=new.article.url if new.article else "",
        reading_seconds=new.article.reading_seconds if new.article else None,
        funding_order_no=order_no,
        pay_source=pay_source,
        created_at=now,
    )

    def work() -> RedPacket:
        packet.save(force_insert=True)
        shares = [
            Share(packet_id=packet.pk, share_no=number, amount_fen=amount)
            for number, amount in enumerate(amounts, start=1)
        ]
        Share.objects.bulk_create(shares, batch_size=INSERT_BATCH)
        return packet

    try:
        return transactions.run(work, using=roles.alias_for("redpacket"))
    except IntegrityError:  # the same request at the same moment, or COMMIT's answer was lost: the first one stands
        existing = selectors.find_by_order(funding_order_no=order_no)
        if existing is None:
            raise
        return existing


def _buy(*, packet: RedPacket, sender: Person, scene: str, now: dt.datetime) -> Purchase:
    subject = packet.greeting or "Red packet"
    if packet.pay_source == WALLET:
        return purchase.pay_from_wallet(
            kind=ORDER_KIND,
            order_no=packet.funding_order_no,
            business_no=packet.pk,
            payer=sender,
            amount_fen=packet.total_fen,
            subject=subject,
            now=now,
        )
    return purchase.open_by_channel(
        kind=ORDER_KIND,
        order_no=packet.funding_order_no,
        business_no=packet.pk,
        payer=sender,
        amount_fen=packet.total_fen,
        subject=subject,
        channel=packet.pay_source,
        scene=scene,
        now=now,
    )

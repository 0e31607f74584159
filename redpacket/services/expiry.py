"""Ends packets whose time has come and returns what nobody grabbed (红包过期退款)."""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from django.db.models import QuerySet

from foundation import alerts
from foundation.db import roles, transactions
from foundation.errors import Broken, PaysysError
from payments.services import refunds
from redpacket.domain.states import PacketState, RefundState, refund_sources
from redpacket.models import RedPacket
from redpacket.services import closing, publishing

logger = structlog.get_logger("redpacket")

LIMIT = 20_000
"""Packets of one run, ids only; what is left, or more than the time allows, waits for the next one."""
PART_SECONDS = 10.0
"""Each of the two parts of a run begins no further packet after this; Celery's soft limit is 25 s."""


@dataclass(frozen=True, kw_only=True)
class Expired:
    """Figures of a run: packets closed, rests handed over to payments (also of earlier runs).

    `failed` counts packets that could not be closed or returned and are tried again by the next run; `left` those
    that this run had no time for.
    """

    closed: int = 0
    returned: int = 0
    failed: int = 0
    left: int = 0


def expire_due(*, now: dt.datetime, clock: Callable[[], float] = time.monotonic) -> Expired:
    """Closes every open packet past its time by the database's clock, then asks payments for every rest that is due.

    No window: a packet of last year is found like one of today. State, rest and refund number are committed before
    payments is asked; a crash in between is continued by the next run with the same number, which moves money once. One
    packet's failure does not stop the others.
    """
    moment = transactions.database_now(using=roles.alias_for("redpacket"))
    overdue = RedPacket.objects.filter(state=PacketState.OPEN, expires_at__lte=moment).order_by("expires_at")
    closing_round = _each(overdue, lambda packet: expire_packet(packet=packet, now=now), clock, now)
    due = RedPacket.objects.filter(refund_state=RefundState.DUE).order_by("closed_at")
    returning_round = _each(due, lambda packet: return_rest(packet=packet, now=now), clock, now)
    return Expired(
        closed=closing_round.yes,
        returned=returning_round.yes,
        failed=closing_round.raised + returning_round.no + returning_round.raised,
        left=closing_round.left + returning_round.left,
    )


@dataclass
class _Round:
    """How often a packet's handling said yes, said no, raised; and packets there was no time for."""

    yes: int = 0
    no: int = 0
    raised: int = 0
    left: int = 0


def _each(
    packets: QuerySet[RedPacket], handle: Callable[[RedPacket], bool], clock: Callable[[], float], now: dt.datetime
) -> _Round:
    """In random order, so that what fails every time keeps nobody else waiting for ever."""
    figures, deadline = _Round(), clock() + PART_SECONDS
    ids = list(packets.values_list("pk", flat=True)[:LIMIT])
    random.shuffle(ids)
    for position, packet_id in enumerate(ids):
        if clock() > deadline:
            figures.left = len(ids) - position
            break
        try:
            if handle(RedPacket.objects.get(pk=packet_id)):
                figures.yes += 1
            else:
                figures.no += 1
        except PaysysError as error:
            figures.raised += 1
            logger.warning("packet not handled, the next run tries again", packet_id=packet_id, exc_info=True)
            alerts.raise_alert(
                code="redpacket_expiry_failing",
                subject=packet_id,
                message=f"The packet could not be closed and will be tried again: {error!r}",
                now=now,
            )
    return figures


def expire_packet(*, packet: RedPacket, now: dt.datetime) -> bool:
    """Closes one packet if its time has come; True when this call did. The number is issued before the transaction."""
    refund_no = refunds.issue_number(funding_order_no=packet.funding_order_no)
    state = closing.expire(packet_id=packet.pk, refund_no=refund_no, now=now)
    if state is not None:
        publishing.try_mark(packet_id=packet.pk, state=state)
    return state is not None


def return_rest(*, packet: RedPacket, now: dt.datetime) -> bool:
    """Asks payments to return the rest of an expired packet; False when that failed and must be tried again."""
    assert packet.rest_fen is not None
    try:
        refund = refunds.return_rest(
            funding_order_no=packet.funding_order_no,
            refund_no=packet.refund_no,
            business_no=packet.pk,
            amount_fen=packet.rest_fen,
            now=now,
        )
    except PaysysError as error:
        logger.warning("rest not returned yet", packet_id=packet.pk, refund_no=packet.refund_no, exc_info=True)
        alerts.raise_alert(
            code="redpacket_refund_failing",
            subject=packet.pk,
            message=f"The rest could not be returned and will be tried again: {error!r}",
            context={"refund_no": packet.refund_no, "rest_fen": packet.rest_fen},
            now=now,
        )
        return False
    is_final = refund.state.value in (RefundState.SUCCESS.value, RefundState.FAILED.value)
    _advance_refund(packet.pk, RefundState(refund.state.value) if is_final else RefundState.PENDING)
    return True


def record_refund(*, packet_id: str, refund_no: str, state: str, amount_fen: int) -> None:
    """The event "refund finished": SUCCESS or FAILED. Repeated and late events change nothing.

    Raises Broken when the refund is not this packet's.
    """
    packet = RedPacket.objects.filter(pk=packet_id).first()
    if packet is None or (packet.refund_no, packet.rest_fen) != (refund_no, amount_fen):
        raise Broken({"packet_id": packet_id, "refund_no": refund_no, "reason": "not the refund of this packet"})
    _advance_refund(packet_id, RefundState(state))


def _advance_refund(packet_id: str, target: RefundState) -> None:
    RedPacket.objects.filter(pk=packet_id, refund_state__in=refund_sources(target)).update(refund_state=target)

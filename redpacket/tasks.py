"""Celery entries of settlement, and the bell that rings them: per packet, never per grab."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from celery import shared_task

from foundation import bells, clock, health
from redpacket import selectors
from redpacket.domain import rules
from redpacket.services import backlog, settlement

QUEUE = "settle"
RING_AGAIN_SECONDS = 0.5
"""While claims of a packet keep coming it is rung this often: the lag that a steady stream sees."""


@shared_task(name="redpacket.settle_claims")
def settle_claims() -> int:
    """Settles all claims that wait; carries nothing, so a lost or doubled message does no harm. Returns the shares."""
    return settlement.settle_due(now=clock.now()).shares


@shared_task(name="redpacket.settle_packets")
def settle_packets(packet_ids: str) -> int:
    """Settles what waits of the packets named, separated by commas. Returns the shares.

    The names only spread the work: a lost message is followed by the next one, a doubled one moves nothing.
    """
    known = [packet_id for packet_id in packet_ids.split(",") if rules.is_packet_id(packet_id)]
    return sum(settlement.settle_packet(packet_id=packet_id, now=clock.now()).shares for packet_id in known)


_coalescer = bells.Coalescer(seconds=RING_AGAIN_SECONDS)


def is_due() -> bool:
    """The relay's question."""
    return selectors.is_settlement_due(now=clock.now())


def list_messages() -> list[str]:
    """One message for each packet with much to settle and for each group of small ones, unless rung a moment ago."""
    groups = backlog.list_groups(now=clock.now())
    to_ring = set(_coalescer.take(packet_id for group in groups for packet_id in group))
    kept = [[packet_id for packet_id in group if packet_id in to_ring] for group in groups]
    return [",".join(group) for group in kept if group]


def read_figures() -> Mapping[str, int | float]:
    """For /readyz: what settlement has not done yet."""
    return dataclasses.asdict(backlog.measure(now=clock.now()))


health.register_figures("settlement", read_figures)
bells.register(
    bells.Bell(
        name="redpacket.claims",
        due=is_due,
        task="redpacket.settle_packets",
        queue=QUEUE,
        messages=list_messages,
    )
)

"""Celery entry of settlement, and the bell that rings it."""

from __future__ import annotations

from celery import shared_task

from foundation import bells, clock
from redpacket import selectors
from redpacket.services import settlement

QUEUE = "settle"


@shared_task(name="redpacket.settle_claims")
def settle_claims() -> int:
    """Settles all claims that wait; carries nothing, so a lost or doubled message does no harm. Returns the shares."""
    return settlement.settle_due(now=clock.now()).shares


def is_due() -> bool:
    """The relay's question."""
    return selectors.is_settlement_due(now=clock.now())


bells.register(bells.Bell(name="redpacket.claims", due=is_due, task="redpacket.settle_claims", queue=QUEUE))

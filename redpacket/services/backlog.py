"""What settlement has not done yet: the figure that shows back-pressure, and the bells for it."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass

from django.db.models import Count, Max, Min
from prometheus_client import Gauge

from foundation import alerts
from redpacket.domain.states import SettlementState
from redpacket.models import Settlement, Share
from redpacket.services.settlement import DUE_ROWS

COUNTED_ROWS = 20_000
"""More waiting claims than this are not counted: the figure reads "at least", and the question stays cheap."""
ALERT_AFTER_SECONDS = 30.0
"""A claim settles within about a second; the invariant of `faults.md` T4 is 30 s after healing."""
LAG_BATCHES = 200
"""Batches looked at for the lag of the last ones."""
GROUP_CLAIMS = 100
"""Packets with fewer waiting claims share a message: a Celery task costs more than a share."""
GROUP_PACKETS = 50

CLAIMS_WAITING = Gauge(
    "paysys_redpacket_claims_waiting",
    "Claims that are not settled yet (counted up to a limit).",
    multiprocess_mode="mostrecent",
)
OLDEST_CLAIM = Gauge(
    "paysys_redpacket_oldest_claim_seconds",
    "Age of the oldest claim that is not settled yet.",
    multiprocess_mode="mostrecent",
)


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """Claims without settled money, the oldest one's age, batches that failed; the lag of the latest batches."""

    claims_waiting: int
    oldest_seconds: float
    batches_failing: int
    lag_worst_seconds: float
    lag_median_seconds: float


def measure(*, now: dt.datetime) -> Backlog:
    """Reads the figures without locks and shows them as metrics of this process."""
    waiting = Share.objects.filter(settlement=None, claimed_at__isnull=False).order_by("claimed_at")
    found = waiting.values("claimed_at")[:COUNTED_ROWS].aggregate(number=Count("claimed_at"), oldest=Min("claimed_at"))
    open_batches = Settlement.objects.filter(state=SettlementState.ASSIGNED)
    batched = Share.objects.filter(settlement__in=open_batches).aggregate(number=Count("id"), oldest=Min("claimed_at"))
    oldest = min((row["oldest"] for row in (found, batched) if row["oldest"] is not None), default=None)
    lags = sorted(_recent_lags())
    figures = Backlog(
        claims_waiting=found["number"] + batched["number"],
        oldest_seconds=max((now - oldest).total_seconds(), 0.0) if oldest is not None else 0.0,
        batches_failing=open_batches.filter(tries__gt=0).count(),
        lag_worst_seconds=lags[-1] if lags else 0.0,
        lag_median_seconds=lags[len(lags) // 2] if lags else 0.0,
    )
    CLAIMS_WAITING.set(figures.claims_waiting)
    OLDEST_CLAIM.set(figures.oldest_seconds)
    return figures


def watch(*, now: dt.datetime) -> Backlog:
    """As `measure`; calls a person when a claim waits longer than ALERT_AFTER_SECONDS."""
    figures = measure(now=now)
    if figures.oldest_seconds > ALERT_AFTER_SECONDS:
        alerts.raise_alert(
            code="redpacket_settlement_lagging",
            subject="redpacket",
            message=f"{figures.claims_waiting} claims wait for their money, the oldest for "
            f"{figures.oldest_seconds:.0f} s: are worker, relay and broker alive, are there enough workers?",
            context={"claims_waiting": figures.claims_waiting, "batches_failing": figures.batches_failing},
            now=now,
        )
    return figures


def list_groups(*, now: dt.datetime) -> list[list[str]]:
    """Packets with due work, longest waiting first, in groups of one message each; a large one stands alone."""
    batches = Settlement.objects.filter(state=SettlementState.ASSIGNED, next_at__lte=now).order_by("next_at")
    claims = Share.objects.filter(settlement=None, claimed_at__isnull=False).order_by("claimed_at")
    due = Counter(batches.values_list("packet_id", flat=True)[:DUE_ROWS])
    due.update(claims.values_list("packet_id", flat=True)[:DUE_ROWS])
    groups: list[list[str]] = []
    group: list[str] = []
    weight = 0
    for packet_id, number in due.items():
        if number >= GROUP_CLAIMS:
            groups.append([packet_id])
            continue
        group.append(packet_id)
        weight += number
        if len(group) >= GROUP_PACKETS or weight >= GROUP_CLAIMS:
            groups.append(group)
            group, weight = [], 0
    return [*groups, group] if group else groups


def _recent_lags() -> list[float]:
    """Seconds from the oldest claim to the posting, of the latest posted batches."""
    latest = Settlement.objects.order_by("-id").values_list("id", flat=True)[:LAG_BATCHES]
    posted = Settlement.objects.filter(id__in=list(latest), state=SettlementState.POSTED)
    rows = posted.annotate(oldest=Min("shares__claimed_at"), ended=Max("posted_at")).values_list("oldest", "ended")
    return [(ended - oldest).total_seconds() for oldest, ended in rows if oldest is not None and ended is not None]

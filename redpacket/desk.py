"""Red packets on the finance desk: any packet by its id, how far settlement is behind, what does not end."""

from __future__ import annotations

import datetime as dt

from django.db.models import Count, Min, Sum
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import desk
from foundation.desk import PREFIX_LENGTH, Asking, Finder, Found, Line, Panel, Section, Stuck, StuckKind, Tile, Tone
from foundation.money import yuan_display
from foundation.words import code_word
from redpacket.domain.states import PacketState, SettlementState
from redpacket.models import RedPacket, Settlement
from redpacket.services import backlog

VIEW = ("redpacket.view_redpacket",)
EXAMPLES = 3
LATE_EXPIRY = dt.timedelta(minutes=30)
LATE_BATCH = dt.timedelta(minutes=10)


def _page(packet_id: str) -> str:
    return reverse("admin:redpacket_redpacket_change", args=[packet_id])


def find(text: str, limit: int) -> list[Found]:
    """By the packet's id (its beginning too) or the order that funded it."""
    if not text.isascii():
        return []
    rows = list(RedPacket.objects.filter(pk=text[:32])) or list(RedPacket.objects.filter(funding_order_no=text[:32]))
    if not rows and len(text) >= PREFIX_LENGTH:
        rows = list(RedPacket.objects.filter(pk__startswith=text[:32]).order_by("pk")[:limit])
    return [
        Found(
            title=row.pk,
            description=f"{gettext('red packet')} · {code_word(row.state)} · {yuan_display(row.total_fen)}",
            link=_page(row.pk),
            icon="redeem",
        )
        for row in rows[:limit]
    ]


def read_lag(asking: Asking) -> Panel:
    """How long winners wait for their money."""
    found = backlog.measure(now=asking.now)
    is_late = found.oldest_seconds > backlog.ALERT_AFTER_SECONDS
    lines = (
        Line(label=_("Claims that wait"), value=f"{found.claims_waiting:,}"),
        Line(label=_("Oldest of them"), value=gettext("%s s") % f"{found.oldest_seconds:.0f}"),
        Line(
            label=_("Batches that failed"),
            value=str(found.batches_failing),
            link=reverse("admin:redpacket_settlement_changelist"),
            tone=Tone.WRONG if found.batches_failing else Tone.PLAIN,
        ),
        Line(label=_("Slowest of the last batches"), value=gettext("%s s") % f"{found.lag_worst_seconds:.1f}"),
    )
    return Panel(
        figure=gettext("%s s") % f"{found.lag_median_seconds:.1f}",
        note=_("from claim to money, median of the last batches"),
        tone=Tone.WRONG if is_late else Tone.GOOD,
        lines=lines,
    )


def read_unexpired(now: dt.datetime) -> Stuck:
    rows = RedPacket.objects.filter(state=PacketState.OPEN, expires_at__lt=now - LATE_EXPIRY)
    found = rows.aggregate(number=Count("pk"), amount=Sum("total_fen"), oldest=Min("expires_at"))
    oldest = rows.order_by("expires_at").values_list("pk", flat=True)[:EXAMPLES]
    return Stuck(
        count=found["number"],
        amount_fen=found["amount"] or 0,
        oldest=found["oldest"],
        link=f"{reverse('admin:redpacket_redpacket_changelist')}?state__exact=OPEN",
        examples=tuple((pk, _page(pk)) for pk in oldest),
    )


def read_batches(now: dt.datetime) -> Stuck:
    rows = Settlement.objects.filter(state=SettlementState.ASSIGNED, created_at__lt=now - LATE_BATCH)
    found = rows.aggregate(number=Count("pk"), amount=Sum("total_fen"), oldest=Min("created_at"))
    oldest = rows.order_by("created_at").values_list("pk", flat=True)[:EXAMPLES]
    return Stuck(
        count=found["number"],
        amount_fen=found["amount"] or 0,
        oldest=found["oldest"],
        link=f"{reverse('admin:redpacket_settlement_changelist')}?state__exact=ASSIGNED",
        examples=tuple((str(pk), reverse("admin:redpacket_settlement_change", args=[pk])) for pk in oldest),
    )


desk.register(
    Finder(name="redpacket", permissions=VIEW, find=find),
    Tile(
        name="redpacket.lag",
        title=_("Settlement of red packets"),
        section=Section.STATE,
        order=30,
        permissions=VIEW,
        read=read_lag,
        seconds=15,
    ),
    StuckKind(
        name="redpacket.unexpired",
        title=_("Red packets past their end"),
        limit=LATE_EXPIRY,
        cause=_("The job that returns the rest is behind."),
        step=_("Look at the runs of redpacket.expire_due."),
        permissions=VIEW,
        read=read_unexpired,
    ),
    StuckKind(
        name="redpacket.batches",
        title=_("Settlement batches without a journal"),
        limit=LATE_BATCH,
        cause=_("The ledger refused or did not answer; the batch keeps its error."),
        step=_("Open the batch and read its error; it is tried again by itself."),
        permissions=VIEW,
        read=read_batches,
    ),
)

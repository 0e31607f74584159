"""Channels on the finance desk: whether they answer, and what notices were not worked on."""

from __future__ import annotations

import datetime as dt

from django.db.models import Count, Min, Q
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from redis.exceptions import RedisError

from foundation import desk
from foundation.desk import Asking, Line, Panel, Section, Stuck, StuckKind, Tile, Tone
from foundation.words import code_word
from gateway.models import CallRecord, Notice
from gateway.ports import Outcome
from gateway.services import channels
from gateway.services.health import State

CHANNELS, NOTICES = "gateway.view_channelsetting", "gateway.view_notice"
LOOKED_BACK = dt.timedelta(hours=1)
LATE_NOTICE = dt.timedelta(minutes=10)
LOW_SHARE = 0.95
"""Below this share of answers in an hour a channel is shown as failing."""
EXAMPLES = 3
BREAKERS = {State.OPEN: _("breaker open"), State.HALF_OPEN: _("breaker trying again")}


def read_channels(asking: Asking) -> Panel:
    """Per channel: switched on, its breaker, and what share of the last hour's calls was answered."""
    answered = Q(outcome__in=[Outcome.SUCCESS.value, Outcome.FAILED.value, Outcome.PENDING.value])
    rows = CallRecord.objects.filter(called_at__gte=asking.now - LOOKED_BACK).values("channel")
    calls = {row["channel"]: row for row in rows.annotate(number=Count("pk"), good=Count("pk", filter=answered))}
    try:
        overviews = channels.list_overviews(now=asking.now)
    except RedisError:
        return Panel(note=_("Redis is away: what the breakers say is not known."), tone=Tone.WRONG)
    lines = []
    link = reverse("admin:gateway_channelsetting_changelist")
    for one in overviews:
        if not one.is_set_up:
            continue
        call = calls.get(one.terms.channel, {"number": 0, "good": 0})
        share = call["good"] / call["number"] if call["number"] else 1.0
        is_wrong = one.health.state is State.OPEN or share < LOW_SHARE
        value = gettext("on") if one.terms.is_enabled else gettext("switched off")
        note = gettext("no calls in the last hour")
        if call["number"]:
            figures = {"share": f"{share:.1%}", "number": f"{call['number']:,}"}
            note = gettext("%(share)s of %(number)s calls answered in the last hour") % figures
        if one.health.state is not State.CLOSED:
            note = f"{note}, {BREAKERS[one.health.state]}"
        tone = Tone.WRONG if is_wrong else Tone.GOOD if one.terms.is_enabled else Tone.WARNING
        lines.append(Line(label=code_word(one.terms.channel), value=value, note=note, link=link, tone=tone))
    return Panel(lines=tuple(lines)) if lines else Panel(note=_("No channel is set up."))


def read_notices(now: dt.datetime) -> Stuck:
    rows = Notice.objects.filter(
        state__in=[Notice.State.RECEIVED, Notice.State.VERIFIED, Notice.State.FAILED], received_at__lt=now - LATE_NOTICE
    )
    found = rows.aggregate(number=Count("pk"), oldest=Min("received_at"))
    oldest = rows.order_by("received_at").values_list("pk", "number")[:EXAMPLES]
    return Stuck(
        count=found["number"],
        oldest=found["oldest"],
        link=f"{reverse('admin:gateway_notice_changelist')}?state__exact=FAILED",
        examples=tuple((no or str(pk), reverse("admin:gateway_notice_change", args=[pk])) for pk, no in oldest),
    )


desk.register(
    Tile(
        name="gateway.channels",
        title=_("Channels"),
        section=Section.STATE,
        order=40,
        permissions=(CHANNELS,),
        read=read_channels,
        seconds=15,
    ),
    StuckKind(
        name="gateway.notices",
        title=_("Provider notices not worked on"),
        limit=LATE_NOTICE,
        cause=_("What they speak of was refused or not found, or a process ended."),
        step=_("Open the notice and read its note; the order is asked for at the provider in any case."),
        permissions=(NOTICES,),
        read=read_notices,
    ),
)

"""What belongs to no single app on the finance desk: one's notices, the proof of the books, the state of the system."""

from __future__ import annotations

import datetime as dt

from django.db.models import Count, Max, Min
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import desk, notifications
from foundation.db import roles
from foundation.desk import Asking, Line, Panel, Section, Stuck, StuckKind, Tile, Tone
from foundation.models import Alert, JobRun, OutboxEvent, StaffNotice
from paysys.admin import board
from paysys.proofs import ProveBooks

DAY = dt.timedelta(days=1)
LATE_PROOF = dt.timedelta(hours=30)
LATE_EVENT = dt.timedelta(minutes=5)
NOTICES = 5
ALERTS = 5
FAILED_JOBS = 5


def read_notices(asking: Asking) -> Panel:
    """What the platform told this member of staff and he has not read."""
    unread = notifications.count_unread(recipient_id=asking.user_id)
    rows = StaffNotice.objects.filter(recipient_id=asking.user_id, read_at=None).order_by("-id")[:NOTICES]
    is_chinese = gettext("Desk") != "Desk"
    lines = tuple(
        Line(
            label=row.title_zh if is_chinese else row.title_en,
            since=row.created_at,
            link=reverse("admin:foundation_staffnotice_change", args=[row.pk]),
        )
        for row in rows
    )
    note = "" if unread else _("No unread notice.")
    return Panel(figure=str(unread), note=note, lines=lines, tone=Tone.PLAIN if unread else Tone.GOOD)


def read_proof(asking: Asking) -> Panel:
    """What the last nightly proof of all books said."""
    last = JobRun.objects.filter(name=ProveBooks.name).order_by("-started_at").first()
    if last is None:
        return Panel(note=_("The books were never proved yet."), tone=Tone.WARNING)
    link = reverse("admin:foundation_jobrun_change", args=[last.pk]) if asking.may("foundation.view_jobrun") else ""
    broken = (last.report or {}).get("broken", [])
    is_late = asking.now - last.started_at > LATE_PROOF
    if last.state == JobRun.State.RUNNING:
        figure, tone = gettext("running"), Tone.PLAIN
    elif last.state == JobRun.State.FAILED:
        figure, tone = gettext("the proof failed"), Tone.WRONG
    elif broken:
        figure, tone = gettext("%s do not hold") % len(broken), Tone.WRONG
    else:
        figure, tone = gettext("balanced"), Tone.WARNING if is_late else Tone.GOOD
    lines = [
        Line(label=_("Last proof"), since=last.started_at, link=link, tone=Tone.WARNING if is_late else Tone.PLAIN)
    ]
    checked = (last.report or {}).get("lines")
    if checked:
        lines.append(Line(label=_("Invariants proved"), value=str(checked)))
    lines += [Line(label=str(name), tone=Tone.WRONG) for name in broken]
    return Panel(figure=figure, tone=tone, lines=tuple(lines))


def read_system(asking: Asking) -> Panel:
    """Alerts of a day, failed jobs, and events that wait in each database."""
    lines: list[Line] = []
    alerts = Alert.objects.filter(last_at__gte=asking.now - DAY).order_by("-last_at")
    for row in alerts[:ALERTS]:
        tone = Tone.WRONG if row.severity == Alert.Severity.CRITICAL else Tone.WARNING
        link = reverse("admin:foundation_alert_change", args=[row.pk])
        lines.append(
            Line(label=f"{row.code} {row.subject}", note=f"×{row.times}", since=row.last_at, link=link, tone=tone)
        )
    failed = JobRun.objects.filter(state=JobRun.State.FAILED, started_at__gte=asking.now - DAY).values("name")
    for job in failed.annotate(number=Count("pk"), last=Max("started_at")).order_by("-last")[:FAILED_JOBS]:
        link = f"{reverse('admin:foundation_jobrun_changelist')}?name={job['name']}&state__exact=FAILED"
        label = gettext("Job failed: %s") % job["name"]
        lines.append(Line(label=label, note=f"×{job['number']}", since=job["last"], link=link, tone=Tone.WARNING))
    for alias, (number, oldest) in _late_events(asking.now).items():
        link = f"{reverse('admin:foundation_outboxevent_changelist')}?database={alias}&waiting=yes"
        label = gettext("Events that wait (%s)") % alias
        lines.append(Line(label=label, value=f"{number:,}", since=oldest, link=link, tone=Tone.WRONG))
    if not lines:
        return Panel(figure=gettext("in order"), tone=Tone.GOOD, note=_("No alert and no failed job in a day."))
    worst = Tone.WRONG if any(line.tone is Tone.WRONG for line in lines) else Tone.WARNING
    return Panel(figure=gettext("%s to look at") % len(lines), tone=worst, lines=tuple(lines))


def _late_events(now: dt.datetime) -> dict[str, tuple[int, dt.datetime]]:
    """Database → (number, oldest) of events that should have been delivered."""
    found = {}
    for alias in roles.all_aliases():
        rows = OutboxEvent.objects.using(alias).filter(done_at=None, created_at__lt=now - LATE_EVENT)
        counted = rows.aggregate(number=Count("pk"), oldest=Min("created_at"))
        if counted["number"]:
            found[alias] = (counted["number"], counted["oldest"])
    return found


def read_events(now: dt.datetime) -> Stuck:
    found = _late_events(now)
    return Stuck(
        count=sum(number for number, _oldest in found.values()),
        oldest=min((oldest for _number, oldest in found.values()), default=None),
        link=f"{reverse('admin:foundation_outboxevent_changelist')}?waiting=yes",
    )


desk.register(
    Tile(
        name="paysys.stuck",
        title=_("Stuck money"),
        section=Section.WAITING,
        order=50,
        permissions=tuple({name for kind in desk.kinds().values() for name in kind.permissions}),
        read=board.stuck_tile,
    ),
    Tile(
        name="paysys.notices",
        title=_("Notices for me"),
        section=Section.WAITING,
        order=0,
        permissions=(),
        read=read_notices,
        is_personal=True,
    ),
    Tile(
        name="paysys.proof",
        title=_("Proof of the books"),
        section=Section.STATE,
        order=0,
        permissions=("funds.view_journal", "foundation.view_jobrun"),
        read=read_proof,
        seconds=60,
        is_personal=True,
    ),
    Tile(
        name="paysys.system",
        title=_("State of the system"),
        section=Section.STATE,
        order=50,
        permissions=("foundation.view_alert", "foundation.view_jobrun"),
        read=read_system,
        seconds=30,
    ),
    StuckKind(
        name="paysys.events",
        title=_("Events that were not delivered"),
        limit=LATE_EVENT,
        cause=_("The relay is away, or what should hear of them fails."),
        step=_("Look at the relay and at the last error of the oldest event."),
        permissions=("foundation.view_outboxevent",),
        read=read_events,
    ),
)

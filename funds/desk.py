"""The ledger on the finance desk: journals by number, adjustments that wait, what came in and went out, closed days."""

from __future__ import annotations

import datetime as dt

from django.db.models import Case, Count, F, Min, Sum, When
from django.urls import reverse
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

from foundation import clock, desk
from foundation.desk import (
    PREFIX_LENGTH,
    Asking,
    Chart,
    Finder,
    Found,
    Line,
    Panel,
    Section,
    Series,
    Stuck,
    StuckKind,
    Tile,
    Tone,
)
from foundation.money import yuan_display
from foundation.words import code_word
from funds import selectors
from funds.domain import chart
from funds.domain.entries import platform_account
from funds.models import Account, Adjustment, ClosedDay, Journal, Posting, TrialBalanceLine

VIEW, APPROVE, PROPOSE = "funds.view_journal", "funds.approve_adjustment", "funds.propose_adjustment"
CLEARING = "1110"
"""Channel clearing: every payment that comes in by a channel is a debit of it, every refund a credit."""
TREND_DAYS = 14
LATE_CLOSE = dt.timedelta(hours=30)
"""A day is closed some minutes after midnight; the next morning it is late."""
OLD_PROPOSAL = dt.timedelta(days=1)
IN_BETWEEN = ("2410", "1910", "2910")
"""To return and in suspense: of these every fen waits for somebody."""


def find(text: str, limit: int) -> list[Found]:
    """Journals by id, order, attempt or reference (its beginning too); adjustments by number."""
    if not text.isascii():
        return []
    found = [
        Found(
            title=row.number,
            description=f"{gettext('adjustment')} · {row.get_state_display()} · {yuan_display(row.total_fen)}",
            link=reverse("admin:funds_adjustment_change", args=[row.pk]),
            icon="edit_note",
        )
        for row in Adjustment.objects.filter(number=text[:32])
    ]
    return [*found, *(_found(journal) for journal in _journals(text, limit))][:limit]


def _journals(text: str, limit: int) -> list[Journal]:
    rows: dict[int, Journal] = {}
    if text.isdecimal() and len(text) < 19:
        rows |= {row.pk: row for row in Journal.objects.filter(pk=int(text))}
    for column in ("reference", "order_no", "source_no"):
        if len(rows) < limit:
            rows |= {row.pk: row for row in Journal.objects.filter(**{column: text})[:limit]}
    if not rows and len(text) >= PREFIX_LENGTH:
        rows |= {
            row.pk: row for row in Journal.objects.filter(reference__startswith=text).order_by("reference")[:limit]
        }
    return list(rows.values())[:limit]


def _found(journal: Journal) -> Found:
    return Found(
        title=f"{journal.pk} · {journal.reference}",
        description=f"{gettext('journal')} · {code_word(journal.kind)} · {yuan_display(journal.credit_total_fen)}",
        link=reverse("admin:funds_journal_change", args=[journal.pk]),
        icon="menu_book",
    )


def read_adjustments(asking: Asking) -> Panel:
    """Proposals that wait: those of others to a checker, one's own to a maker."""
    waiting = Adjustment.objects.filter(state=Adjustment.State.PROPOSED)
    link = f"{reverse('admin:funds_adjustment_changelist')}?state__exact=PROPOSED"
    lines = []
    for label, rows, may in (
        (gettext("To decide"), waiting.exclude(proposed_by_id=asking.user_id), asking.may(APPROVE)),
        (gettext("My proposals"), waiting.filter(proposed_by_id=asking.user_id), asking.may(PROPOSE)),
    ):
        found = rows.aggregate(number=Count("pk"), amount=Sum("total_fen"), oldest=Min("proposed_at"))
        if may and found["number"]:
            is_old = asking.now - found["oldest"] > OLD_PROPOSAL
            value = f"{found['number']} · {yuan_display(found['amount'])}"
            tone = Tone.WARNING if is_old else Tone.PLAIN
            lines.append(Line(label=label, value=value, since=found["oldest"], link=link, tone=tone))
    return Panel(lines=tuple(lines)) if lines else Panel(figure="0", note=_("Nothing waits."), tone=Tone.GOOD)


def _flows_since_close(start: dt.datetime) -> dict[str, tuple[int, int]]:
    """Channel → (in, out) of its clearing account from `start` on; read behind the last closed day only."""
    last = ClosedDay.objects.order_by("-day").values_list("later_posting_id", flat=True).first() or 0
    accounts = dict(Account.objects.filter(code=CLEARING).values_list("pk", "owner_id"))
    rows = (
        Posting.objects.filter(account__in=list(accounts), pk__gte=last, created_at__gte=start)
        .values("account")
        .annotate(
            came=Sum(Case(When(amount_fen__lt=0, then=-F("amount_fen")), default=0)),
            went=Sum(Case(When(amount_fen__gt=0, then=F("amount_fen")), default=0)),
        )
    )
    return {accounts[row["account"]]: (int(row["came"]), int(row["went"])) for row in rows}


def read_flows(asking: Asking) -> Panel:
    """Money in and out by channel today, and of all channels in the days before, from their trial balances."""
    today = clock.business_date(asking.now)
    channels = _flows_since_close(clock.day_start(today))
    came, went = (sum(flow[side] for flow in channels.values()) for side in (0, 1))
    lines = [
        Line(label=code_word(channel), value=yuan_display(into), note=gettext("out %s") % yuan_display(out))
        for channel, (into, out) in sorted(channels.items())
    ]
    first = today - dt.timedelta(days=TREND_DAYS)
    closed = {
        row.day_id: (row.debit_fen, row.credit_fen)
        for row in TrialBalanceLine.objects.filter(code=CLEARING, day_id__gte=first, day_id__lt=today)
    }
    days = [first + dt.timedelta(days=number) for number in range(1, TREND_DAYS)]
    flows = [closed.get(day, (0, 0)) for day in days] + [(came, went)]
    trend = Chart(
        title=_("Money through the channels by day"),
        labels=tuple(f"{day:%m-%d}" for day in [*days, today]),
        series=(
            Series(name=_("In"), values=tuple(flow[0] for flow in flows)),
            Series(name=_("Out"), values=tuple(flow[1] for flow in flows)),
        ),
        is_money=True,
    )
    return Panel(
        figure=yuan_display(came),
        note=gettext("came in today, %s went out") % yuan_display(went),
        lines=tuple(lines),
        chart=trend,
    )


def read_closing(asking: Asking) -> Panel:
    """The last closed day, and what stands between: to be returned and in suspense."""
    last = ClosedDay.objects.order_by("-day").first()
    lines = []
    if last is not None:
        is_late = asking.now - last.ends_at > LATE_CLOSE
        link = reverse("admin:funds_closedday_change", args=[last.pk])
        value = f"{last.day:%Y-%m-%d}"
        note = gettext("%s journals") % f"{last.journal_count:,}"
        tone = Tone.WRONG if is_late else Tone.GOOD
        lines.append(Line(label=_("Last closed day"), value=value, note=note, link=link, tone=tone))
    else:
        lines.append(Line(label=_("Last closed day"), value=_("none yet")))
    for code, fen in _in_between().items():
        name, name_zh = chart.report_name(code)
        link = f"{reverse('admin:funds_account_changelist')}?code={code}"
        label = f"{code} {name_zh if _is_chinese() else name}"
        lines.append(Line(label=label, value=yuan_display(fen), link=link, tone=Tone.WARNING if fen else Tone.PLAIN))
    return Panel(lines=tuple(lines))


def _is_chinese() -> bool:
    return (get_language() or "").startswith("zh")


def _in_between() -> dict[str, int]:
    """Code → what stands there in fen, as a positive amount."""
    found = dict.fromkeys(IN_BETWEEN, 0)
    for code, owner_id in Account.objects.filter(code__in=IN_BETWEEN).values_list("code", "owner_id"):
        sign = -1 if chart.title_of(code).is_debit_normal else 1
        found[code] += sign * selectors.platform_balance_fen(account=platform_account(code, owner_id))
    return found


def read_stuck(now: dt.datetime) -> Stuck:
    """What is to be returned or in suspense, whatever its age: each account's own limit stands in the chart."""
    found = _in_between()
    return Stuck(
        count=sum(1 for fen in found.values() if fen),
        amount_fen=sum(found.values()),
        link=f"{reverse('admin:funds_account_changelist')}?owner_kind=PLATFORM",
    )


desk.register(
    Finder(name="funds", permissions=(VIEW,), find=find),
    Tile(
        name="funds.adjustments",
        title=_("Adjustments"),
        section=Section.WAITING,
        order=20,
        permissions=(APPROVE, PROPOSE),
        read=read_adjustments,
        is_personal=True,
    ),
    Tile(
        name="funds.flows",
        title=_("Money through the channels"),
        section=Section.FLOW,
        order=10,
        permissions=(VIEW,),
        read=read_flows,
        seconds=60,
    ),
    Tile(
        name="funds.closing",
        title=_("Books"),
        section=Section.STATE,
        order=10,
        permissions=(VIEW,),
        read=read_closing,
        seconds=60,
    ),
    StuckKind(
        name="funds.in_between",
        title=_("Accounts with money to return or in suspense"),
        limit=dt.timedelta(0),
        cause=_("Money came that no order explains, or that must go back."),
        step=_("Open the account's statement; return it, or propose an adjustment."),
        permissions=("funds.view_account",),
        read=read_stuck,
    ),
)

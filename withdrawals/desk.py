"""Withdrawals on the finance desk: what waits for a word, what does not move, what the payout float still covers."""

from __future__ import annotations

import datetime as dt
from functools import partial

from django.db.models import Count, Min, Q, Sum
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import desk
from foundation.desk import PREFIX_LENGTH, Asking, Finder, Found, Line, Panel, Section, Stuck, StuckKind, Tile, Tone
from foundation.money import yuan_display
from foundation.words import code_word
from withdrawals import selectors
from withdrawals.domain.states import WithdrawalState
from withdrawals.models import PayoutPolicy, Reissue, Withdrawal
from withdrawals.services import sending

APPROVE, ASSIGN, OPERATE, APPROVE_REISSUE = (
    f"withdrawals.{name}" for name in ("approve_withdrawal", "assign_withdrawal", "operate_payouts", "approve_reissue")
)
SEE = ("withdrawals.view_withdrawal", APPROVE, ASSIGN, OPERATE)
EXAMPLES = 3
LONG_WAIT = dt.timedelta(hours=4)


def _page(order_no: str) -> str:
    return reverse("admin:withdrawals_withdrawal_change", args=[order_no])


def _list(query: str = "") -> str:
    return f"{reverse('admin:withdrawals_withdrawal_changelist')}{query}"


def find(text: str, limit: int) -> list[Found]:
    """By order, payout or provider's number; also by the beginning of the first two."""
    if not text.isascii():
        return []
    wanted = Q(order_no=text[:32]) | Q(payout_no=text[:32]) | Q(provider_no=text)
    rows = list(Withdrawal.objects.filter(wanted)[:limit])
    if not rows and len(text) >= PREFIX_LENGTH:
        rows = list(Withdrawal.objects.filter(Q(order_no__startswith=text[:32])).order_by("order_no")[:limit])
        rows += list(Withdrawal.objects.filter(payout_no__startswith=text[:32]).order_by("payout_no")[:limit])
    return [
        Found(
            title=row.order_no,
            description=f"{gettext('withdrawal')} · {code_word(row.state)} · {yuan_display(row.amount_fen)}",
            link=_page(row.order_no),
            icon="account_balance",
        )
        for row in {row.pk: row for row in rows}.values()
    ][:limit]


def read_waiting(asking: Asking) -> Panel:
    """What waits for approval: in all, mine, and what waits for the second person on a new payout number."""
    waiting = Withdrawal.objects.filter(state=WithdrawalState.APPLIED)
    found = waiting.aggregate(
        number=Count("pk"),
        amount=Sum("amount_fen"),
        oldest=Min("created_at"),
        mine=Count("pk", filter=Q(assigned_to_id=asking.user_id)),
        review=Count("pk", filter=Q(needs_review=True)),
    )
    lines = []
    if found["mine"]:
        lines.append(Line(label=_("Assigned to me"), value=str(found["mine"]), link=_list("?assigned=me")))
    if found["review"]:
        link = _list("?needs_review__exact=1&state__exact=APPLIED")
        lines.append(Line(label=_("Risk review"), value=str(found["review"]), link=link, tone=Tone.WARNING))
    if asking.may(APPROVE_REISSUE):
        lines += _reissues(asking)
    if not found["number"] and not lines:
        return Panel(figure="0", note=_("Nothing waits."), tone=Tone.GOOD)
    is_old = found["oldest"] is not None and asking.now - found["oldest"] > LONG_WAIT
    total = Line(
        label=_("Withdrawals"),
        value=yuan_display(found["amount"] or 0),
        since=found["oldest"],
        link=_list("?state__exact=APPLIED"),
        tone=Tone.WARNING if is_old else Tone.PLAIN,
    )
    return Panel(figure=str(found["number"]), lines=(total, *lines), tone=Tone.WARNING if is_old else Tone.PLAIN)


def _reissues(asking: Asking) -> list[Line]:
    waiting = Reissue.objects.filter(approved_by=None).exclude(proposed_by_id=asking.user_id)
    found = waiting.aggregate(number=Count("pk"), oldest=Min("proposed_at"))
    if not found["number"]:
        return []
    link = reverse("admin:withdrawals_reissue_changelist")
    return [Line(label=_("New payout numbers"), value=str(found["number"]), since=found["oldest"], link=link)]


def read_floats(asking: Asking) -> Panel:
    """The prefunded balance of each payout channel against its warning, and which payouts are paused."""
    lines = []
    for channel, balance in sending.read_floats().items():
        warning = selectors.get_policy(channel=channel).float_warning_fen
        is_low = bool(warning and balance < warning)
        note = gettext("below %s") % yuan_display(warning) if is_low else ""
        tone = Tone.WRONG if is_low else Tone.PLAIN
        lines.append(Line(label=code_word(channel), value=yuan_display(balance), note=note, tone=tone))
    link = reverse("admin:withdrawals_payoutpolicy_changelist")
    for policy in PayoutPolicy.objects.filter(is_paused=True).order_by("channel"):
        label = gettext("Payouts paused: %s") % (code_word(policy.channel) if policy.channel != "*" else gettext("all"))
        lines.append(Line(label=label, note=policy.paused_reason, link=link, tone=Tone.WARNING))
    return Panel(lines=tuple(lines))


def read_stuck(now: dt.datetime, *, state: WithdrawalState, limit: dt.timedelta) -> Stuck:
    """Withdrawals in that state since their last step before the limit (by the time of the application)."""
    rows = Withdrawal.objects.filter(state=state, created_at__lt=now - limit)
    found = rows.aggregate(number=Count("pk"), amount=Sum("amount_fen"), oldest=Min("created_at"))
    oldest = rows.order_by("created_at").values_list("order_no", flat=True)[:EXAMPLES]
    return Stuck(
        count=found["number"],
        amount_fen=found["amount"] or 0,
        oldest=found["oldest"],
        link=_list(f"?state__exact={state.value}"),
        examples=tuple((number, _page(number)) for number in oldest),
    )


def _kind(state: WithdrawalState, limit: dt.timedelta, title: object, cause: object, step: object) -> StuckKind:
    return StuckKind(
        name=f"withdrawals.{state.value.lower()}",
        title=title,  # type: ignore[arg-type]
        limit=limit,
        cause=cause,  # type: ignore[arg-type]
        step=step,  # type: ignore[arg-type]
        permissions=SEE,
        read=partial(read_stuck, state=state, limit=limit),
    )


desk.register(
    Finder(name="withdrawals", permissions=SEE, find=find),
    Tile(
        name="withdrawals.waiting",
        title=_("Withdrawals that wait for approval"),
        section=Section.WAITING,
        order=10,
        permissions=(APPROVE, ASSIGN),
        read=read_waiting,
        is_personal=True,
    ),
    Tile(
        name="withdrawals.floats",
        title=_("Payout float"),
        section=Section.STATE,
        order=20,
        permissions=SEE,
        read=read_floats,
        seconds=60,
    ),
    _kind(
        WithdrawalState.APPLYING,
        dt.timedelta(minutes=10),
        _("Withdrawals that stopped half-way"),
        _("The process ended between the freeze and the application."),
        _("withdrawals.repair_applications finishes them; look at its runs."),
    ),
    _kind(
        WithdrawalState.APPLIED,
        dt.timedelta(days=1),
        _("Withdrawals without a decision"),
        _("Nobody has approved or rejected them."),
        _("Decide, or assign them to somebody."),
    ),
    _kind(
        WithdrawalState.APPROVED,
        dt.timedelta(hours=2),
        _("Approved withdrawals that are not sent"),
        _("Payouts are paused, outside of their hours, over a cap, or the float is empty."),
        _("Look at the payout policies and the float."),
    ),
    _kind(
        WithdrawalState.SENDING,
        dt.timedelta(minutes=30),
        _("Payouts that are being sent"),
        _("The process ended while the provider was asked."),
        _("withdrawals.check_payouts asks the provider; look at its runs."),
    ),
    _kind(
        WithdrawalState.SENT,
        dt.timedelta(days=2),
        _("Payouts without the bank's word"),
        _("The bank has taken them and not ended them."),
        _("Ask the provider on the withdrawal's page; call the bank."),
    ),
    _kind(
        WithdrawalState.UNKNOWN,
        dt.timedelta(hours=1),
        _("Payouts with an unknown end"),
        _("The provider gave no clear answer."),
        _("Ask the provider now; where it does not know the number, propose a new one."),
    ),
)

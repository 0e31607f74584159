"""Payments on the finance desk: callbacks that no receiver took, refunds that providers do not carry out."""

from __future__ import annotations

import datetime as dt

from django.db.models import Count, Min, QuerySet, Sum
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import desk
from foundation.desk import Asking, Finder, Found, Line, Panel, Section, Stuck, StuckKind, Tile, Tone
from foundation.money import yuan_display
from payments.models import AbnormalRefund, BusinessOrder, CallbackDelivery

CALLBACKS, REFUNDS = "payments.view_callbackdelivery", "payments.view_abnormalrefund"
EXAMPLES = 3
LATE_CALLBACK = dt.timedelta(hours=1)


def _callbacks(state: str) -> str:
    return f"{reverse('admin:payments_callbackdelivery_changelist')}?state__exact={state}"


def _refunds() -> str:
    return reverse("admin:payments_abnormalrefund_changelist")


def find(text: str, limit: int) -> list[Found]:
    """Orders of business backends by their own number, exactly."""
    if not text.isascii():
        return []
    rows = BusinessOrder.objects.filter(business_order_no=text).select_related("app")[:limit]
    return [
        Found(
            title=row.business_order_no,
            description=f"{gettext('business order')} · {row.app.name} · {yuan_display(row.amount_fen)}",
            link=reverse("admin:payments_businessorder_change", args=[row.pk]),
            icon="shopping_cart",
        )
        for row in rows
    ]


def read_waiting(asking: Asking) -> Panel:
    """Dead letters and open abnormal refunds, each with its age."""
    lines = []
    dead = CallbackDelivery.objects.filter(state=CallbackDelivery.State.DEAD)
    found = dead.aggregate(number=Count("pk"), oldest=Min("created_at"))
    if found["number"] and asking.may(CALLBACKS):
        link = _callbacks("DEAD")
        value = str(found["number"])
        lines.append(Line(label=_("Dead letters"), value=value, since=found["oldest"], link=link, tone=Tone.WRONG))
    refunds = AbnormalRefund.objects.filter(closed_at=None)
    found = refunds.aggregate(number=Count("pk"), amount=Sum("amount_fen"), oldest=Min("first_at"))
    if found["number"] and asking.may(REFUNDS):
        value = f"{found['number']} · {yuan_display(found['amount'])}"
        label = _("Abnormal refunds")
        lines.append(Line(label=label, value=value, since=found["oldest"], link=_refunds(), tone=Tone.WRONG))
    return Panel(lines=tuple(lines)) if lines else Panel(figure="0", note=_("Nothing waits."), tone=Tone.GOOD)


def read_dead(now: dt.datetime) -> Stuck:
    rows = CallbackDelivery.objects.filter(state=CallbackDelivery.State.DEAD)
    return _callback_stuck(rows, "DEAD")


def read_late(now: dt.datetime) -> Stuck:
    rows = CallbackDelivery.objects.filter(
        state=CallbackDelivery.State.WAITING, created_at__lt=now - LATE_CALLBACK, next_at__lt=now
    )
    return _callback_stuck(rows, "WAITING")


def _callback_stuck(rows: QuerySet[CallbackDelivery], state: str) -> Stuck:
    found = rows.aggregate(number=Count("pk"), oldest=Min("created_at"))
    oldest = rows.order_by("created_at").values_list("pk", "order_no")[:EXAMPLES]
    return Stuck(
        count=found["number"],
        oldest=found["oldest"],
        link=_callbacks(state),
        examples=tuple((no, reverse("admin:payments_callbackdelivery_change", args=[pk])) for pk, no in oldest),
    )


def read_abnormal(now: dt.datetime) -> Stuck:
    rows = AbnormalRefund.objects.filter(closed_at=None)
    found = rows.aggregate(number=Count("pk"), amount=Sum("amount_fen"), oldest=Min("first_at"))
    numbers = rows.order_by("first_at").values_list("refund_no", flat=True)[:EXAMPLES]
    return Stuck(
        count=found["number"],
        amount_fen=found["amount"] or 0,
        oldest=found["oldest"],
        link=_refunds(),
        examples=tuple((no, reverse("admin:payments_abnormalrefund_change", args=[no])) for no in numbers),
    )


desk.register(
    Finder(name="payments", permissions=("payments.view_businessorder",), find=find),
    Tile(
        name="payments.waiting",
        title=_("Callbacks and refunds"),
        section=Section.WAITING,
        order=30,
        permissions=(CALLBACKS, REFUNDS),
        read=read_waiting,
    ),
    StuckKind(
        name="payments.abnormal",
        title=_("Refunds that the provider does not carry out"),
        limit=dt.timedelta(0),
        cause=_("The payer's account or card no longer takes money."),
        step=_("Act at the provider, then ask again or retry with the same number."),
        permissions=(REFUNDS,),
        read=read_abnormal,
    ),
    StuckKind(
        name="payments.dead",
        title=_("Callbacks given up (dead letters)"),
        limit=dt.timedelta(0),
        cause=_("The business backend did not take them for a day."),
        step=_("Talk to its people, then send them again."),
        permissions=(CALLBACKS,),
        read=read_dead,
    ),
    StuckKind(
        name="payments.late",
        title=_("Callbacks that are behind"),
        limit=LATE_CALLBACK,
        cause=_("The receiver fails, or workers are away."),
        step=_("Look at the tries of one; the platform goes on trying for a day."),
        permissions=(CALLBACKS,),
        read=read_late,
    ),
)

"""Scan to collect on the finance desk: payments and codes by their ids, sales orders the CRM did not take."""

from __future__ import annotations

import datetime as dt

from django.db.models import Count, Min, Sum
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from collect.domain.states import CollectionState, CrmState
from collect.models import Code, Collection, CrmRecord
from foundation import desk
from foundation.desk import Asking, Finder, Found, Line, Panel, Section, Stuck, StuckKind, Tile, Tone
from foundation.money import yuan_display
from foundation.words import code_word

VIEW, CRM = ("collect.view_collection",), ("collect.view_crmrecord",)
EXAMPLES = 3
LATE_CLOSE = dt.timedelta(minutes=30)


def find(text: str, limit: int) -> list[Found]:
    """Payments by id, order, attempt or provider's number; codes by id or the CRM's order number."""
    if not text.isascii():
        return []
    found: list[Found] = []
    for name in ("pk", "order_no", "attempt_no", "provider_no"):
        rows = Collection.objects.filter(**{name: text[:64]})[:limit]
        found += [
            Found(
                title=row.pk,
                description=f"{gettext('collection')} · {code_word(row.state)} · {yuan_display(row.amount_fen)}",
                link=reverse("admin:collect_collection_change", args=[row.pk]),
                icon="qr_code",
            )
            for row in rows
        ]
        if found:
            break
    for name in ("pk", "crm_order_no"):
        found += [
            Found(
                title=row.pk,
                description=f"{gettext('collection code')} · {row.subject}",
                link=reverse("admin:collect_code_change", args=[row.pk]),
                icon="qr_code_2",
            )
            for row in Code.objects.filter(**{name: text[:64]})[:limit]
        ]
    return found[:limit]


def _records(state: str) -> str:
    return f"{reverse('admin:collect_crmrecord_changelist')}?state__exact={state}"


def read_waiting(asking: Asking) -> Panel:
    """Sales orders given up, with their age."""
    found = CrmRecord.objects.filter(state=CrmState.DEAD.value).aggregate(number=Count("pk"), oldest=Min("created_at"))
    if not found["number"]:
        return Panel(figure="0", note=_("Nothing waits."), tone=Tone.GOOD)
    line = Line(
        label=_("Sales orders given up"),
        value=str(found["number"]),
        since=found["oldest"],
        link=_records(CrmState.DEAD.value),
        tone=Tone.WRONG,
    )
    return Panel(lines=(line,))


def read_dead(now: dt.datetime) -> Stuck:
    rows = CrmRecord.objects.filter(state=CrmState.DEAD.value)
    found = rows.aggregate(number=Count("pk"), oldest=Min("created_at"))
    oldest = rows.order_by("created_at").values_list("pk", flat=True)[:EXAMPLES]
    return Stuck(
        count=found["number"],
        oldest=found["oldest"],
        link=_records(CrmState.DEAD.value),
        examples=tuple((pk, reverse("admin:collect_crmrecord_change", args=[pk])) for pk in oldest),
    )


def read_open(now: dt.datetime) -> Stuck:
    rows = Collection.objects.filter(state=CollectionState.OPEN.value, expires_at__lt=now - LATE_CLOSE)
    found = rows.aggregate(number=Count("pk"), amount=Sum("amount_fen"), oldest=Min("created_at"))
    oldest = rows.order_by("expires_at").values_list("pk", flat=True)[:EXAMPLES]
    return Stuck(
        count=found["number"],
        amount_fen=found["amount"] or 0,
        oldest=found["oldest"],
        link=f"{reverse('admin:collect_collection_changelist')}?state__exact={CollectionState.OPEN.value}",
        examples=tuple((pk, reverse("admin:collect_collection_change", args=[pk])) for pk in oldest),
    )


desk.register(
    Finder(name="collect", permissions=VIEW, find=find),
    Tile(
        name="collect.waiting",
        title=_("Sales orders for the CRM"),
        section=Section.WAITING,
        order=35,
        permissions=CRM,
        read=read_waiting,
    ),
    StuckKind(
        name="collect.open",
        title=_("Collections that do not end"),
        limit=LATE_CLOSE,
        cause=_("The provider gives no certain answer, or the jobs are away."),
        step=_("Ask the provider on the order's page; see whether beat and workers run."),
        permissions=VIEW,
        read=read_open,
    ),
    StuckKind(
        name="collect.crm",
        title=_("Sales orders that the CRM did not take"),
        limit=dt.timedelta(0),
        cause=_("It was away or refused them for a day."),
        step=_("Talk to its people, then send them again."),
        permissions=CRM,
        read=read_dead,
    ),
)

"""The rest of an order's life on its page, and what may be done with it there.

Beside the ledger, notices and events (`paysys.order_timeline`): what risk control judged, what providers were asked,
the payout, callbacks, adjustments, what staff did. Orders know none of them (orders.selectors.timeline).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import get_language, gettext

from foundation import clock
from foundation.errors import NotFound, PaysysError
from foundation.models import AuditEntry
from foundation.money import yuan_display
from foundation.words import code_word
from funds import selectors as funds
from gateway.models import CallRecord, RoutingDecision
from orders import selectors as orders
from orders.selectors import timeline
from orders.selectors.timeline import Cell, Column, Deed, DetailTable, EntryKind, Findings, Subject, TimelineEntry
from payments.models import CallbackDelivery
from payments.services import checking
from paysys import order_timeline  # noqa: F401 - its sections come first
from risk.models import Decision
from risk.models.decisions import ACTION_CHOICES
from withdrawals.models import Withdrawal

ROWS_SHOWN = 50
ASK_PROVIDERS = "withdrawals.operate_payouts"
"""The permission "can pause payouts and ask providers again"."""


class Risk:
    """What risk control judged before the money moved."""

    name = "risk"
    permissions: tuple[str, ...] = ("risk.view_decision",)

    @property
    def title(self) -> str:
        return gettext("Risk control")

    def read(self, subject: Subject) -> Findings:
        references = [*filter(None, (subject.order.order_no, subject.order.business_no))]
        actions = [action for action, _name in ACTION_CHOICES]
        rows = Decision.objects.filter(action__in=actions, reference__in=references).order_by("-id")[:ROWS_SHOWN]
        return Findings(
            entries=tuple(
                TimelineEntry(
                    at=row.created_at,
                    kind=EntryKind.RISK,
                    title=code_word(row.outcome),
                    number=str(row.pk),
                    detail=row.rule_code,
                    url=reverse("admin:risk_decision_change", args=[row.pk]),
                )
                for row in rows
            )
        )


class Providers:
    """Why the channel was chosen, and every call about the order's numbers; the payout's too."""

    name = "providers"
    permissions: tuple[str, ...] = ("gateway.view_callrecord", "gateway.view_routingdecision")

    @property
    def title(self) -> str:
        return gettext("Calls to providers")

    def read(self, subject: Subject) -> Findings:
        payout = Withdrawal.objects.filter(pk=subject.order.order_no).values_list("payout_no", flat=True).first()
        numbers = [*subject.numbers, *filter(None, [payout])]
        calls = list(CallRecord.objects.filter(number__in=numbers).order_by("-id")[:ROWS_SHOWN])
        routes = RoutingDecision.objects.filter(order_no=subject.order.order_no).order_by("id")[:ROWS_SHOWN]
        entries = [
            TimelineEntry(
                at=call.called_at,
                kind=EntryKind.CALL,
                title=f"{call.operation} {code_word(call.outcome)}",
                number=call.number,
                detail=" · ".join(filter(None, (code_word(call.channel), call.code, f"{call.milliseconds} ms"))),
                url=reverse("admin:gateway_callrecord_change", args=[call.pk]),
            )
            for call in calls
        ]
        entries += [
            TimelineEntry(
                at=route.decided_at,
                kind=EntryKind.CALL,
                title=gettext("Channel chosen: %s") % (code_word(route.chosen) or gettext("refused")),
                number=str(route.pk),
                url=reverse("admin:gateway_routingdecision_change", args=[route.pk]),
            )
            for route in routes
        ]
        return Findings(entries=tuple(entries))


class Payout:
    """The steps of the withdrawal that this order stands for."""

    name = "payout"
    permissions: tuple[str, ...] = ("withdrawals.view_withdrawal",)

    @property
    def title(self) -> str:
        return gettext("Withdrawal")

    def read(self, subject: Subject) -> Findings:
        row = Withdrawal.objects.filter(pk=subject.order.order_no).first()
        if row is None:
            return Findings()
        address = reverse("admin:withdrawals_withdrawal_change", args=[row.pk])
        entries = tuple(
            TimelineEntry(
                at=event.happened_at,
                kind=EntryKind.PAYOUT,
                title=code_word(event.kind),
                detail=" · ".join(filter(None, (code_word(event.state), event.actor, event.note))),
                url=address,
            )
            for event in row.events.order_by("version")[:ROWS_SHOWN]
        )
        facts = DetailTable(
            title=gettext("Payout"),
            columns=(
                Column(label=gettext("State")),
                Column(label=gettext("Payee")),
                Column(label=gettext("payout number")),
                Column(label=gettext("Provider's number")),
                Column(label=gettext("Result")),
            ),
            rows=(
                (
                    Cell(text=code_word(row.state), url=address),
                    Cell(text=row.payee_masked),
                    Cell(text=row.payout_no or "", is_number=bool(row.payout_no)),
                    Cell(text=row.provider_no, is_number=bool(row.provider_no)),
                    Cell(text=row.result_code),
                ),
            ),
            url=address,
        )
        return Findings(entries=entries, tables=(facts,))


class Callbacks:
    """What business backends were told about the order."""

    name = "callbacks"
    permissions: tuple[str, ...] = ("payments.view_callbackdelivery",)

    @property
    def title(self) -> str:
        return gettext("Callbacks")

    def read(self, subject: Subject) -> Findings:
        numbers = [subject.order.order_no, *subject.refund_nos]
        rows = CallbackDelivery.objects.filter(order_no__in=numbers).order_by("-id")[:ROWS_SHOWN]
        return Findings(
            entries=tuple(
                TimelineEntry(
                    at=row.done_at or row.created_at,
                    kind=EntryKind.CALLBACK,
                    title=code_word(row.state),
                    number=row.event_id,
                    detail=" · ".join(filter(None, (gettext("%s tries") % row.tries, row.last_error))),
                    url=reverse("admin:payments_callbackdelivery_change", args=[row.pk]),
                )
                for row in rows
            )
        )


class Adjustments:
    """Corrections of the books that were proposed for the order."""

    name = "adjustments"
    permissions: tuple[str, ...] = ("funds.view_adjustment",)

    @property
    def title(self) -> str:
        return gettext("Adjustments")

    def read(self, subject: Subject) -> Findings:
        rows = funds.list_adjustments(order_no=subject.order.order_no, limit=ROWS_SHOWN)
        return Findings(
            entries=tuple(
                TimelineEntry(
                    at=row.decided_at or row.proposed_at,
                    kind=EntryKind.ADJUSTMENT,
                    title=row.get_state_display(),
                    number=row.number,
                    detail=f"{row.proposed_by_name} · {row.reason}",
                    amount_fen=row.total_fen,
                    url=reverse("admin:funds_adjustment_change", args=[row.pk]),
                )
                for row in rows
            )
        )


class Audit:
    """What staff did with the order, its withdrawal or its refunds."""

    name = "audit"
    permissions: tuple[str, ...] = ("foundation.view_auditentry",)

    @property
    def title(self) -> str:
        return gettext("audit trail")

    def read(self, subject: Subject) -> Findings:
        types = ("orders.orderindex", "withdrawals.withdrawal", "payments.abnormalrefund")
        keys = [subject.order.order_no, *subject.refund_nos]
        rows = AuditEntry.objects.filter(object_type__in=types, object_key__in=keys).order_by("-id")[:ROWS_SHOWN]
        return Findings(
            entries=tuple(
                TimelineEntry(
                    at=row.happened_at,
                    kind=EntryKind.AUDIT,
                    title=row.action,
                    number=str(row.pk),
                    detail=" · ".join(filter(None, (row.actor_name, row.reason))),
                    url=reverse("admin:foundation_auditentry_change", args=[row.pk]),
                )
                for row in rows
            )
        )


def list_deeds(subject: Subject, may: Callable[[str], bool]) -> Iterable[Deed]:
    """Ask the provider while something is open; go to the withdrawal or the callbacks; propose an adjustment."""
    order = subject.order
    if may(ASK_PROVIDERS) and any(attempt.is_open for attempt in order.attempts):
        yield Deed(
            label=gettext("Ask the provider now"), url=reverse("admin:order_ask", args=[order.order_no]), is_post=True
        )
    if may("withdrawals.view_withdrawal") and Withdrawal.objects.filter(pk=order.order_no).exists():
        yield Deed(
            label=gettext("Open the withdrawal"),
            url=reverse("admin:withdrawals_withdrawal_change", args=[order.order_no]),
        )
    if may("payments.change_callbackdelivery") and CallbackDelivery.objects.filter(order_no=order.order_no).exists():
        query = urlencode({"q": order.order_no})
        address = reverse("admin:payments_callbackdelivery_changelist")
        yield Deed(label=gettext("Send callbacks again"), url=f"{address}?{query}")
    if may("funds.propose_adjustment"):
        query = urlencode({"order_no": order.order_no})
        yield Deed(label=gettext("Propose an adjustment"), url=f"{reverse('admin:funds_adjustment_add')}?{query}")


def ask_view(request: HttpRequest, order_no: str) -> HttpResponse:
    """Asks the provider about every open attempt at once; what it says is acted on as in the background."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm(ASK_PROVIDERS):
        raise PermissionDenied
    try:
        order = orders.get_order(order_no=order_no)
    except NotFound as error:
        raise Http404 from error
    for attempt in order.attempts:
        if attempt.is_open:
            _ask(request, attempt)
    return HttpResponseRedirect(reverse("admin:orders_orderindex_change", args=[order_no]))


def _ask(request: HttpRequest, attempt: Any) -> None:
    try:
        state = checking.check_attempt(attempt=attempt, now=clock.now())
    except PaysysError as error:
        messages.error(request, f"{attempt.attempt_no}: {error.message(get_language() or 'en')}")
    else:
        said = {"no": attempt.attempt_no, "amount": yuan_display(attempt.amount_fen), "state": code_word(state)}
        messages.success(request, gettext("%(no)s, %(amount)s: the provider says %(state)s.") % said)


for _source in (Payout(), Risk(), Providers(), Callbacks(), Adjustments(), Audit()):
    timeline.register(_source)
timeline.register_deeds("cockpit", list_deeds)

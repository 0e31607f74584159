"""The decision log and the reservations: to be read, found by reference or employee, and linked from elsewhere."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from foundation.admin_base import ReadOnlyAdmin
from foundation.money import yuan_display
from identity import selectors as identity
from risk.admin.words import action_text, is_chinese
from risk.domain.facts import Unit, get
from risk.models import Decision, Reservation


def _amount(fen: int) -> SafeString:
    return format_html('<div style="text-align: right; white-space: nowrap">{}</div>', yuan_display(fen))


@admin.register(Decision)
class DecisionAdmin(ReadOnlyAdmin):
    """Newest first."""

    list_display = (
        "created_at",
        "name",
        "result",
        "rule_code",
        "amount",
        "employee_id",
        "channel",
        "reference",
        "took",
    )
    list_filter = ("action", "outcome", "rule_code", "created_at")
    search_fields = ("=reference", "=employee_id")
    search_help_text = _("Reference of the request, or an employee's id (exact)")
    ordering = ("-id",)
    list_per_page = 20

    @admin.display(description=_("action"), ordering="action")
    def name(self, row: Decision) -> str:
        return action_text(row.action)

    @admin.display(description=_("outcome"), ordering="outcome")
    def result(self, row: Decision) -> SafeString:
        return format_html("<strong>{}</strong>", row.outcome)

    @admin.display(description=_("amount"), ordering="amount_fen")
    def amount(self, row: Decision) -> SafeString:
        return _amount(row.amount_fen)

    @admin.display(description=_("took"), ordering="duration_us")
    def took(self, row: Decision) -> str:
        return f"{row.duration_us / 1000:.1f} ms"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Decision], search_term: str
    ) -> tuple[QuerySet[Decision], bool]:
        """By exact reference, or by id of an employee; anything else finds nothing."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.isdecimal() and term.isascii() and len(term) < 19:
            return queryset.filter(reference=term) | queryset.filter(employee_id=int(term)), False
        return queryset.filter(reference=term[:64]), False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = None
        if object_id.isdecimal() and len(object_id) < 19:
            found = Decision.objects.select_related("version__rule_set").filter(pk=object_id).first()
        if found is None:
            raise Http404
        employee = identity.get_employees(employee_ids=[found.employee_id]).get(found.employee_id)
        context = {
            **self.admin_site.each_context(request),
            "title": str(found),
            "opts": self.opts,
            "row": found,
            "name": action_text(found.action),
            "amount": yuan_display(found.amount_fen),
            "employee": employee,
            "reason": found.reason_zh if is_chinese() else found.reason_en,
            "took": self.took(found),
            "facts": [_shown_fact(name, value) for name, value in found.facts.items()],
            "reservation": Reservation.objects.filter(action=found.action, reference=found.reference).first(),
            "others": Decision.objects.filter(action=found.action, reference=found.reference).exclude(pk=found.pk)[:20],
        }
        return TemplateResponse(request, "admin/risk/decision.html", context)


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    """What counts towards limits."""

    list_display = ("created_at", "name", "state", "amount", "employee_id", "channel", "day", "reference", "ended_at")
    list_filter = ("action", "state", "day")
    search_fields = ("=reference",)
    ordering = ("-id",)
    list_per_page = 20
    fields = (
        "action", "reference", "state", "amount", "employee_id", "channel", "day", "decision", "created_at", "ended_at",
    )  # fmt: skip

    @admin.display(description=_("action"), ordering="action")
    def name(self, row: Reservation) -> str:
        return action_text(row.action)

    @admin.display(description=_("amount"), ordering="amount_fen")
    def amount(self, row: Reservation) -> SafeString:
        return _amount(row.amount_fen)


def _shown_fact(name: str, value: Any) -> dict[str, Any]:
    """A fact as it was, by the label it has now; amounts in yuan."""
    fact = get(name)
    label = (fact.label_zh if is_chinese() else fact.label_en) if fact else ""
    is_amount = fact is not None and fact.unit is Unit.FEN and type(value) is int
    return {"name": name, "label": label, "value": yuan_display(value) if is_amount else str(value)}

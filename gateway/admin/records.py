"""Routing decisions and calls to providers, for reading only."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from foundation.admin_base import ReadOnlyAdmin, search_link
from foundation.money import yuan_display
from gateway.models import CallRecord, RoutingDecision


@admin.register(RoutingDecision)
class RoutingDecisionAdmin(ReadOnlyAdmin):
    """Why a payment went to its channel, and why not to the others."""

    list_display = ("id", "order", "amount", "kind", "scene", "client_class", "is_named", "shown_chosen", "decided_at")
    list_filter = ("chosen", "kind", "client_class", "is_named")
    search_fields = ("=order_no",)
    search_help_text = _("Order number (exact)")
    ordering = ("-id",)
    list_per_page = 50
    readonly_fields = ("order", "amount", "shown_candidates", "shown_chosen")
    fields = (
        "order",
        "amount",
        "kind",
        "scene",
        "client_class",
        "is_named",
        "shown_candidates",
        "shown_chosen",
        "decided_at",
    )

    @admin.display(description=_("order"), ordering="order_no")
    def order(self, row: RoutingDecision) -> SafeString:
        return search_link("orders_orderindex", row.order_no)

    @admin.display(description=_("amount"), ordering="amount_fen")
    def amount(self, row: RoutingDecision) -> str:
        return yuan_display(row.amount_fen)

    @admin.display(description=_("chosen"), ordering="chosen")
    def shown_chosen(self, row: RoutingDecision) -> str:
        return row.chosen or str(_("refused"))

    @admin.display(description=_("candidates"))
    def shown_candidates(self, row: RoutingDecision) -> SafeString:
        lines = format_html_join(
            "",
            "<li>{}, {}: {}</li>",
            ((one["channel"], one["weight"], one["exclusion"] or _("possible")) for one in row.candidates),
        )
        return format_html("<ul>{}</ul>", lines)


@admin.register(CallRecord)
class CallRecordAdmin(ReadOnlyAdmin):
    """Every call of the last 90 days."""

    list_display = (
        "called_at",
        "channel",
        "operation",
        "shown_number",
        "outcome",
        "code",
        "milliseconds",
        "request_id",
    )
    list_filter = ("channel", "operation", "outcome")
    search_fields = ("=number",)
    search_help_text = _("Attempt, refund, payout or verification number (exact)")
    ordering = ("-id",)
    list_per_page = 50

    @admin.display(description=_("number"), ordering="number")
    def shown_number(self, row: CallRecord) -> SafeString:
        return search_link("orders_orderindex", row.number)

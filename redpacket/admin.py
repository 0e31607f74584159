"""Staff see everything of red packets and change nothing here."""

from __future__ import annotations

import datetime as dt

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from foundation import clock
from foundation.admin_base import ReadOnlyAdmin, change_link, search_link
from foundation.money import yuan_display
from identity.models import Enterprise
from redpacket.models import Reading, RedPacket, Settlement, Share
from redpacket.services import statistics


def _link(model: type[Model], text: str, **where: str | int) -> SafeString:
    """A link to the list of `model`, filtered."""
    address = reverse(f"admin:redpacket_{model._meta.model_name}_changelist")
    return format_html('<a href="{}?{}">{}</a>', address, urlencode(where), text)


ORDERS, EMPLOYEES, PACKETS = "orders_orderindex", "identity_employee", "redpacket_redpacket"
"""Pages of the admin that packets lead to."""
ENTERPRISES_PER_PAGE = 50
_YEARS = range(statistics.FIRST_YEAR, statistics.LAST_YEAR + 1)


def _month(text: str) -> dt.date:
    """The first day of "YYYY-MM"; of the present month for anything else."""
    try:
        month = dt.date.fromisoformat(f"{text}-01")
    except ValueError:
        month = dt.date.min
    return month if month.year in _YEARS else clock.business_date(clock.now()).replace(day=1)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18


def _shown(figures: statistics.EnterpriseFigures) -> dict[str, str | int]:
    return {
        "packets": figures.packets,
        "total": yuan_display(figures.total_fen),
        "returned": yuan_display(figures.returned_fen),
        "kept": yuan_display(figures.kept_fen),
    }


@admin.register(RedPacket)
class RedPacketAdmin(ReadOnlyAdmin):
    list_display = (
        "id", "kind", "state", "total", "count", "sender", "enterprise_id",
        "pay_source", "funding_order", "created_at", "expires_at", "refund_state",
    )  # fmt: skip
    fields = (
        "id", "kind", "state", "total", "count", "greeting", "cover", "article_url", "reading_seconds", "sender",
        "receiver", "enterprise_id", "group_id", "pay_source", "funding_order", "created_at", "opened_at", "expires_at",
        "closed_at", "rest", "refund_order", "refund_state", "claimed_count", "best_share", "concluded_at",
        "shares_link", "settlements_link",
    )  # fmt: skip
    list_filter = ("state", "kind", "pay_source", "refund_state", "created_at")
    search_fields = ("=id", "=funding_order_no", "=refund_no", "=sender_id", "=receiver_id", "=group_id")
    ordering = ("-id",)
    readonly_fields = (
        "total", "sender", "receiver", "funding_order", "rest", "refund_order", "best_share", "shares_link",
        "settlements_link",
    )  # fmt: skip
    change_list_template = "redpacket/admin_packets.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.statistics_view)
        return [path("statistics/", view, name="redpacket_redpacket_statistics"), *super().get_urls()]

    def statistics_view(self, request: HttpRequest) -> HttpResponse:
        """Totals of a month for each enterprise; with `enterprise` its days."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        month = _month(request.GET.get("month", ""))
        page = Paginator(Enterprise.objects.order_by("name", "id"), ENTERPRISES_PER_PAGE).get_page(
            request.GET.get("page")
        )
        totals = statistics.read_enterprise_totals(enterprise_ids=[one.pk for one in page], month=month)
        nothing = statistics.EnterpriseFigures()
        wanted = request.GET.get("enterprise", "")
        chosen = Enterprise.objects.filter(pk=int(wanted)).first() if _is_number(wanted) else None
        days = statistics.read_enterprise_days(enterprise_id=chosen.pk, month=month) if chosen else {}
        context = {
            **self.admin_site.each_context(request),
            "title": f"Red packets of {month:%Y-%m}",
            "opts": self.model._meta,
            "month": f"{month:%Y-%m}",
            "page": page,
            "rows": [(one, _shown(totals.get(one.pk, nothing))) for one in page],
            "chosen": chosen,
            "days": [(day, _shown(figures)) for day, figures in days.items()],
            "sum": _shown(sum(days.values(), nothing)),
        }
        return TemplateResponse(request, "redpacket/admin_statistics.html", context)

    @admin.display(description=_("best luck"))
    def best_share(self, packet: RedPacket) -> SafeString:
        return change_link("redpacket_share", packet.best_share_id)

    @admin.display(description=_("sender"), ordering="sender_id")
    def sender(self, packet: RedPacket) -> SafeString:
        return change_link(EMPLOYEES, packet.sender_id)

    @admin.display(description=_("receiver"))
    def receiver(self, packet: RedPacket) -> SafeString:
        return change_link(EMPLOYEES, packet.receiver_id)

    @admin.display(description=_("funding order"), ordering="funding_order_no")
    def funding_order(self, packet: RedPacket) -> SafeString:
        return search_link(ORDERS, packet.funding_order_no)

    @admin.display(description=_("refund order"))
    def refund_order(self, packet: RedPacket) -> SafeString:
        return search_link(ORDERS, packet.refund_no)

    @admin.display(description=_("rest"))
    def rest(self, packet: RedPacket) -> str:
        return "" if packet.rest_fen is None else yuan_display(packet.rest_fen)

    @admin.display(description=_("total"), ordering="total_fen")
    def total(self, packet: RedPacket) -> str:
        return yuan_display(packet.total_fen)

    @admin.display(description=_("shares"))
    def shares_link(self, packet: RedPacket) -> SafeString:
        return _link(Share, f"{packet.count} shares", packet__id__exact=packet.pk)

    @admin.display(description=_("settlements"))
    def settlements_link(self, packet: RedPacket) -> SafeString:
        return _link(Settlement, "settlement batches", packet__id__exact=packet.pk)


@admin.register(Share)
class ShareAdmin(ReadOnlyAdmin):
    list_display = (
        "packet_link", "share_no", "amount", "receiver", "claimed_at", "receipt", "settlement", "settled_at",
    )  # fmt: skip
    fields = list_display
    readonly_fields = ("packet_link", "amount", "receiver", "receipt")
    list_filter = ("claimed_at", "settled_at")
    search_fields = ("=packet__id", "=receipt_no", "=receiver_id")
    list_select_related = ("settlement",)
    ordering = ("-id",)

    @admin.display(description=_("amount"), ordering="amount_fen")
    def amount(self, share: Share) -> str:
        return yuan_display(share.amount_fen)

    @admin.display(description=_("packet"), ordering="packet")
    def packet_link(self, share: Share) -> SafeString:
        return change_link(PACKETS, share.packet_id)

    @admin.display(description=_("receiver"), ordering="receiver_id")
    def receiver(self, share: Share) -> SafeString:
        return change_link(EMPLOYEES, share.receiver_id)

    @admin.display(description=_("receipt"))
    def receipt(self, share: Share) -> SafeString:
        return search_link(ORDERS, share.receipt_no)


@admin.register(Settlement)
class SettlementAdmin(ReadOnlyAdmin):
    list_display = (
        "packet_link", "batch_no", "state", "share_count", "total", "tries", "created_at", "posted_at", "shares_link",
    )  # fmt: skip
    list_filter = ("state", "created_at")
    search_fields = ("=packet__id",)
    ordering = ("-id",)
    readonly_fields = ("shares_link",)

    @admin.display(description=_("total"), ordering="total_fen")
    def total(self, settlement: Settlement) -> str:
        return yuan_display(settlement.total_fen)

    @admin.display(description=_("packet"), ordering="packet")
    def packet_link(self, settlement: Settlement) -> SafeString:
        return change_link(PACKETS, settlement.packet_id)

    @admin.display(description=_("shares"))
    def shares_link(self, settlement: Settlement) -> SafeString:
        return _link(Share, f"{settlement.share_count} shares", settlement__id__exact=settlement.pk)


@admin.register(Reading)
class ReadingAdmin(ReadOnlyAdmin):
    """Who reads, or has read, the article of a packet."""

    list_display = ("packet_link", "reader", "started_at", "finished_at")
    fields = list_display
    readonly_fields = ("packet_link", "reader")
    list_filter = ("started_at",)
    search_fields = ("=packet__id", "=employee_id")
    ordering = ("-id",)

    @admin.display(description=_("packet"), ordering="packet")
    def packet_link(self, reading: Reading) -> SafeString:
        return change_link(PACKETS, reading.packet_id)

    @admin.display(description=_("reader"), ordering="employee_id")
    def reader(self, reading: Reading) -> SafeString:
        return change_link(EMPLOYEES, reading.employee_id)

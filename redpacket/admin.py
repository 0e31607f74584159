"""Staff see everything of red packets and change nothing here."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from foundation.admin import ReadOnlyAdmin, change_link, search_link
from foundation.money import yuan_display
from redpacket.models import RedPacket, Settlement, Share


def _link(model: type[Model], text: str, **where: str | int) -> SafeString:
    """A link to the list of `model`, filtered."""
    address = reverse(f"admin:redpacket_{model._meta.model_name}_changelist")
    return format_html('<a href="{}?{}">{}</a>', address, urlencode(where), text)


ORDERS, EMPLOYEES, PACKETS = "orders_orderindex", "identity_employee", "redpacket_redpacket"
"""Pages of the admin that packets lead to."""


@admin.register(RedPacket)
class RedPacketAdmin(ReadOnlyAdmin):
    list_display = (
        "id", "kind", "state", "total", "count", "sender", "enterprise_id",
        "pay_source", "funding_order", "created_at", "expires_at", "refund_state",
    )  # fmt: skip
    fields = (
        "id", "kind", "state", "total", "count", "greeting", "sender", "receiver", "enterprise_id", "group_id",
        "pay_source", "funding_order", "created_at", "opened_at", "expires_at", "closed_at", "rest", "refund_order",
        "refund_state", "shares_link", "settlements_link",
    )  # fmt: skip
    list_filter = ("state", "kind", "pay_source", "refund_state", "created_at")
    search_fields = ("=id", "=funding_order_no", "=refund_no", "=sender_id", "=receiver_id", "=group_id")
    ordering = ("-id",)
    readonly_fields = (
        "total", "sender", "receiver", "funding_order", "rest", "refund_order", "shares_link", "settlements_link",
    )  # fmt: skip

    @admin.display(description="sender", ordering="sender_id")
    def sender(self, packet: RedPacket) -> SafeString:
        return change_link(EMPLOYEES, packet.sender_id)

    @admin.display(description="receiver")
    def receiver(self, packet: RedPacket) -> SafeString:
        return change_link(EMPLOYEES, packet.receiver_id)

    @admin.display(description="funding order", ordering="funding_order_no")
    def funding_order(self, packet: RedPacket) -> SafeString:
        return search_link(ORDERS, packet.funding_order_no)

    @admin.display(description="refund order")
    def refund_order(self, packet: RedPacket) -> SafeString:
        return search_link(ORDERS, packet.refund_no)

    @admin.display(description="rest")
    def rest(self, packet: RedPacket) -> str:
        return "" if packet.rest_fen is None else yuan_display(packet.rest_fen)

    @admin.display(description="total", ordering="total_fen")
    def total(self, packet: RedPacket) -> str:
        return yuan_display(packet.total_fen)

    @admin.display(description="shares")
    def shares_link(self, packet: RedPacket) -> SafeString:
        return _link(Share, f"{packet.count} shares", packet__id__exact=packet.pk)

    @admin.display(description="settlements")
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

    @admin.display(description="amount", ordering="amount_fen")
    def amount(self, share: Share) -> str:
        return yuan_display(share.amount_fen)

    @admin.display(description="packet", ordering="packet")
    def packet_link(self, share: Share) -> SafeString:
        return change_link(PACKETS, share.packet_id)

    @admin.display(description="receiver", ordering="receiver_id")
    def receiver(self, share: Share) -> SafeString:
        return change_link(EMPLOYEES, share.receiver_id)

    @admin.display(description="receipt")
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

    @admin.display(description="total", ordering="total_fen")
    def total(self, settlement: Settlement) -> str:
        return yuan_display(settlement.total_fen)

    @admin.display(description="packet", ordering="packet")
    def packet_link(self, settlement: Settlement) -> SafeString:
        return change_link(PACKETS, settlement.packet_id)

    @admin.display(description="shares")
    def shares_link(self, settlement: Settlement) -> SafeString:
        return _link(Share, f"{settlement.share_count} shares", settlement__id__exact=settlement.pk)

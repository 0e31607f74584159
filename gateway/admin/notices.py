"""The notices, for reading only."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from foundation.admin_base import ReadOnlyAdmin, search_link
from gateway.models import Notice


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    """Every notice with its raw content and what became of it."""

    list_display = ["id", "channel", "kind", "order", "state", "times_received", "received_at", "note"]
    list_filter = ["channel", "state", "kind"]
    search_fields = ["number", "event_key", "digest"]
    ordering = ["-id"]
    readonly_fields = ["body_text", "order"]
    fields = [
        "id",
        "channel",
        "method",
        "path",
        "headers",
        "body_text",
        "digest",
        "event_key",
        "kind",
        "order",
        "state",
        "times_received",
        "note",
        "received_at",
        "last_received_at",
        "processed_at",
    ]

    @admin.display(description=_("number"), ordering="number")
    def order(self, notice: Notice) -> SafeString:
        return search_link("orders_orderindex", notice.number)

    @admin.display(description=_("body"))
    def body_text(self, notice: Notice) -> str:
        """The raw body as text; bytes that are no UTF-8 are shown escaped."""
        return bytes(notice.body).decode("utf-8", "backslashreplace")

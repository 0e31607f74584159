"""The notices, for reading only."""

from __future__ import annotations

from django.contrib import admin

from foundation.admin import ReadOnlyAdmin
from gateway.models import Notice


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    """Every notice with its raw content and what became of it."""

    list_display = ["id", "channel", "kind", "number", "state", "times_received", "received_at", "note"]
    list_filter = ["channel", "state", "kind"]
    search_fields = ["number", "event_key", "digest"]
    ordering = ["-id"]
    readonly_fields = ["body_text"]
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
        "number",
        "state",
        "times_received",
        "note",
        "received_at",
        "last_received_at",
        "processed_at",
    ]

    @admin.display(description="body")
    def body_text(self, notice: Notice) -> str:
        """The raw body as text; bytes that are no UTF-8 are shown escaped."""
        return bytes(notice.body).decode("utf-8", "backslashreplace")

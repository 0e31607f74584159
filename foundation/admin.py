"""Operations in the admin: what runs, what waits, what went wrong. Nothing of it is changed here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from foundation.db import roles
from foundation.models import Alert, IdempotencyRecord, JobLock, JobRun, NodeLease, OutboxEvent


def search_link(page: str, text: str) -> SafeString:
    """A link from a number to the list `page` (such as "orders_orderindex") that finds it; empty for no number."""
    if not text:
        return SafeString("")
    return format_html('<a href="{}?q={}">{}</a>', reverse(f"admin:{page}_changelist"), text, text)


def change_link(page: str, key: object, text: object = None) -> SafeString:
    """A link to the page of one row; empty without a key."""
    if key is None or key == "":
        return SafeString("")
    address = reverse(f"admin:{page}_change", args=[key])
    return format_html('<a href="{}">{}</a>', address, key if text is None else text)


class ReadOnlyAdmin(admin.ModelAdmin):
    """To be looked at by staff with the view permission; nothing can be added, changed or deleted, by nobody."""

    actions = None
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class DatabaseFilter(admin.SimpleListFilter):
    """Which database's outbox is shown."""

    title = "database"
    parameter_name = "database"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(alias, alias) for alias in roles.all_aliases()]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.using(self.value()) if self.value() in roles.all_aliases() else queryset


class WaitingFilter(admin.SimpleListFilter):
    title = "delivery"
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "waiting"), ("no", "delivered")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() in ("yes", "no"):
            return queryset.filter(done_at__isnull=self.value() == "yes")
        return queryset


@admin.register(OutboxEvent)
class OutboxEventAdmin(ReadOnlyAdmin):
    """The outbox of one database at a time (filter on the right); pages of a row carry the database in the address."""

    list_display = ("id", "topic", "key", "tries", "created_at", "next_at", "done_at")
    list_filter = (DatabaseFilter, WaitingFilter, "topic")
    search_fields = ("=key",)
    search_help_text = "Order, refund or attempt number (exact)"
    ordering = ("-id",)
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxEvent]:
        return super().get_queryset(request).using(self._alias(request))

    @staticmethod
    def _alias(request: HttpRequest) -> str:
        wanted = request.GET.get("database", "")
        if not wanted and "_changelist_filters" in request.GET:
            filters = request.GET["_changelist_filters"].split("&")
            wanted = next((part.partition("=")[2] for part in filters if part.startswith("database=")), "")
        return wanted if wanted in roles.all_aliases() else roles.alias_for("funds")


@admin.register(JobRun)
class JobRunAdmin(ReadOnlyAdmin):
    list_display = ("name", "state", "started_at", "duration_ms", "report")
    list_filter = ("state", "name")
    ordering = ("-id",)
    list_per_page = 50


@admin.register(JobLock)
class JobLockAdmin(ReadOnlyAdmin):
    list_display = ("name", "holder", "locked_until")


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ("last_at", "severity", "code", "subject", "times", "message")
    list_filter = ("severity", "code")
    search_fields = ("=subject",)
    ordering = ("-last_at",)
    list_per_page = 50


@admin.register(IdempotencyRecord)
class IdempotencyRecordAdmin(ReadOnlyAdmin):
    list_display = ("caller", "key", "endpoint", "state", "response_status", "reserved_no", "created_at")
    list_filter = ("state",)
    search_fields = ("=reserved_no", "=key")
    ordering = ("-id",)
    list_per_page = 50


@admin.register(NodeLease)
class NodeLeaseAdmin(ReadOnlyAdmin):
    list_display = ("node_id", "holder", "fence", "leased_until")

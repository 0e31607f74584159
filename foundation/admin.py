"""Operations in the admin: what runs, what waits, what went wrong. Nothing of it is changed here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

from foundation import admin_limits as admin_limits  # registers its pages
from foundation import clock, notifications
from foundation.admin_base import ReadOnlyAdmin as ReadOnlyAdmin
from foundation.admin_base import change_link as change_link
from foundation.admin_base import search_link as search_link
from foundation.db import roles
from foundation.models import (
    Alert,
    Attachment,
    AuditEntry,
    AuditSeal,
    IdempotencyRecord,
    JobLock,
    JobRun,
    NodeLease,
    OutboxEvent,
    StaffNotice,
)


class DatabaseFilter(admin.SimpleListFilter):
    """Which database's outbox is shown."""

    title = _("database")
    parameter_name = "database"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(alias, alias) for alias in roles.all_aliases()]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.using(self.value()) if self.value() in roles.all_aliases() else queryset


class WaitingFilter(admin.SimpleListFilter):
    title = _("delivery")
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("waiting")), ("no", _("delivered"))]

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
    search_help_text = _("Order, refund or attempt number (exact)")
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


@admin.register(Attachment)
class AttachmentAdmin(ReadOnlyAdmin):
    """Which files are kept. They are handed out only where they belong to something, by its permission."""

    list_display = ("id", "name", "content_type", "size_bytes", "stored_at", "digest")
    list_filter = ("content_type",)
    search_fields = ("=digest", "name")
    ordering = ("-id",)
    list_per_page = 50


@admin.register(StaffNotice)
class StaffNoticeAdmin(ReadOnlyAdmin):
    """Each member of staff sees his own notices, without any permission, and nobody else's. Opening one reads it."""

    list_display = ("shown_title", "created_at", "read_at")
    list_filter = ("created_at",)
    ordering = ("-id",)
    list_per_page = 50

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(request.user.is_active and request.user.is_staff)

    def get_queryset(self, request: HttpRequest) -> QuerySet[StaffNotice]:
        return super().get_queryset(request).filter(recipient_id=request.user.pk)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.read_all_view)
        return [path("read-all/", view, name="foundation_staffnotice_read_all"), *super().get_urls()]

    @admin.display(description=_("notice"))
    def shown_title(self, notice: StaffNotice) -> SafeString:
        title = notice.title_zh if (get_language() or "").startswith("zh") else notice.title_en
        return format_html("{}" if notice.read_at else "<strong>{}</strong>", title)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        unread = notifications.count_unread(recipient_id=int(request.user.pk or 0))
        title = gettext("Notices for me: %s unread") % unread
        return super().changelist_view(request, {**(extra_context or {}), "title": title, "unread_notices": unread})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Marks the notice as read and leads to what it is about."""
        notice = self.get_object(request, object_id) if self.has_view_permission(request) else None
        target = reverse("admin:foundation_staffnotice_changelist")
        if notice is not None:
            notifications.mark_read(recipient_id=notice.recipient_id, notice_id=notice.pk, now=clock.now())
            if url_has_allowed_host_and_scheme(notice.link, allowed_hosts=None):
                target = notice.link
        return HttpResponseRedirect(target)

    def read_all_view(self, request: HttpRequest) -> HttpResponse:
        """Marks all of one's own as read."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        notifications.mark_read(recipient_id=int(request.user.pk or 0), now=clock.now())
        return HttpResponseRedirect(reverse("admin:foundation_staffnotice_changelist"))


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who did what. Searched by exact number; one object's trail is `?object_type=…&object_key=…`."""

    list_display = ("id", "happened_at", "actor_name", "action", "object_type", "object_key", "reason", "address")
    list_filter = ("action", "object_type")
    search_fields = ("=object_key", "=actor_name", "=request_id", "=address")
    search_help_text = _("Exact: object, member of staff, request or address")
    ordering = ("-id",)
    list_per_page = 20

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup in ("object_key", "actor_id") or super().lookup_allowed(lookup, value, request)


@admin.register(AuditSeal)
class AuditSealAdmin(ReadOnlyAdmin):
    list_display = ("number", "first_id", "last_id", "key_id", "sealed_at")
    fields = ("number", "first_id", "last_id", "previous_mac", "mac", "key_id", "sealed_at")
    ordering = ("-number",)
    list_per_page = 20

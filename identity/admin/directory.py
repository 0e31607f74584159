"""Enterprises, employees, groups and log-ins in the admin. Passwords and tokens are never shown."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from foundation import crypto
from foundation.admin_base import ModelAdmin, ReadOnlyAdmin, TabularInline
from foundation.admin_reveal import RevealAdmin
from identity.models import MESSAGE_COLUMN, AccessToken, Employee, Enterprise, Group, GroupMember, ShortMessage


class NeverDeleted(ModelAdmin):
    """Directory data is changed by staff with the permission; what money points at is never deleted."""

    actions = None
    list_per_page = 50

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Enterprise)
class EnterpriseAdmin(NeverDeleted):
    list_display = ("id", "code", "name")
    search_fields = ("code", "name")


@admin.register(Employee)
class EmployeeAdmin(RevealAdmin, NeverDeleted):
    revealed = (("phone", _("phone")),)
    list_display = ("id", "code", "name", "enterprise", "is_active", "last_login_at")
    list_filter = ("enterprise", "is_active")
    search_fields = ("=id", "code", "name")
    fields = ("enterprise", "code", "name", "is_active", "last_login_at")
    readonly_fields = ("enterprise", "code", "last_login_at")
    list_select_related = ("enterprise",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


class MemberInline(TabularInline):
    model = GroupMember
    extra = 0
    fields = ("employee",)
    readonly_fields = ("employee",)
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Group)
class GroupAdmin(NeverDeleted):
    list_display = ("id", "name", "enterprise", "created_at")
    search_fields = ("=id", "name")
    fields = ("id", "enterprise", "name", "created_at")
    readonly_fields = ("id", "enterprise", "created_at")
    inlines = (MemberInline,)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(AccessToken)
class AccessTokenAdmin(ReadOnlyAdmin):
    list_display = ("id", "employee", "created_at", "expires_at", "revoked_at")
    search_fields = ("=employee__code",)
    fields = ("employee", "created_at", "expires_at", "revoked_at")
    list_select_related = ("employee",)


@admin.register(ShortMessage)
class ShortMessageAdmin(ReadOnlyAdmin):
    """Outbox of short messages. Texts are here only where no message service is set up (development)."""

    list_display = ("created_at", "phone_masked", "purpose", "state", "shown_text")
    list_filter = ("state", "purpose")
    fields = ("created_at", "phone_masked", "purpose", "state", "shown_text")
    list_per_page = 50

    @admin.display(description=_("text"))
    def shown_text(self, message: ShortMessage) -> str:
        return crypto.decrypt(message.text, column=MESSAGE_COLUMN) if message.text else ""

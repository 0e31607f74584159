"""Staff: which employee one is himself; his one-time codes, asked for after the password and set up on a page here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django_otp
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.utils.safestring import mark_safe
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django_otp.plugins.otp_static import admin as static_admin  # noqa: F401 - registers what is taken out below
from django_otp.plugins.otp_static.models import StaticDevice

from foundation import clock
from foundation.admin_base import ModelAdmin, ReadOnlyAdmin
from foundation.errors import PaysysError
from identity.models import Authenticator, StaffProfile
from identity.services import staff_codes

# The library's own page shows codes and lets them be typed.
admin.site.unregister(StaticDevice)

OPEN_PAGES = ("staff_code", "staff_enrol", "admin:login", "admin:logout", "admin:jsi18n")


@admin.register(StaffProfile)
class StaffProfileAdmin(ModelAdmin):
    """Superusers say who is which employee; nobody says it of himself alone and unseen: the admin logs each change."""

    actions = None
    list_display = ("user", "employee")
    list_select_related = ("user", "employee")
    search_fields = ("user__username",)
    raw_id_fields = ("employee",)
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: StaffProfile | None = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: StaffProfile | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: StaffProfile | None = None) -> tuple[str, ...]:
        return ("user",) if obj is not None else ()


@admin.register(Authenticator)
class AuthenticatorAdmin(ReadOnlyAdmin):
    """Who has an authenticator. A lost one is removed by a superuser; its owner then sets up another."""

    list_display = ("user", "name", "confirmed", "created_at", "last_used_at")
    list_select_related = ("user",)
    fields = ("user", "name", "confirmed", "created_at", "last_used_at")
    search_fields = ("user__username",)
    list_per_page = 50

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(request.user.is_superuser)


class StaffCodeMiddleware:
    """No page of the admin before the code: who has a device types one, who must have one sets it up first.

    Behind django-otp's middleware, which says whether this session was verified by a device that still exists.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        target = self._detour(request) if request.path.startswith(reverse("admin:index")) else None
        if target is None:
            return self.get_response(request)
        query = urlencode({"next": request.get_full_path()}) if request.method == "GET" else ""
        return HttpResponseRedirect(f"{target}?{query}" if query else target)

    @staticmethod
    def _detour(request: HttpRequest) -> str | None:
        if request.path in {reverse(name) for name in OPEN_PAGES}:
            return None
        user: Any = request.user
        if not user.is_authenticated or user.is_verified():
            return None
        if staff_codes.has_device(user_id=user.pk):
            return reverse("staff_code")
        return reverse("staff_enrol") if settings.STAFF_CODES == "required" else None


def _may_come(request: HttpRequest) -> bool:
    user: Any = request.user
    return bool(user.is_active and user.is_staff)


def _next(request: HttpRequest) -> str:
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    is_ours = url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()}, require_https=False)
    return wanted if is_ours and wanted.startswith(reverse("admin:index")) else reverse("admin:index")


def _text(error: PaysysError) -> str:
    seconds = error.details.get("retry_after_seconds")
    text = error.message(get_language() or "en")
    return f"{text} ({seconds} s)" if seconds else text


@csrf_protect
@never_cache
def code_view(request: HttpRequest) -> HttpResponse:
    """After the password: the code."""
    if not _may_come(request):
        return HttpResponseRedirect(reverse("admin:login"))
    user: Any = request.user
    if user.is_verified():
        return HttpResponseRedirect(_next(request))
    if not staff_codes.has_device(user_id=user.pk):
        return HttpResponseRedirect(reverse("staff_enrol"))
    if request.method == "POST":
        try:
            device = staff_codes.accept(user=user, code=request.POST.get("code", "")[:64], now=clock.now())
        except PaysysError as error:
            messages.error(request, _text(error))
        else:
            request.session.cycle_key()
            django_otp.login(request, device)
            return HttpResponseRedirect(_next(request))
    return _page(request, "code.html", _("One-time code"), {"next": _next(request)})


@csrf_protect
@never_cache
def enrol_view(request: HttpRequest) -> HttpResponse:
    """Sets up an authenticator: QR and secret until the first right code, then the recovery codes, once."""
    if not _may_come(request):
        return HttpResponseRedirect(reverse("admin:login"))
    user: Any = request.user
    if staff_codes.has_device(user_id=user.pk):
        if not user.is_verified():
            return HttpResponseRedirect(reverse("staff_code"))
        messages.info(request, gettext("You have an authenticator already. A superuser can remove a lost one."))
        return HttpResponseRedirect(reverse("admin:index"))
    if request.method == "POST":
        try:
            device, codes = staff_codes.confirm(user=user, code=request.POST.get("code", "")[:64], now=clock.now())
        except PaysysError as error:
            messages.error(request, _text(error))
        else:
            request.session.cycle_key()
            django_otp.login(request, device)
            return _page(request, "recovery.html", _("Recovery codes"), {"codes": codes})
    waiting = staff_codes.start(user=user)
    # An image that we draw ourselves.
    qr = mark_safe(staff_codes.qr_of(waiting))  # noqa: S308 # nosec
    shown = {"qr": qr, "secret": staff_codes.secret_of(waiting)}
    return _page(request, "enrol.html", _("Set up one-time codes"), shown)


def _page(request: HttpRequest, name: str, title: Any, more: dict[str, Any]) -> HttpResponse:
    """Without the navigation: who stands here may see nothing else yet."""
    context = {
        **admin.site.each_context(request),
        "title": title,
        "is_nav_sidebar_enabled": False,
        "available_apps": [],
        **more,
    }
    return TemplateResponse(request, f"admin/identity/{name}", context)


__all__ = [
    "AuthenticatorAdmin",
    "StaffCodeMiddleware",
    "StaffProfileAdmin",
    "code_view",
    "enrol_view",
]

"""Receiving accounts in the admin: what waits first, and one page for each step. Nothing changes but by the services.

Where money goes is decided by two people and, where it begins to flow, with a one-time code: approving and taking into
use. That the second person is another one, the services and the database say to everybody, superusers too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Case, IntegerField, Value, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from collect.admin.words import actor_names, error_text, staff_id, when
from collect.domain import states
from collect.domain.states import BINDING_MOVES, BindingState
from collect.models import Binding
from collect.services import binding
from foundation import clock
from foundation.admin_base import ReadOnlyAdmin
from foundation.errors import PaysysError
from identity.services import staff_codes

CHANGE = "admin:collect_binding_change"
VERIFY, APPROVE, SWITCH = "collect.verify_binding", "collect.approve_binding", "collect.switch_binding"
STEPS: dict[str, tuple[BindingState, tuple[str, ...], Any]] = {
    "verify": (BindingState.VERIFIED, (VERIFY,), _("Verify")),
    "approve": (BindingState.APPROVED, (APPROVE,), _("Approve")),
    "reject": (BindingState.REJECTED, (VERIFY, APPROVE), _("Reject")),
    "activate": (BindingState.ACTIVE, (SWITCH,), _("Take into use")),
    "disable": (BindingState.DISABLED, (SWITCH,), _("Take out of use")),
}
"""Step → the state it leads to, the permissions of which one is needed, what its button says."""
WITH_NOTE, WITH_CODE = ("verify", "reject", "disable"), ("approve", "activate")
PENDING_FIRST = Case(
    When(state__in=[BindingState.DRAFT.value, BindingState.VERIFIED.value], then=Value(0)),
    default=Value(1),
    output_field=IntegerField(),
).asc()


@admin.register(Binding)
class BindingAdmin(ReadOnlyAdmin):
    """List, page and steps; see the module."""

    list_display = ("display_name", "enterprise", "channel", "sub_merchant_no", "state_text", "created_at")
    list_filter = ("state", "channel")
    list_select_related = ("enterprise",)
    search_fields = ("=id", "=sub_merchant_no", "=enterprise__code", "display_name")
    search_help_text = _("Sub-merchant number or enterprise's code (exact), or words of the name")
    ordering = (PENDING_FIRST, "-created_at", "-id")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [path(f"<str:key>/{name}/", wrap(self._view_of(name)), name=f"collect_binding_{name}") for name in STEPS]
        return [*own, *super().get_urls()]

    @admin.display(description=_("state"), ordering="state")
    def state_text(self, row: Binding) -> SafeString | str:
        is_waiting = row.state in (BindingState.DRAFT, BindingState.VERIFIED)
        return format_html("<strong>{}</strong>", row.state) if is_waiting else row.state

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self._row(request, object_id)
        return TemplateResponse(request, "admin/collect/binding.html", self._context(request, row, str(row)))

    def _row(self, request: HttpRequest, key: str) -> Binding:
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = Binding.objects.select_related("enterprise", "made_by", "made_by_employee", "verified_by", "approved_by")
        found = rows.filter(pk=key[:32]).first() if key.isascii() else None
        if found is None:
            raise Http404
        return found

    def _context(self, request: HttpRequest, row: Binding, title: str) -> dict[str, Any]:
        events = list(row.events.order_by("id"))
        names = actor_names(event.actor for event in events)
        is_own = binding.is_maker(row, user_id=staff_id(request))
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "row": row,
            "maker": row.made_by or row.made_by_employee,
            "events": [{"event": event, "who": names[event.actor], "at": when(event.happened_at)} for event in events],
            "steps": [
                {"name": name, "label": label, "url": reverse(f"admin:collect_binding_{name}", args=[row.pk])}
                for name, (_target, _permissions, label) in STEPS.items()
                if _may(request, name) and _is_next(row, name) and not (name == "approve" and is_own)
            ],
            "is_own": is_own and row.state == BindingState.VERIFIED,
        }

    def _view_of(self, name: str) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest, key: str) -> HttpResponse:
            return self._step(request, key, name)

        return view

    def _step(self, request: HttpRequest, key: str, name: str) -> HttpResponse:
        """GET asks, POST makes one call and leads back; a refusal is said on the page and nothing has moved."""
        if not _may(request, name):
            raise PermissionDenied
        row = self._row(request, key)
        back = reverse(CHANGE, args=[row.pk])
        note = request.POST.get("note", "")[:500]
        if request.method == "POST":
            try:
                row = _do(request, row, name, note)
            except PaysysError as error:
                messages.error(request, error_text(error))
                row = self._row(request, key)
            else:
                messages.success(request, gettext("%(name)s is %(state)s.") % {"name": row, "state": row.state})
                return HttpResponseRedirect(back)
        if not _is_next(row, name):
            return HttpResponseRedirect(back)
        label = STEPS[name][2]
        context = self._context(request, row, f"{label}: {row}")
        context |= {"step": name, "label": label, "note": note, "back": back}
        context |= {"with_note": name in WITH_NOTE, "with_code": name in WITH_CODE, "minimum": binding.NOTE_MIN_LENGTH}
        return TemplateResponse(request, "admin/collect/binding_step.html", context)


def _may(request: HttpRequest, name: str) -> bool:
    return any(request.user.has_perm(permission) for permission in STEPS[name][1])


def _is_next(row: Binding, name: str) -> bool:
    return BindingState(row.state) in states.sources(BINDING_MOVES, STEPS[name][0])


def _do(request: HttpRequest, row: Binding, name: str, note: str) -> Binding:
    """One call of the service. Raises what it raises, and for the steps with a code what staff_codes.verify does."""
    user: Any = request.user
    now, me = clock.now(), staff_id(request)
    if name in WITH_CODE:
        staff_codes.verify(user=user, code=request.POST.get("code", "")[:64], now=now)
    if name == "verify":
        return binding.verify(binding_id=row.pk, user_id=me, evidence=note, now=now)
    if name == "approve":
        return binding.approve(binding_id=row.pk, user_id=me, now=now)
    if name == "reject":
        return binding.reject(binding_id=row.pk, user_id=me, reason=note, now=now)
    if name == "activate":
        return binding.activate(binding_id=row.pk, actor=f"staff:{me}", now=now)
    return binding.disable(binding_id=row.pk, actor=f"staff:{me}", reason=note, now=now)

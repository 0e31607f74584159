"""What the CRM was told of collections, and telling it again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from collect.admin.words import error_text, staff_id
from collect.domain import states
from collect.domain.states import CRM_MOVES, CrmState
from collect.models import CrmRecord
from collect.services import crm
from foundation import clock
from foundation.admin_base import ReadOnlyAdmin, change_link
from foundation.errors import PaysysError

REPLAY = "collect.replay_crmrecord"
REASON_MIN_LENGTH = 5
REPLAYABLE = states.sources(CRM_MOVES, CrmState.WAITING)


@admin.register(CrmRecord)
class CrmRecordAdmin(ReadOnlyAdmin):
    """Dead ones first are found by the filter; a replay sends the same record under the same number again."""

    list_display = ("crm_order_no", "collection_link", "state_text", "tries", "created_at", "next_at", "done_at")
    fields = (
        *("crm_order_no", "collection_link", "state", "tries", "last_error"),
        *("created_at", "next_at", "retry_until", "done_at"),
    )
    readonly_fields = ("collection_link",)
    list_filter = ("state",)
    search_fields = ("=crm_order_no", "=collection__id", "=collection__order_no")
    search_help_text = _("CRM order, collection or order number (exact)")
    ordering = ("-created_at",)
    change_form_template = "admin/collect/crmrecord.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.replay_view)
        return [path("<str:key>/replay/", view, name="collect_crmrecord_replay"), *super().get_urls()]

    @admin.display(description=_("collection"))
    def collection_link(self, row: CrmRecord) -> SafeString:
        return change_link("collect_collection", row.pk)

    @admin.display(description=_("state"), ordering="state")
    def state_text(self, row: CrmRecord) -> SafeString | str:
        return format_html("<strong>{}</strong>", row.state) if row.state == CrmState.DEAD else row.state

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        more: dict[str, Any] = {}
        rows = CrmRecord.objects.filter(pk=object_id[:16], state__in=[state.value for state in REPLAYABLE])
        if request.user.has_perm(REPLAY) and object_id.isascii() and rows.exists():
            address = reverse("admin:collect_crmrecord_replay", args=[object_id])
            more = {"replay_url": address, "minimum": REASON_MIN_LENGTH}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **more})

    def replay_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """One call of the service; a refusal is said on the record's page."""
        if not request.user.has_perm(REPLAY):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = CrmRecord.objects.filter(pk=key[:16]).first() if key.isascii() else None
        if row is None:
            raise Http404
        reason = request.POST.get("reason", "").strip()[:500]
        if len(reason) < REASON_MIN_LENGTH:
            messages.error(request, gettext("Give a reason of at least %s characters.") % REASON_MIN_LENGTH)
        else:
            try:
                row = crm.replay(
                    collection_id=row.pk, reason=reason, staff=f"staff:{staff_id(request)}", now=clock.now()
                )
            except PaysysError as error:
                messages.error(request, error_text(error))
            else:
                messages.success(request, gettext("%(name)s is %(state)s.") % {"name": row, "state": row.state})
        return HttpResponseRedirect(reverse("admin:collect_crmrecord_change", args=[row.pk]))

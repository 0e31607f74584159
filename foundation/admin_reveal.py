"""The page that shows closed data of one row in the clear: asked for with a reason, answered once, kept by nobody."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from foundation import clock, reveal
from foundation.admin_base import ModelAdmin
from foundation.errors import Rejected


class RevealAdmin(ModelAdmin):
    """Mixed into the admin of a model that has closed columns, before its other bases.

    `revealed`: (registered column, what it is called). A page of Django's own kind gets the link by itself; another one
    shows `reveal_address`, which is "" for who may not. Seeing the row and the permission are both needed.
    """

    revealed: ClassVar[tuple[tuple[str, Any], ...]] = ()

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.reveal_view)
        return [path("<path:object_id>/reveal/", view, name=self._page_name("reveal")), *super().get_urls()]

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        shown = [name for name in super().get_fields(request, obj) if name != "reveal_link"]
        return [*shown, "reveal_link"] if obj is not None and self.reveal_address(request, obj) else shown

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return [*super().get_readonly_fields(request, obj), "reveal_link"]

    def reveal_address(self, request: HttpRequest, row: Model) -> str:
        """Where the row's closed data is asked for; "" for who may not."""
        return self._address("reveal", row) if self._may_reveal(request, row) else ""

    @admin.display(description=_("closed data"))
    def reveal_link(self, row: Model) -> SafeString:
        return format_html('<a href="{}">{}</a>', self._address("reveal", row), gettext("Show in the clear…"))

    @sensitive_variables()
    def reveal_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """GET asks for the reason; a POST with one shows the data, after the audit row of it was committed."""
        if not self._may_reveal(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        names = dict(self.revealed)
        values, problem, status = [], "", 200
        if request.method == "POST":
            try:
                values = reveal.reveal(
                    row=row, fields=list(names), reason=request.POST.get("reason", ""), now=clock.now()
                )
            except Rejected as error:
                problem, status = error.message(get_language() or "en"), error.http_status
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Closed data of %s") % row,
            "opts": self.opts,
            "back": self._address("change", row),
            "labels": list(names.values()),
            "values": [(names[item.name], item.text) for item in values],
            "problem": problem,
            "typed_reason": request.POST.get("reason", "")[: reveal.MAX_REASON],
            "minimum": reveal.MIN_REASON,
            "maximum": reveal.MAX_REASON,
        }
        response = TemplateResponse(request, "admin/foundation/reveal.html", context, status=status)
        response["Cache-Control"] = "no-store"
        return response

    def _may_reveal(self, request: HttpRequest, row: Model | None = None) -> bool:
        return bool(request.user.has_perm(reveal.PERMISSION)) and self.has_view_permission(request, row)

    def _page_name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def _address(self, page: str, row: Model) -> str:
        return reverse(f"admin:{self._page_name(page)}", args=[quote(row.pk)])

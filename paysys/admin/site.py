"""The site itself."""

from __future__ import annotations

import time
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _
from unfold.sites import UnfoldAdminSite

from foundation.desk import Section
from foundation.money import yuan_display
from paysys.admin import board, searching

MAX_RESULTS = 100
APPS_ATTRIBUTE = "_desk_apps"
SECTIONS = {
    Section.WAITING: _("What waits for me"),
    Section.FLOW: _("Money"),
    Section.STATE: _("State"),
}


class DeskSite(UnfoldAdminSite):
    """The one admin site (`django.contrib.admin.site`)."""

    def extra_urls(self) -> list[URLPattern]:
        from paysys import order_cockpit  # imports models, the site is made before them

        ask = self.admin_view(order_cockpit.ask_view)
        return [
            path("stuck/", self.admin_view(self.stuck), name="desk_stuck"),
            path("orders/orderindex/<str:order_no>/ask/", ask, name="order_ask"),
        ]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Asked twice for each page, by Django and by the side bar: worked out once a request."""
        if app_label is not None:
            return super().get_app_list(request, app_label)
        kept: list[Any] | None = getattr(request, APPS_ATTRIBUTE, None)
        if kept is None:
            kept = super().get_app_list(request)
            setattr(request, APPS_ATTRIBUTE, kept)
        return kept

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The desk of this member of staff."""
        asking = board.asking_of(request)
        sections = [(SECTIONS[section], shown) for section, shown in board.read_tiles(asking)]
        context = {**self.each_context(request), "title": _("Desk"), "sections": sections, "now": asking.now}
        request.current_app = self.name
        return TemplateResponse(request, "admin/desk/index.html", {**context, **(extra_context or {})})

    def stuck(self, request: HttpRequest) -> HttpResponse:
        """Everything that is in no final state past its age, of what this member of staff may see."""
        asking = board.asking_of(request)
        rows = board.read_stuck(asking)
        known = [row for row in rows if row.found is not None]
        context = {
            **self.each_context(request),
            "title": _("Stuck money"),
            "rows": rows,
            "total": yuan_display(sum((row.found.amount_fen or 0) for row in known if row.found is not None)),
            "now": asking.now,
        }
        request.current_app = self.name
        return TemplateResponse(request, "admin/desk/stuck.html", context)

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """What Ctrl-K asks for, in the theme's shape. Never cached: permissions and numbers change at any moment."""
        started = time.monotonic()
        found = searching.search(request, request.GET.get("s", ""))
        if not request.GET.get("s", "").strip():
            return HttpResponse()
        name = "command_results" if "extended" in request.GET else "search_results"
        page = Paginator(found, MAX_RESULTS)
        return TemplateResponse(
            request,
            f"unfold/helpers/{name}.html",
            {
                "page_obj": page,
                "results": page.page(1),
                "page_counter": 0,
                "execution_time": time.monotonic() - started,
                "command_show_history": False,
            },
            headers={"HX-Trigger": "search"},
        )

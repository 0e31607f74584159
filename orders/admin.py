"""Orders in the admin: one list over the 16 tables, found by any number, one page per order; nothing can be changed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from foundation.admin import ReadOnlyAdmin
from foundation.errors import NotFound
from foundation.money import yuan_display
from orders import selectors
from orders.domain.records import OrderRecord
from orders.domain.states import OrderKind, OrderState
from orders.models import OrderIndex

LIST_LIMIT = 50


def _shown(order: OrderRecord) -> dict[str, Any]:
    return {
        "order": order,
        "amount": yuan_display(order.amount_fen),
        "refunded": yuan_display(order.refunded_fen),
        "refunding": yuan_display(order.refunding_fen),
        "attempts": [{"attempt": row, "amount": yuan_display(row.amount_fen)} for row in order.attempts],
    }


@admin.register(OrderIndex)
class OrderAdmin(ReadOnlyAdmin):
    """List and page are drawn from the selectors, so that a search reads every table once and nothing can be saved."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> None:
        """There is no table behind the model: delete and history pages find nothing and lead back."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        text = request.GET.get("q", "").strip()[:64]
        kind = request.GET.get("kind", "")
        state = request.GET.get("state", "")
        kind = kind if kind in {member.value for member in OrderKind} else ""
        state = state if state in {member.value for member in OrderState} else ""
        found = selectors.search(text=text, kind=kind, state=state, limit=LIST_LIMIT)
        context = {
            **self.admin_site.each_context(request),
            "title": "Orders",
            "opts": self.opts,
            "rows": [_shown(order) for order in found],
            "limit": LIST_LIMIT,
            "text": text,
            "kind": kind,
            "state": state,
            "kinds": [member.value for member in OrderKind],
            "states": [member.value for member in OrderState],
        }
        return TemplateResponse(request, "admin/orders/list.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            order = selectors.get_order(order_no=object_id)
        except NotFound as error:
            raise Http404 from error
        related = [row for row in selectors.search(text=object_id) if row.order_no != order.order_no]
        context = {
            **self.admin_site.each_context(request),
            "title": f"Order {order.order_no}",
            "opts": self.opts,
            **_shown(order),
            "is_redpacket": order.kind.startswith("REDPACKET"),
            "related": [_shown(row) for row in related],
        }
        return TemplateResponse(request, "admin/orders/page.html", context)

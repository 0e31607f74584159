"""Codes, collections and their statistics in the admin; who manages collecting in an enterprise."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from collect import selectors
from collect.admin import chart
from collect.admin.chart import Bar
from collect.admin.words import error_text, money, staff_id
from collect.domain import addresses
from collect.domain.states import CodeState
from collect.models import Code, Collection, Manager
from collect.selectors import By, Figures
from collect.services import codes
from foundation import clock
from foundation.admin_base import ModelAdmin, ReadOnlyAdmin, change_link, search_link
from foundation.errors import PaysysError
from foundation.money import yuan_display
from identity.models import Employee, Enterprise

ORDERS, EMPLOYEES, ENTERPRISES = "orders_orderindex", "identity_employee", "identity_enterprise"
BINDINGS, CODES, COLLECTIONS = "collect_binding", "collect_code", "collect_collection"
DISABLE, APPOINT = "collect.disable_code", "collect.appoint_manager"
FIRST_YEAR = 2020
SHOWN_LINES = 50
"""Of codes and of employees: the largest."""


@admin.register(Code)
class CodeAdmin(ReadOnlyAdmin):
    list_display = ("id", "enterprise", "employee", "kind", "amount", "subject", "state", "created_at", "expires_at")
    fields = (
        "id", "enterprise", "employee", "kind", "amount", "subject", "crm_order_no", "is_once", "state", "created_at",
        "expires_at", "ended_at", "page", "collections",
    )  # fmt: skip
    readonly_fields = ("amount", "page", "collections")
    list_filter = ("state", "kind", "is_once")
    list_select_related = ("enterprise", "employee")
    search_fields = ("=id", "=crm_order_no", "=enterprise__code")
    search_help_text = _("Code, CRM order or enterprise's code (exact)")
    ordering = ("-created_at", "-id")
    change_form_template = "admin/collect/code.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.disable_view)
        return [path("<str:key>/disable/", view, name="collect_code_disable"), *super().get_urls()]

    @admin.display(description=_("amount"), ordering="amount_fen")
    def amount(self, row: Code) -> SafeString:
        return money(row.amount_fen)

    @admin.display(description=_("payer's page"))
    def page(self, row: Code) -> SafeString:
        address, poster = addresses.page_path(row.pk), addresses.poster_path(row.pk)
        return format_html('<a href="{}">{}</a> <a href="{}">{}</a>', address, address, poster, gettext("poster"))

    @admin.display(description=_("collections"))
    def collections(self, row: Code) -> SafeString:
        return search_link(COLLECTIONS, row.pk)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        can = request.user.has_perm(DISABLE)
        is_active = can and object_id.isascii() and Code.objects.filter(pk=object_id[:16], state="ACTIVE").exists()
        more = {"disable_url": reverse("admin:collect_code_disable", args=[object_id])} if is_active else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **more})

    def disable_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """Ends the code: for risk control."""
        if not request.user.has_perm(DISABLE):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = Code.objects.filter(pk=key[:16]).first() if key.isascii() else None
        if row is None:
            raise Http404
        try:
            codes.disable_code(code_id=row.pk, enterprise_id=row.enterprise_id, now=clock.now())
        except PaysysError as error:
            messages.error(request, error_text(error))
        else:
            state = CodeState.DISABLED.value
            messages.success(request, gettext("%(name)s is %(state)s.") % {"name": row.pk, "state": state})
        return HttpResponseRedirect(reverse("admin:collect_code_change", args=[row.pk]))


@admin.register(Collection)
class CollectionAdmin(ReadOnlyAdmin):
    """Found by any number that somebody may have: of ours, of the provider, of the code, of the CRM."""

    list_display = (
        "id", "order", "channel", "amount", "refunded", "state", "code_link", "collector", "created_at", "paid_at",
    )  # fmt: skip
    fields = (
        "id", "order", "state", "amount", "refunded", "channel", "binding_link", "code_link", "enterprise",
        "collector", "attempt_no", "provider_no", "created_at", "expires_at", "paid_at", "ended_at", "crm",
    )  # fmt: skip
    readonly_fields = ("order", "amount", "refunded", "binding_link", "code_link", "enterprise", "collector", "crm")
    list_filter = ("state", "channel")
    search_fields = ("id",)  # what is typed is read in get_search_results
    search_help_text = _("Collection, order, attempt, provider's, code or CRM order number (exact)")
    ordering = ("-created_at", "-id")
    change_list_template = "admin/collect/collections.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.statistics_view)
        return [path("statistics/", view, name="collect_collection_statistics"), *super().get_urls()]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Collection], search_term: str
    ) -> tuple[QuerySet[Collection], bool]:
        """Exact numbers only, each by its index; anything that is none finds nothing."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if not term.isascii():
            return queryset.none(), False
        names = {"pk": 16, "order_no": 32, "attempt_no": 32, "provider_no": 64, "code_id": 16}
        wanted = Q(code__in=Code.objects.filter(crm_order_no=term[:64]).values("pk"))
        for name, longest in names.items():
            if len(term) <= longest:
                wanted |= Q(**{name: term})
        keys = [
            key
            for part in wanted.children
            for key in Collection.objects.filter(part).order_by("-created_at").values_list("pk", flat=True)[:1000]
        ]
        return queryset.filter(pk__in=keys), False

    @admin.display(description=_("order"))
    def order(self, row: Collection) -> SafeString:
        return search_link(ORDERS, row.order_no)

    @admin.display(description=_("amount"), ordering="amount_fen")
    def amount(self, row: Collection) -> SafeString:
        return money(row.amount_fen)

    @admin.display(description=_("refunded"), ordering="refunded_fen")
    def refunded(self, row: Collection) -> SafeString:
        return money(row.refunded_fen or None)

    @admin.display(description=_("code"))
    def code_link(self, row: Collection) -> SafeString:
        return change_link(CODES, row.code_id)

    @admin.display(description=_("receiving account"))
    def binding_link(self, row: Collection) -> SafeString:
        return change_link(BINDINGS, row.binding_id, row.binding)

    @admin.display(description=_("enterprise"))
    def enterprise(self, row: Collection) -> SafeString:
        return change_link(ENTERPRISES, row.enterprise_id)

    @admin.display(description=_("collector"))
    def collector(self, row: Collection) -> SafeString:
        return change_link(EMPLOYEES, row.employee_id)

    @admin.display(description=_("CRM record"))
    def crm(self, row: Collection) -> str:
        record = getattr(row, "crm_record", None)
        return "" if record is None else str(record.state)

    def statistics_view(self, request: HttpRequest) -> HttpResponse:
        """A month of one enterprise, or the sums of all that collected in it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        month = _month(request.GET.get("month", ""))
        first, last = selectors.month_days(month)
        wanted = request.GET.get("enterprise", "").strip()
        chosen = Enterprise.objects.filter(code=wanted[:32]).first() if wanted and wanted.isascii() else None
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Collections of %s") % f"{month:%Y-%m}",
            "opts": self.opts,
            "month": f"{month:%Y-%m}",
            "wanted": wanted,
            "chosen": chosen,
            "is_unknown": bool(wanted) and chosen is None,
            **(_enterprise_month(chosen, first, last) if chosen else {"enterprises": _largest(first, last)}),
        }
        return TemplateResponse(request, "admin/collect/statistics.html", context)


def _month(text: str) -> dt.date:
    """The first day of "YYYY-MM"; of the present month for anything else."""
    try:
        month = dt.date.fromisoformat(f"{text}-01")
    except ValueError:
        month = dt.date.min
    is_sane = FIRST_YEAR <= month.year <= 2100
    return month if is_sane else clock.business_date(clock.now()).replace(day=1)


def _enterprise_month(enterprise: Enterprise, first: dt.date, last: dt.date) -> dict[str, Any]:
    found = {by: selectors.get_statistics(enterprise_id=enterprise.pk, first=first, last=last, by=by) for by in By}
    days = [first + dt.timedelta(days=index) for index in range((last - first).days + 1)]
    nothing = Figures()
    bars = [Bar(label=f"{day:%d}", value_fen=found[By.DAY].get(day, nothing).amount_fen) for day in days]
    title = gettext("Collected by day, %(name)s, %(month)s") % {"name": enterprise.name, "month": f"{first:%Y-%m}"}
    people = Employee.objects.in_bulk(list(found[By.EMPLOYEE])[:SHOWN_LINES])
    subjects = dict(Code.objects.filter(pk__in=list(found[By.CODE])[:SHOWN_LINES]).values_list("pk", "subject"))
    return {
        "chart": chart.draw(bars, title=title),
        "days": _lines({f"{day:%Y-%m-%d}": value for day, value in found[By.DAY].items()}),
        "channels": _lines(found[By.CHANNEL]),
        "employees": _lines(found[By.EMPLOYEE], {key: str(person) for key, person in people.items()}),
        "codes": _lines(
            found[By.CODE],
            {"": gettext("codes that serve once"), **{key: f"{key} {text}" for key, text in subjects.items()}},
        ),
        "total": _shown(sum(found[By.DAY].values(), nothing)),
    }


def _largest(first: dt.date, last: dt.date) -> list[tuple[Enterprise, dict[str, Any]]]:
    """The enterprises that collected most in these days."""
    found = selectors.get_largest(first=first, last=last, limit=SHOWN_LINES)
    names = Enterprise.objects.in_bulk(list(found))
    return [(names[key], _shown(figures)) for key, figures in found.items() if key in names]


def _lines(figures: Mapping[Any, Figures], names: Mapping[Any, str] | None = None) -> list[tuple[str, dict[str, Any]]]:
    shown = list(figures.items())[:SHOWN_LINES]
    return [((names or {}).get(key, str(key)), _shown(value)) for key, value in shown]


def _shown(figures: Figures) -> dict[str, Any]:
    return {
        "count": figures.count,
        "amount": yuan_display(figures.amount_fen),
        "refunded": yuan_display(figures.refunded_fen),
        "net": yuan_display(figures.net_fen),
    }


class ManagerForm(forms.ModelForm):
    class Meta:
        model = Manager
        fields = ("employee",)


@admin.register(Manager)
class ManagerAdmin(ModelAdmin):
    """Who may bind accounts, see and refund the whole enterprise's collections. The admin's log keeps each change."""

    actions = None
    form = ManagerForm
    list_display = ("employee", "enterprise", "appointed_by", "appointed_at")
    list_select_related = ("employee__enterprise", "appointed_by")
    search_fields = ("=employee__code", "=employee__enterprise__code")
    search_help_text = _("Employee's or enterprise's code (exact)")
    raw_id_fields = ("employee",)
    ordering = ("-appointed_at",)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_view_permission(request, obj) or request.user.has_perm(APPOINT)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(APPOINT)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm(APPOINT)

    def save_model(self, request: HttpRequest, obj: Manager, form: Any, change: bool) -> None:
        obj.appointed_by_id, obj.appointed_at = staff_id(request), clock.now()
        super().save_model(request, obj, form, change)

    @admin.display(description=_("enterprise"))
    def enterprise(self, row: Manager) -> SafeString:
        return change_link(ENTERPRISES, row.employee.enterprise_id, row.employee.enterprise)

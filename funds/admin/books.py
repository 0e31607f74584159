"""Books for finance: closed days with their trial balance, statements of any account, enterprises. Read only."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from foundation import clock
from foundation.admin_base import ReadOnlyAdmin, TabularInline
from foundation.money import yuan_display
from funds import reports
from funds.domain import chart
from funds.domain.chart import OwnerKind
from funds.domain.entries import AccountRef
from funds.models import (
    Account,
    AccountSnapshot,
    ClosedDay,
    EnterpriseBooks,
    JournalSeal,
    TrialBalanceLine,
)
from identity import selectors as identity

STATEMENT_LINES = 500
ENTERPRISES_PER_PAGE = 50
DEFAULT_SPAN_DAYS = 31


class SpanForm(forms.Form):
    """Business days, both included."""

    since = forms.DateField(label=_("From"), widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}))
    until = forms.DateField(label=_("To"), widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}))

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and since > until:
            raise forms.ValidationError(_("The first day lies behind the last one."))
        return cleaned


def _span(request: HttpRequest) -> tuple[SpanForm, dt.datetime, dt.datetime]:
    """The days asked for, else the last month's; a wrong date is shown as such and the month is used."""
    today = clock.business_date(clock.now())
    usual = {"since": today - dt.timedelta(days=DEFAULT_SPAN_DAYS - 1), "until": today}
    form = SpanForm(request.GET) if {"since", "until"} & request.GET.keys() else SpanForm(usual)
    days = form.cleaned_data if form.is_valid() else usual
    return form, clock.day_start(days["since"]), clock.day_start(days["until"] + dt.timedelta(days=1))


def _title(code: str) -> str:
    name, name_zh = chart.report_name(code)
    return f"{code} {name_zh if (get_language() or '').startswith('zh') else name}"


class TrialBalanceInline(TabularInline):
    model = TrialBalanceLine
    fields = ("title", "opening", "debit", "credit", "closing")
    readonly_fields = fields
    ordering = ("code",)
    extra = 0
    can_delete = False
    verbose_name_plural = _("Trial balance (credit positive)")

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    @admin.display(description=_("Account"))
    def title(self, line: TrialBalanceLine) -> str:
        return _title(line.code)

    @admin.display(description=_("Opening"))
    def opening(self, line: TrialBalanceLine) -> str:
        return yuan_display(line.opening_fen)

    @admin.display(description=_("Debit"))
    def debit(self, line: TrialBalanceLine) -> str:
        return yuan_display(line.debit_fen)

    @admin.display(description=_("Credit"))
    def credit(self, line: TrialBalanceLine) -> str:
        return yuan_display(line.credit_fen)

    @admin.display(description=_("Closing"))
    def closing(self, line: TrialBalanceLine) -> str:
        return yuan_display(line.closing_fen)


@admin.register(ClosedDay)
class ClosedDayAdmin(ReadOnlyAdmin):
    list_display = ("day", "journal_count", "posting_count", "debit", "credit", "closed_at")
    fields = ("day", "ends_at", "journal_count", "posting_count", "debit", "credit", "closed_at")
    readonly_fields = fields
    inlines = (TrialBalanceInline,)
    list_per_page = 31
    ordering = ("-day",)

    @admin.display(description=_("Debit"))
    def debit(self, day: ClosedDay) -> str:
        return yuan_display(day.debit_fen)

    @admin.display(description=_("Credit"))
    def credit(self, day: ClosedDay) -> str:
        return yuan_display(day.credit_fen)


@admin.register(AccountSnapshot)
class AccountSnapshotAdmin(ReadOnlyAdmin):
    list_display = ("account", "taken_at", "available", "frozen")
    fields = ("account", "taken_at", "available", "frozen", "later_posting_id")
    search_fields = ("=account__owner_id",)
    search_help_text = _("Owner (employee id, enterprise id or channel), exact")
    list_select_related = ("account",)
    list_per_page = 20
    ordering = ("-id",)

    @admin.display(description=_("Available"))
    def available(self, snapshot: AccountSnapshot) -> str:
        return yuan_display(snapshot.available_fen)

    @admin.display(description=_("Frozen"))
    def frozen(self, snapshot: AccountSnapshot) -> str:
        return yuan_display(snapshot.frozen_fen)


@admin.register(JournalSeal)
class JournalSealAdmin(ReadOnlyAdmin):
    list_display = ("number", "first_id", "last_id", "journal_count", "key_id", "sealed_at")
    fields = (*list_display, "previous_mac", "mac")
    list_per_page = 20
    ordering = ("-number",)


def statement_view(model_admin: ReadOnlyAdmin, request: HttpRequest, account_id: int) -> HttpResponse:
    """One account's postings of a span with running balances, whoever owns it."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    account = Account.objects.filter(pk=account_id).first()
    if account is None:
        raise Http404
    form, since, until = _span(request)
    ref = AccountRef(
        owner_kind=account.owner_kind,
        owner_id=account.owner_id,
        code=account.code,
        enterprise_id=account.enterprise_id,
    )
    found = reports.running_statement(account=ref, since=since, until=until, limit=STATEMENT_LINES)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Statement of %(account)s") % {"account": account},
        "opts": model_admin.opts,
        "account": account,
        "account_title": _title(account.code),
        "form": form,
        "statement": found,
        "opening": (yuan_display(found.opening.available_fen), yuan_display(found.opening.frozen_fen)),
        "closing": (yuan_display(found.closing.available_fen), yuan_display(found.closing.frozen_fen)),
        "lines": [
            {"line": line, "amount": yuan_display(line.amount_fen), "balance": yuan_display(line.balance_fen)}
            for line in found.lines
        ],
        "limit": STATEMENT_LINES,
    }
    return TemplateResponse(request, "admin/funds/statement.html", context)


def _shown(movement: reports.Movement) -> dict[str, Any]:
    return {
        "opening": yuan_display(movement.opening_fen),
        "recharge": yuan_display(movement.recharge_fen),
        "income": yuan_display(movement.income_fen),
        "withdrawal": yuan_display(movement.withdrawal_fen),
        "consumption": yuan_display(movement.consumption_fen),
        "closing": yuan_display(movement.closing_fen),
        "is_balanced": movement.is_balanced,
    }


@admin.register(EnterpriseBooks)
class EnterpriseBooksAdmin(ReadOnlyAdmin):
    """Enterprises by the money they have; one page each: its span, its own account, its employees' accounts."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> None:
        """There is no table behind the model: delete and history pages find nothing and lead back."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        page = _page(request)
        rows = reports.list_enterprise_ids(offset=(page - 1) * ENTERPRISES_PER_PAGE, limit=ENTERPRISES_PER_PAGE + 1)
        names = identity.list_enterprise_names(enterprise_ids=[row[0] for row in rows])
        context = {
            **self.admin_site.each_context(request),
            "title": _("Enterprises' books"),
            "opts": self.opts,
            "rows": [
                {
                    "enterprise_id": enterprise_id,
                    "name": names.get(enterprise_id, ""),
                    "accounts": accounts,
                    "available": yuan_display(available),
                    "frozen": yuan_display(frozen),
                    "total": yuan_display(available + frozen),
                }
                for enterprise_id, accounts, available, frozen in rows[:ENTERPRISES_PER_PAGE]
            ],
            "page": page,
            "page_before": page - 1,
            "page_after": page + 1,
            "has_more": len(rows) > ENTERPRISES_PER_PAGE,
        }
        return TemplateResponse(request, "admin/funds/enterprises.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if not object_id.isdigit() or len(object_id) > 18:
            raise Http404
        enterprise_id, page = int(object_id), _page(request)
        form, since, until = _span(request)
        owners = reports.list_owner_movements(
            enterprise_id=enterprise_id,
            since=since,
            until=until,
            offset=(page - 1) * ENTERPRISES_PER_PAGE,
            limit=ENTERPRISES_PER_PAGE + 1,
        )
        if not owners:
            raise Http404
        people = identity.get_employees(
            employee_ids=[int(owner.owner_id) for owner in owners if owner.owner_kind == OwnerKind.EMPLOYEE]
        )
        movement = reports.enterprise_movement(enterprise_id=enterprise_id, since=since, until=until)
        names = identity.list_enterprise_names(enterprise_ids=[enterprise_id])
        context = {
            **self.admin_site.each_context(request),
            "title": _("Books of %(enterprise)s") % {"enterprise": names.get(enterprise_id, enterprise_id)},
            "opts": self.opts,
            "enterprise_id": enterprise_id,
            "form": form,
            "movement": _shown(movement),
            "owners": [
                {
                    "owner": owner,
                    "person": people.get(int(owner.owner_id)) if owner.owner_kind == OwnerKind.EMPLOYEE else None,
                    "title": _title(owner.code),
                    "frozen": yuan_display(owner.frozen_fen),
                    **_shown(owner.movement),
                }
                for owner in owners[:ENTERPRISES_PER_PAGE]
            ],
            "page": page,
            "page_before": page - 1,
            "page_after": page + 1,
            "has_more": len(owners) > ENTERPRISES_PER_PAGE,
        }
        return TemplateResponse(request, "admin/funds/enterprise.html", context)


def _page(request: HttpRequest) -> int:
    text = request.GET.get("page", "1")
    return max(1, min(int(text), 10_000)) if text.isascii() and text.isdigit() else 1

"""The ledger in the admin: to be read, searched and followed by links; nothing can be added, changed or deleted."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from foundation.admin_base import ReadOnlyAdmin, TabularInline
from foundation.money import yuan_display
from funds import selectors
from funds.admin import books
from funds.domain.entries import platform_account
from funds.models import Account, Hold, Journal, Posting

SEARCH_LIMIT = 200
"""An order has a handful of journals; more would be a search for nothing in particular."""


def _link(name: str, key: object, text: object) -> SafeString:
    return format_html('<a href="{}">{}</a>', reverse(f"admin:{name}_change", args=[key]), text)


def _order_link(order_no: str) -> SafeString | str:
    return _link("orders_orderindex", order_no, order_no) if order_no else ""


class PostingColumns:
    """Columns of a posting as people read them."""

    @admin.display(description=_("Account"))
    def account_link(self, posting: Posting) -> SafeString:
        return _link("funds_account", posting.account_id, posting.account)

    @admin.display(description=_("Amount"))
    def amount(self, posting: Posting) -> str:
        return yuan_display(posting.amount_fen)

    @admin.display(description=_("Balance after"))
    def balance_after(self, posting: Posting) -> str:
        return "" if posting.balance_after_fen is None else yuan_display(posting.balance_after_fen)


class PostingInline(PostingColumns, TabularInline):
    model = Posting
    fields = ("account_link", "bucket", "amount", "category", "balance_after", "created_at")
    readonly_fields = fields
    extra = 0
    can_delete = False
    verbose_name_plural = _("Postings (credit positive)")

    def has_add_permission(self, request: object, obj: object = None) -> bool:
        return False


@admin.register(Journal)
class JournalAdmin(ReadOnlyAdmin):
    list_display = ("id", "kind", "reference", "order_link", "total", "posting_count", "created_at")
    list_filter = ("kind",)
    search_fields = ("=reference", "=order_no", "=source_no")
    search_help_text = _("Order number, attempt number, reference (exact)")
    fields = ("kind", "reference", "order_link", "source_no", "actor", "memo", "total", "posting_count", "created_at")
    readonly_fields = fields
    inlines = (PostingInline,)
    list_per_page = 20
    ordering = ("-id",)

    @admin.display(description=_("Order"))
    def order_link(self, journal: Journal) -> SafeString | str:
        return _order_link(journal.order_no)

    @admin.display(description=_("Amount"))
    def total(self, journal: Journal) -> str:
        return yuan_display(journal.credit_total_fen)


@admin.register(Posting)
class PostingAdmin(PostingColumns, ReadOnlyAdmin):
    list_display = ("id", "journal_link", "account_link", "bucket", "amount", "category", "created_at")
    fields = ("journal_link", "account_link", "bucket", "amount", "category", "balance_after", "created_at")
    list_filter = ("category", "bucket")
    search_fields = ("journal",)
    search_help_text = _("Order number, attempt number, reference of the journal, or owner (exact)")
    list_select_related = ("journal", "account")
    list_per_page = 20
    ordering = ("-id",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Posting], search_term: str
    ) -> tuple[QuerySet[Posting], bool]:
        """Two look-ups by index instead of one OR over three tables, which no index serves."""
        text = search_term.strip()
        if not text:
            return queryset, False
        journals = Journal.objects.filter(Q(reference=text) | Q(order_no=text) | Q(source_no=text))
        accounts = Account.objects.filter(owner_id=text)
        found = Q(journal_id__in=list(journals.values_list("pk", flat=True)[:SEARCH_LIMIT]))
        found |= Q(account_id__in=list(accounts.values_list("pk", flat=True)[:SEARCH_LIMIT]))
        return queryset.filter(found), False

    @admin.display(description=_("Journal"))
    def journal_link(self, posting: Posting) -> SafeString:
        return _link("funds_journal", posting.journal_id, posting.journal)


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ("id", "code", "owner_kind", "owner_id", "enterprise_id", "available", "frozen", "postings_link")
    fields = (
        "code",
        "owner_kind",
        "owner_id",
        "enterprise_id",
        "available",
        "frozen",
        "platform_balance",
        "version",
        "created_at",
        "statement_link",
        "postings_link",
        "holds_link",
    )
    list_filter = ("owner_kind", "code")
    search_fields = ("=owner_id", "=enterprise_id")
    search_help_text = _("Owner (employee id or channel) or enterprise id (exact)")
    list_per_page = 20
    ordering = ("id",)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.statement_view)
        return [path("<int:account_id>/statement/", view, name="funds_account_statement"), *super().get_urls()]

    def statement_view(self, request: HttpRequest, account_id: int) -> HttpResponse:
        return books.statement_view(self, request, account_id)

    @admin.display(description=_("Statement"))
    def statement_link(self, account: Account) -> SafeString:
        url = reverse("admin:funds_account_statement", args=[account.pk])
        return format_html('<a href="{}">statement with running balance</a>', url)

    @admin.display(description=_("Available"), ordering="available_fen")
    def available(self, account: Account) -> str:
        return "" if account.owner_kind == "PLATFORM" else yuan_display(account.available_fen)

    @admin.display(description=_("Frozen"), ordering="frozen_fen")
    def frozen(self, account: Account) -> str:
        return "" if account.owner_kind == "PLATFORM" else yuan_display(account.frozen_fen)

    @admin.display(description=_("Postings"))
    def postings_link(self, account: Account) -> SafeString:
        url = reverse("admin:funds_posting_changelist")
        return format_html('<a href="{}?account__id__exact={}">postings</a>', url, account.pk)

    @admin.display(description=_("Holds"))
    def holds_link(self, account: Account) -> SafeString:
        url = reverse("admin:funds_hold_changelist")
        return format_html('<a href="{}?account__id__exact={}">holds</a>', url, account.pk)

    @admin.display(description=_("Balance"))
    def platform_balance(self, account: Account) -> str:
        """Of a platform account: the sum of its postings, credit positive."""
        if account.owner_kind != "PLATFORM":
            return ""
        ref = platform_account(account.code, account.owner_id)
        return yuan_display(selectors.platform_balance_fen(account=ref))


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    list_display = ("key", "account_link", "amount", "remaining", "state", "opened_at", "resolved_at")
    fields = ("key", "account_link", "amount", "remaining", "state", "opened_at", "resolved_at")
    list_filter = ("state",)
    search_fields = ("=key", "=account__owner_id")
    list_select_related = ("account",)
    list_per_page = 20
    ordering = ("-id",)

    @admin.display(description=_("Account"))
    def account_link(self, hold: Hold) -> SafeString:
        return _link("funds_account", hold.account_id, hold.account)

    @admin.display(description=_("Amount"))
    def amount(self, hold: Hold) -> str:
        return yuan_display(hold.amount_fen)

    @admin.display(description=_("Remaining"))
    def remaining(self, hold: Hold) -> str:
        return yuan_display(hold.remaining_fen)

"""The side bar: by domain, in the order of a day's work, and of it only what the member of staff may see.

What is registered and stands in no domain below is shown under "More": a new list is never lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from foundation import desk

PLAIN_ICON = "table_rows"


@dataclass(frozen=True, kw_only=True)
class Domain:
    """`lists`: (label of the model, icon of Material Symbols)."""

    title: Promise
    lists: tuple[tuple[str, str], ...]


DOMAINS = (
    Domain(
        title=_("Money in and out"),
        lists=(
            ("orders.OrderIndex", "receipt_long"),
            ("withdrawals.Withdrawal", "account_balance"),
            ("withdrawals.Reissue", "cached"),
            ("withdrawals.BankCard", "credit_card"),
            ("withdrawals.WechatAccount", "chat"),
            ("withdrawals.PayoutPolicy", "rule"),
            ("payments.AbnormalRefund", "undo"),
        ),
    ),
    Domain(
        title=_("Books"),
        lists=(
            ("funds.Account", "wallet"),
            ("funds.Journal", "menu_book"),
            ("funds.Posting", "list_alt"),
            ("funds.Hold", "lock"),
            ("funds.Adjustment", "edit_note"),
            ("funds.EnterpriseBooks", "domain"),
            ("funds.ClosedDay", "event_available"),
            ("funds.AccountSnapshot", "photo_camera"),
            ("funds.JournalSeal", "verified"),
        ),
    ),
    Domain(title=_("Reconciliation"), lists=()),
    Domain(
        title=_("Red packets"),
        lists=(
            ("redpacket.RedPacket", "redeem"),
            ("redpacket.Share", "pie_chart"),
            ("redpacket.Settlement", "price_check"),
            ("redpacket.Reading", "auto_stories"),
        ),
    ),
    Domain(title=_("Scan to collect"), lists=()),
    Domain(
        title=_("Risk control"),
        lists=(
            ("risk.Decision", "gavel"),
            ("risk.Reservation", "hourglass_top"),
            ("risk.ListEntry", "block"),
            ("risk.RuleSet", "account_tree"),
            ("risk.RuleVersion", "history"),
        ),
    ),
    Domain(
        title=_("Business backends"),
        lists=(
            ("payments.BusinessApp", "apps"),
            ("payments.BusinessOrder", "shopping_cart"),
            ("payments.CallbackDelivery", "call_made"),
        ),
    ),
    Domain(
        title=_("Channels"),
        lists=(
            ("gateway.ChannelSetting", "route"),
            ("gateway.Credential", "key"),
            ("gateway.ClientGrade", "workspace_premium"),
            ("gateway.RoutingDecision", "alt_route"),
            ("gateway.Notice", "call_received"),
            ("gateway.CallRecord", "swap_horiz"),
        ),
    ),
    Domain(
        title=_("People"),
        lists=(
            ("identity.Enterprise", "apartment"),
            ("identity.Employee", "badge"),
            ("identity.Group", "groups"),
            ("identity.AccessToken", "login"),
            ("identity.ShortMessage", "sms"),
        ),
    ),
    Domain(
        title=_("Staff"),
        lists=(
            ("foundation.StaffNotice", "notifications"),
            ("auth.User", "person"),
            ("auth.Group", "admin_panel_settings"),
            ("identity.StaffProfile", "contact_page"),
            ("identity.Authenticator", "phonelink_lock"),
            ("foundation.AuditEntry", "manage_search"),
            ("foundation.AuditSeal", "verified_user"),
        ),
    ),
    Domain(
        title=_("Operations"),
        lists=(
            ("foundation.Alert", "warning"),
            ("foundation.JobRun", "play_circle"),
            ("foundation.JobLock", "lock_clock"),
            ("foundation.OutboxEvent", "outbox"),
            ("foundation.Limit", "speed"),
            ("foundation.LimitChange", "history"),
            ("foundation.Flag", "flag"),
            ("foundation.FlagChange", "history"),
            ("foundation.IdempotencyRecord", "fingerprint"),
            ("foundation.NodeLease", "hub"),
            ("foundation.Attachment", "attach_file"),
        ),
    ),
    Domain(
        title=_("Schedules"),
        lists=(
            ("django_celery_beat.PeriodicTask", "schedule"),
            ("django_celery_beat.CrontabSchedule", "calendar_month"),
            ("django_celery_beat.IntervalSchedule", "timer"),
            ("django_celery_beat.ClockedSchedule", "alarm"),
            ("django_celery_beat.SolarSchedule", "sunny"),
        ),
    ),
)
HOMES = {
    "orders": 0,
    "withdrawals": 0,
    "funds": 1,
    "reconciliation": 2,
    "redpacket": 3,
    "collect": 4,
    "risk": 5,
    "payments": 6,
    "gateway": 7,
    "identity": 8,
    "auth": 9,
    "foundation": 10,
    "django_celery_beat": 11,
}
"""App → number of the domain where its lists stand that no domain names."""

NAMED = frozenset(label for domain in DOMAINS for label, _icon in domain.lists)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The side bar for this member of staff, in the theme's shape."""
    seen = {
        model["model"]._meta.label: model
        for app in admin.site.get_app_list(request)
        for model in app["models"]
        if model.get("admin_url")
    }
    groups: list[dict[str, Any]] = []
    for number, domain in enumerate(DOMAINS):
        icons = dict(domain.lists)
        more = (label for label in seen if HOMES.get(label.partition(".")[0]) == number and label not in NAMED)
        labels = [*icons, *sorted(more)]
        items = [_item(seen.pop(label), icons.get(label, PLAIN_ICON)) for label in labels if label in seen]
        if items:
            groups.append({"title": domain.title, "collapsible": True, "items": items})
    if seen:
        rest = [_item(seen[label], PLAIN_ICON) for label in sorted(seen)]
        groups.append({"title": _("More"), "collapsible": True, "items": rest})
    return [{"items": _own_pages(request)}, *groups]


def _own_pages(request: HttpRequest) -> list[dict[str, Any]]:
    pages = [{"title": _("Desk"), "icon": "dashboard", "link": reverse("admin:index")}]
    if any(desk.may_any(request.user.has_perm, kind.permissions) for kind in desk.kinds().values()):
        pages.append({"title": _("Stuck money"), "icon": "hourglass_disabled", "link": reverse("admin:desk_stuck")})
    return pages


def _item(model: dict[str, Any], icon: str) -> dict[str, Any]:
    name = str(model["name"])
    return {"title": name[:1].upper() + name[1:], "icon": icon, "link": model["admin_url"]}

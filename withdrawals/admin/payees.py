"""Where employees have their withdrawals sent: cards and WeChat accounts, masked; in the clear with a reason."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from foundation.admin_base import ReadOnlyAdmin, change_link
from foundation.admin_reveal import RevealAdmin
from withdrawals.models import BankCard, WechatAccount

EMPLOYEE = "identity_employee"


@admin.register(BankCard)
class BankCardAdmin(RevealAdmin, ReadOnlyAdmin):
    """Cards that were bound, removed ones too."""

    list_display = (
        "card_masked",
        "bank_name",
        "employee",
        "phone_masked",
        "is_second_class",
        "created_at",
        "removed_at",
    )
    fields = (
        "card_masked", "bank_name", "bank_code", "branch", "is_second_class", "phone_masked", "employee", "created_at",
        "removed_at",
    )  # fmt: skip
    readonly_fields = ("employee",)
    revealed = (("card_no", _("card")), ("holder", _("holder")), ("phone", _("phone")))
    list_filter = ("bank_code", "is_second_class")
    search_fields = ("=employee_id",)
    search_help_text = _("An employee's id (exact)")
    ordering = ("-created_at", "-id")

    @admin.display(description=_("employee"), ordering="employee_id")
    def employee(self, card: BankCard) -> SafeString:
        return change_link(EMPLOYEE, card.employee_id)


@admin.register(WechatAccount)
class WechatAccountAdmin(RevealAdmin, ReadOnlyAdmin):
    list_display = ("__str__", "employee", "bound_at")
    fields = ("employee", "bound_at")
    readonly_fields = ("employee",)
    revealed = (("openid", _("openid")), ("holder", _("holder")))
    search_fields = ("=employee_id",)
    search_help_text = _("An employee's id (exact)")
    ordering = ("-bound_at", "-employee_id")

    @admin.display(description=_("employee"), ordering="employee_id")
    def employee(self, account: WechatAccount) -> SafeString:
        return change_link(EMPLOYEE, account.employee_id)

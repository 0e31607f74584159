"""How payouts are sent: policies with the pause switch and the float; and new payout numbers under four eyes."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import clock
from foundation.admin_base import ModelAdmin, ReadOnlyAdmin
from foundation.errors import PaysysError
from foundation.forms import YuanField
from foundation.money import yuan_display
from withdrawals.admin.desk import APPROVE_REISSUE, CHANGE, OPERATE, PROPOSE, right
from withdrawals.admin.words import error_text, staff_id
from withdrawals.models import REASON_MIN_LENGTH, PayoutPolicy, Reissue, Withdrawal
from withdrawals.selectors import COMMON
from withdrawals.services import payees, reissuing, sending


class PolicyForm(forms.ModelForm):
    """Every field is there, amounts in yuan; a pause has a reason; only known channels have a policy."""

    two_approvals_above_fen = YuanField(label=_("two approvals above"), help_text=_("in yuan"))
    min_amount_fen = YuanField(label=_("smallest withdrawal"), help_text=_("in yuan"))
    max_amount_fen = YuanField(label=_("largest withdrawal"), help_text=_("in yuan"))
    daily_cap_fen = YuanField(label=_("cap of a day"), help_text=_("in yuan; 0: no cap"))
    float_warning_fen = YuanField(
        label=_("warn when the payout balance is below"), help_text=_("in yuan; 0: no warning")
    )

    class Meta:
        model = PayoutPolicy
        fields = (
            "channel", "is_paused", "paused_reason", "two_approvals_above_fen", "min_amount_fen", "max_amount_fen",
            "daily_cap_fen", "window_from_hour", "window_to_hour", "max_in_flight", "float_warning_fen",
        )  # fmt: skip

    def clean_channel(self) -> str:
        channel: str = self.cleaned_data["channel"]
        if channel not in (COMMON, *payees.CHANNELS):
            raise forms.ValidationError(_("Channels: *, wechat, kuaiqian."))
        return channel

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("is_paused") and len((cleaned.get("paused_reason") or "").strip()) < REASON_MIN_LENGTH:
            self.add_error("paused_reason", _("Say why payouts are paused."))
        return cleaned


@admin.register(PayoutPolicy)
class PayoutPolicyAdmin(ModelAdmin):
    """One row for each channel and "*" for all; amounts are typed in yuan. The admin's log keeps each change."""

    form = PolicyForm
    actions = None
    list_display = ("channel", "is_paused", "paused_reason", "two_approvals", "cap", "window", "max_in_flight")
    change_list_template = "admin/withdrawals/policies.html"

    def _may(self, request: HttpRequest) -> bool:
        return request.user.has_perm(OPERATE) and request.user.has_perm("withdrawals.change_payoutpolicy")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request)

    def has_change_permission(self, request: HttpRequest, obj: PayoutPolicy | None = None) -> bool:
        return self._may(request)

    def has_delete_permission(self, request: HttpRequest, obj: PayoutPolicy | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: PayoutPolicy | None = None) -> tuple[str, ...]:
        return ("channel",) if obj is not None else ()

    @admin.display(description=_("two approvals above"))
    def two_approvals(self, row: PayoutPolicy) -> SafeString:
        return right(yuan_display(row.two_approvals_above_fen))

    @admin.display(description=_("cap of a day"))
    def cap(self, row: PayoutPolicy) -> SafeString:
        return right(yuan_display(row.daily_cap_fen) if row.daily_cap_fen else "–")

    @admin.display(description=_("window"))
    def window(self, row: PayoutPolicy) -> str:
        return f"{row.window_from_hour}:00–{row.window_to_hour}:00"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        floats = sending.read_floats()
        more = {
            "paused": list(PayoutPolicy.objects.filter(is_paused=True)),
            "floats": [(channel, yuan_display(fen)) for channel, fen in floats.items()],
        }
        return super().changelist_view(request, {**(extra_context or {}), **more})


@admin.register(Reissue)
class ReissueAdmin(ReadOnlyAdmin):
    """New payout numbers: proposed with the provider's "no such order", approved by another person."""

    list_display = ("id", "order_no", "old_payout_no", "new_payout_no", "proposed_by", "approved_by")
    list_select_related = ("proposed_by", "approved_by")
    search_fields = ("=withdrawal__order_no", "=old_payout_no", "=new_payout_no")
    ordering = ("-id",)
    list_per_page = 20

    @admin.display(description=_("withdrawal"), ordering="withdrawal_id")
    def order_no(self, row: Reissue) -> str:
        return str(row.withdrawal_id)

    def has_view_permission(self, request: HttpRequest, obj: Reissue | None = None) -> bool:
        wanted = ("withdrawals.view_reissue", PROPOSE, APPROVE_REISSUE)
        return any(request.user.has_perm(permission) for permission in wanted)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("propose/<str:order_no>/", wrap(self.propose_view), name="withdrawals_reissue_propose"),
            path("<int:pk>/approve/", wrap(self.approve_view), name="withdrawals_reissue_approve"),
            *super().get_urls(),
        ]

    def propose_view(self, request: HttpRequest, order_no: str) -> HttpResponse:
        """Asks for the reason; the service asks the provider and stores its answer as evidence."""
        if not request.user.has_perm(PROPOSE):
            raise PermissionDenied
        row = Withdrawal.objects.filter(pk=order_no[:32]).first() if order_no.isascii() else None
        if row is None:
            raise Http404
        reason = request.POST.get("reason", "")
        if request.method == "POST":
            try:
                made = reissuing.propose(
                    order_no=row.order_no, user_id=staff_id(request), reason=reason, now=clock.now()
                )
            except PaysysError as error:
                messages.error(request, error_text(error))
            else:
                messages.success(request, gettext("Proposed. It is used when another person approves it."))
                return HttpResponseRedirect(reverse("admin:withdrawals_reissue_change", args=[made.pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Propose a new payout number for %s") % row.order_no,
            "opts": self.opts,
            "row": row,
            "amount": yuan_display(row.amount_fen),
            "typed_reason": reason[:500],
            "minimum": REASON_MIN_LENGTH,
        }
        return TemplateResponse(request, "admin/withdrawals/propose.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = Reissue.objects.select_related("proposed_by", "approved_by", "withdrawal")
        row = rows.filter(pk=object_id).first() if object_id.isdecimal() and len(object_id) < 19 else None
        if row is None:
            raise Http404
        is_open = row.approved_by_id is None
        is_mine = row.proposed_by_id == staff_id(request)
        may = request.user.has_perm(APPROVE_REISSUE)
        context = {
            **self.admin_site.each_context(request),
            "title": str(row),
            "opts": self.opts,
            "row": row,
            "amount": yuan_display(row.withdrawal.amount_fen),
            "evidence": list(row.evidence.items()),
            "can_approve": is_open and may and not is_mine,
            "must_be_another": is_open and may and is_mine,
        }
        return TemplateResponse(request, "admin/withdrawals/reissue.html", context)

    def approve_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(APPROVE_REISSUE):
            raise PermissionDenied
        if not Reissue.objects.filter(pk=pk).exists():
            raise Http404
        try:
            row = reissuing.approve(reissue_id=pk, user_id=staff_id(request), now=clock.now())
        except PaysysError as error:
            messages.error(request, error_text(error))
            return HttpResponseRedirect(reverse("admin:withdrawals_reissue_change", args=[pk]))
        messages.success(request, gettext("The new number is used from now on: %s.") % row.payout_no)
        return HttpResponseRedirect(reverse(CHANGE, args=[row.order_no]))

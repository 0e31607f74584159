"""Business backends and the callbacks we owe them. A secret is shown once, when it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import F, Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.timesince import timesince
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from foundation import clock
from foundation.admin_base import ModelAdmin, ReadOnlyAdmin, TabularInline, search_link
from foundation.errors import InvalidRequest, PaysysError
from foundation.money import yuan_display
from orders.domain.states import OrderState
from payments.models import AbnormalRefund, BusinessApp, BusinessOrder, CallbackDelivery, CallbackTry
from payments.services import businesses, callbacks_out, checking


class BusinessAppForm(forms.ModelForm):
    """What staff may say of a backend; the rules are the service's."""

    class Meta:
        model = BusinessApp
        fields = ("product_id", "name", "enterprise", "callback_url", "is_active")

    def clean_callback_url(self) -> str:
        url: str = self.cleaned_data["callback_url"]
        try:
            businesses.check_callback_url(url)
        except InvalidRequest as error:
            raise ValidationError(error.details["callback_url"]) from error
        return url


@admin.register(BusinessApp)
class BusinessAppAdmin(ModelAdmin):
    """Register, change, switch off, rotate the secret. Nothing is deleted: orders point at it."""

    form = BusinessAppForm
    actions = None
    list_display = ("product_id", "name", "enterprise", "callback_url", "is_active", "failures_in_row", "paused_until")
    list_filter = ("is_active",)
    search_fields = ("=product_id", "name")
    list_select_related = ("enterprise",)
    list_per_page = 50
    change_form_template = "admin/payments/businessapp/change_form.html"

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        fields = ["product_id", "name", "enterprise", "callback_url"]
        return fields if obj is None else [*fields, "is_active"]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return () if obj is None else ("product_id", "enterprise")

    def save_model(self, request: HttpRequest, obj: BusinessApp, form: ModelForm, change: bool) -> None:
        if change:
            businesses.change(product_id=obj.pk, name=obj.name, callback_url=obj.callback_url, is_active=obj.is_active)
            return
        made = businesses.register(
            product_id=obj.product_id,
            name=obj.name,
            enterprise_id=obj.enterprise_id,
            callback_url=obj.callback_url,
            now=clock.now(),
        )
        obj.created_at = made.app.created_at
        request.new_secret = made.secret  # type: ignore[attr-defined]

    def response_add(
        self, request: HttpRequest, obj: BusinessApp, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._show_secret(request, obj.pk, request.new_secret)  # type: ignore[attr-defined]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.rotate_view)
        return [path("<path:object_id>/rotate/", view, name="payments_businessapp_rotate"), *super().get_urls()]

    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Makes a new secret and shows it; the one before stays good for a day, or not at all where it was stolen."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        app = self.get_object(request, object_id)
        if app is None or not self.has_change_permission(request, app):
            raise PermissionDenied
        options = {"overlap": businesses.OVERLAP * 0} if request.POST.get("stolen") else {}
        made = businesses.rotate_secret(product_id=app.pk, now=clock.now(), **options)
        self.log_change(request, app, [{"changed": {"fields": ["secret"]}}])
        return self._show_secret(request, app.pk, made.secret)

    def _show_secret(self, request: HttpRequest, product_id: str, secret: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("The secret of %s") % product_id,
            "opts": self.opts,
            "product_id": product_id,
            "secret": secret,
        }
        return TemplateResponse(request, "admin/payments/businessapp/secret.html", context)


@admin.register(BusinessOrder)
class BusinessOrderAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "app", "business_order_no", "order_no", "amount_fen", "subject", "last_sequence")
    list_filter = ("app",)
    search_fields = ("=business_order_no", "=order_no")
    ordering = ("-id",)
    list_per_page = 50
    list_select_related = ("app",)


class TryInline(TabularInline):
    """The delivery log."""

    model = CallbackTry
    extra = 0
    fields = readonly_fields = ("happened_at", "http_status", "duration_ms", "note")
    ordering = ("id",)
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(CallbackDelivery)
class CallbackDeliveryAdmin(ReadOnlyAdmin):
    """Callbacks with their log; staff with the permission to replay sends ended ones again and says why."""

    list_display = ("event_id", "app", "sequence", "state", "tries", "created_at", "next_at", "done_at", "last_error")
    list_filter = ("state", "app")
    search_fields = ("=event_id", "=order_no")
    ordering = ("-id",)
    list_per_page = 50
    list_select_related = ("app",)
    inlines = (TryInline,)
    actions = ("replay",)  # type: ignore[assignment] # this one does change something

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        return actions if self.has_replay_permission(request) else {}

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("payments.change_callbackdelivery")

    @admin.action(description=_("Send again"), permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: QuerySet[CallbackDelivery]) -> HttpResponse | None:
        """Asks for the reason first, then puts every chosen callback back."""
        reason = request.POST.get("reason", "")
        if "reason" not in request.POST:
            context = {
                **self.admin_site.each_context(request),
                "title": _("Send callbacks again"),
                "opts": self.opts,
                "deliveries": queryset,
                "longest": callbacks_out.REASON_MAX_CHARACTERS,
            }
            return TemplateResponse(request, "admin/payments/callbackdelivery/replay.html", context)
        for delivery in queryset:
            self._replay(request, delivery, reason)
        return HttpResponseRedirect(reverse("admin:payments_callbackdelivery_changelist"))

    def _replay(self, request: HttpRequest, delivery: CallbackDelivery, reason: str) -> None:
        try:
            callbacks_out.replay(
                delivery_id=delivery.pk, reason=reason, staff=request.user.get_username(), now=clock.now()
            )
        except PaysysError as error:
            self.message_user(request, f"{delivery}: {error.message(get_language() or 'en')}", messages.ERROR)
            return
        self.log_change(request, delivery, f"replayed: {reason}")
        self.message_user(request, _("%s is sent again.") % delivery, messages.SUCCESS)


class OpenFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("open")), ("no", _("ended"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(closed_at__isnull=self.value() == "yes") if self.value() in ("yes", "no") else queryset


@admin.register(AbnormalRefund)
class AbnormalRefundAdmin(ReadOnlyAdmin):
    """Refunds that a provider does not carry out, the oldest first. Staff asks again or retries with the same number.

    Nobody ends a refund by hand here: its money stays in transit until the provider's answer proves where it is.
    """

    list_display = ("refund_no", "order", "age", "channel", "amount", "code", "provider_text", "times", "closed_at")
    list_filter = (OpenFilter, "channel")
    search_fields = ("=refund_no", "=order_no")
    ordering = (F("closed_at").desc(nulls_first=True), "first_at")
    list_per_page = 50
    actions = ("ask_again", "retry")  # type: ignore[assignment] # these do change something

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        return actions if self.has_settle_permission(request) else {}

    def has_settle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("payments.change_abnormalrefund")

    @admin.display(description=_("order"), ordering="order_no")
    def order(self, row: AbnormalRefund) -> str:
        return search_link("orders_orderindex", row.order_no)

    @admin.display(description=_("age"), ordering="first_at")
    def age(self, row: AbnormalRefund) -> str:
        return timesince(row.first_at, row.closed_at or clock.now(), depth=1)

    @admin.display(description=_("amount"), ordering="amount_fen")
    def amount(self, row: AbnormalRefund) -> str:
        return yuan_display(row.amount_fen)

    @admin.action(description=_("Ask the provider again"), permissions=["settle"])
    def ask_again(self, request: HttpRequest, queryset: QuerySet[AbnormalRefund]) -> None:
        for row in queryset:
            self._act(request, row, "asked again", checking.ask_refund_again)

    @admin.action(description=_("Retry with the same number"), permissions=["settle"])
    def retry(self, request: HttpRequest, queryset: QuerySet[AbnormalRefund]) -> None:
        for row in queryset:
            self._act(request, row, "retried", checking.retry_refund)

    def _act(self, request: HttpRequest, row: AbnormalRefund, said: str, act: Callable[..., OrderState]) -> None:
        try:
            state = act(refund_no=row.pk, now=clock.now())
        except PaysysError as error:
            self.message_user(request, f"{row}: {error.message(get_language() or 'en')}", messages.ERROR)
            return
        self.log_change(request, row, f"{said}: {state}")
        self.message_user(request, f"{row}: {state}", messages.SUCCESS)

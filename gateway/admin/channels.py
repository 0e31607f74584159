"""Channels and graded clients: what staff with the permission change, and how the channels are."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from redis.exceptions import RedisError

from foundation import clock
from foundation.admin_base import ModelAdmin, TextInput
from foundation.money import MAX_FEN, fen_from_yuan_text, yuan_display, yuan_text
from gateway import registry
from gateway.domain.routing import ClientClass, Kind, Scene
from gateway.models import ChannelSetting, ClientGrade
from gateway.services import channels, health

KIND_NAMES = {
    Kind.RECHARGE: _("recharge"),
    Kind.PAYMENT: _("payment"),
    Kind.REDPACKET: _("red packet"),
    Kind.COLLECT: _("collection"),
}
CLASS_NAMES = {ClientClass.VIP: _("VIP"), ClientClass.LARGE: _("large"), ClientClass.ORDINARY: _("ordinary")}


class YuanField(forms.CharField):
    """Typed in yuan, exact fen in Python."""

    def prepare_value(self, value: Any) -> Any:
        return yuan_text(value) if isinstance(value, int) else value

    def clean(self, value: Any) -> int:
        text = str(super().clean(value)).replace(",", "").replace("¥", "").strip()
        try:
            amount_fen = fen_from_yuan_text(text)
        except ValueError as error:
            raise ValidationError(_("Type the amount in yuan, such as 1234.56.")) from error
        if not 1 <= amount_fen <= MAX_FEN:
            raise ValidationError(_("Out of range."))
        return amount_fen


def _boxes(label: Any, choices: list[tuple[str, Any]]) -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(label=label, choices=choices, widget=forms.CheckboxSelectMultiple)


class ChannelForm(forms.ModelForm):
    min_fen = YuanField(label=_("From ¥"), widget=TextInput)
    max_fen = YuanField(label=_("To ¥"), widget=TextInput)
    kinds = _boxes(_("For"), [(kind.value, KIND_NAMES[kind]) for kind in Kind])
    scenes = _boxes(_("Scenes"), [(scene.value, scene.value) for scene in Scene])
    client_classes = _boxes(_("Clients"), [(one.value, CLASS_NAMES[one]) for one in ClientClass])

    class Meta:
        model = ChannelSetting
        fields = (
            "code",
            "is_enabled",
            "min_fen",
            "max_fen",
            "kinds",
            "scenes",
            "client_classes",
            "weight",
            "large_weight",
            "vip_weight",
            "note",
        )

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        if code not in registry.codes():
            raise ValidationError(_("There is no such channel."))
        return code

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        low, high = cleaned.get("min_fen"), cleaned.get("max_fen")
        if low is not None and high is not None and low > high:
            self.add_error("max_fen", _("Must not be below the other end."))
        return cleaned


class Decided(ModelAdmin):
    """Changed by staff with the permission and kept in the admin's history; never deleted."""

    actions: tuple[str, ...] = ()

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        channels.save(row=obj)


@admin.register(ChannelSetting)
class ChannelSettingAdmin(Decided):
    """Switching a channel off stops new payments within two seconds; queries, closes and refunds go on."""

    form = ChannelForm
    change_list_template = "admin/gateway/channelsetting/change_list.html"
    list_display = ("code", "is_enabled", "amounts", "weight", "large_weight", "vip_weight", "note", "updated_at")
    list_filter = ("is_enabled",)
    search_fields = ("=code",)
    ordering = ("code",)
    actions = ("close_breaker",)

    @admin.action(description=_("Close the breaker"), permissions=["change"])
    def close_breaker(self, request: HttpRequest, queryset: QuerySet[ChannelSetting]) -> None:
        try:
            for row in queryset:
                health.reset(channel=row.code)
                self.log_change(request, row, "breaker closed")
        except RedisError as error:
            messages.error(request, _("Redis does not answer: %(error)s") % {"error": error})

    def get_readonly_fields(self, request: HttpRequest, obj: object = None) -> tuple[str, ...]:
        return ("code",) if obj is not None else ()

    @admin.display(description=_("amounts"))
    def amounts(self, row: ChannelSetting) -> str:
        return f"{yuan_display(row.min_fen)} – {yuan_display(row.max_fen)}"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        overviews = channels.list_overviews(now=clock.now()) if self.has_view_permission(request) else []
        return super().changelist_view(request, {**(extra_context or {}), "overviews": overviews})


@admin.register(ClientGrade)
class ClientGradeAdmin(Decided):
    list_display = ("enterprise_id", "client_class", "note", "updated_at")
    list_filter = ("client_class",)
    search_fields = ("=enterprise_id",)
    search_help_text = _("Id of the enterprise")
    fields = ("enterprise_id", "client_class", "note")

"""Credentials: added through a field that is only written, shown as fingerprints, switched off but never changed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters

from foundation import clock, crypto
from foundation.admin_base import ModelAdmin, SplitDateTime
from foundation.errors import PaysysError
from gateway import registry
from gateway.models import Credential
from gateway.services import credentials

FINGERPRINT_LENGTH = 16
"""Hex digits shown: enough to tell two secrets apart."""


def _channels() -> list[tuple[str, str]]:
    return [(code, code) for code in registry.codes()]


class WriteOnlyTextarea(forms.Textarea):
    """What was typed is never sent back to the browser, also not beside an error."""

    def format_value(self, value: Any) -> str | None:
        return None


class CredentialForm(forms.ModelForm):
    channel = forms.ChoiceField(label=_("Channel"), choices=_channels)
    content = forms.CharField(
        label=_("Content"),
        strip=False,
        max_length=credentials.MAX_CHARACTERS,
        widget=WriteOnlyTextarea(attrs={"rows": 12, "cols": 80, "autocomplete": "off", "spellcheck": "false"}),
        help_text=_("The whole file. It is stored encrypted and cannot be read here again. Key files come first."),
    )
    valid_from = forms.SplitDateTimeField(label=_("Valid from"), widget=SplitDateTime, initial=clock.now)
    expires_at = forms.SplitDateTimeField(label=_("Expires at"), widget=SplitDateTime, required=False)

    class Meta:
        model = Credential
        fields = ("channel", "name", "valid_from", "expires_at", "note")

    def clean_content(self) -> str:
        """Browsers send CR LF; the files have LF."""
        return str(self.cleaned_data["content"]).replace("\r\n", "\n")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                credentials.check(
                    **{key: cleaned[key] for key in ("channel", "name", "content", "valid_from", "expires_at")},
                    now=clock.now(),
                )
            except (credentials.CredentialUnusable, crypto.KeysUnusable) as error:
                raise forms.ValidationError(_text(error)) from error
        return cleaned


def _text(error: PaysysError) -> str:
    return f"{error.message(get_language() or 'en')} {error.details.get('problem', '')}".strip()


@admin.register(Credential)
class CredentialAdmin(ModelAdmin):
    list_display = ("id", "channel", "name", "shown_fingerprint", "valid_from", "expires_at", "is_active", "created_by")
    list_filter = ("channel", "is_active")
    search_fields = ("=channel", "=name")
    ordering = ("channel", "name", "-id")
    actions = ("switch_off",)

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_switch_off_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("gateway.change_credential")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = {} if obj is not None else {"form": CredentialForm}
        return super().get_form(request, obj, change=change, **kwargs, **form)

    def get_fields(self, request: HttpRequest, obj: object = None) -> tuple[str, ...]:
        common = ("channel", "name", "valid_from", "expires_at", "note")
        if obj is None:
            return (*common, "content")
        return (*common, "shown_fingerprint", "encryption_key", "is_active", "created_at", "created_by")

    def get_readonly_fields(self, request: HttpRequest, obj: object = None) -> tuple[str, ...]:
        return () if obj is None else ("shown_fingerprint", "encryption_key", "created_at")

    @method_decorator(sensitive_post_parameters("content"))
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().add_view(request, form_url, extra_context)

    def save_model(self, request: HttpRequest, obj: Credential, form: Any, change: bool) -> None:
        data = form.cleaned_data
        stored = credentials.add(
            channel=data["channel"],
            name=data["name"],
            content=data["content"],
            valid_from=data["valid_from"],
            expires_at=data["expires_at"],
            note=data["note"],
            created_by=request.user.get_username(),
            now=clock.now(),
        )
        obj.pk = stored.pk

    @admin.display(description=_("fingerprint"))
    def shown_fingerprint(self, row: Credential) -> str:
        return row.fingerprint[:FINGERPRINT_LENGTH]

    @admin.display(description=_("encryption key"))
    def encryption_key(self, row: Credential) -> str:
        return crypto.key_id(row.secret)

    @admin.action(description=_("Switch off for ever"), permissions=["switch_off"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Credential]) -> None:
        rows = list(queryset)
        count = sum(credentials.switch_off(credential_id=row.pk) for row in rows)
        for row in rows:
            self.log_change(request, row, "switched off")
        messages.success(request, _("%(count)s switched off.") % {"count": count})

"""What every admin class of ours is built on: the one place where apps meet the theme (django-unfold).

Apps import their bases, widgets and links from here and never the theme itself, so that it can be exchanged in one
module; `paysys.admin` sets the site up (navigation, colours, search, desk). Registration, display, action and filters
are Django's own (`from django.contrib import admin`). Source: docs/adr/0010; a contract of .importlinter keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from simple_history.admin import SimpleHistoryAdmin
from unfold import admin as theme
from unfold import forms as theme_forms
from unfold import widgets

from foundation.words import code_word

PER_PAGE = 20
"""Rows of a list: what fits a screen, and what the figures of the design were measured with."""

TextInput = widgets.UnfoldAdminTextInputWidget
Textarea = widgets.UnfoldAdminTextareaWidget
Select = widgets.UnfoldAdminSelectWidget
Checkboxes = widgets.UnfoldAdminCheckboxSelectMultipleWidget
SplitDateTime = widgets.UnfoldAdminSplitDateTimeWidget
UserChangeForm = theme_forms.UserChangeForm
UserCreationForm = theme_forms.UserCreationForm
PasswordChangeForm = theme_forms.AdminPasswordChangeForm


CODED = frozenset(
    {
        "bucket",
        "category",
        "channel",
        "client_class",
        "kind",
        "outcome",
        "owner_kind",
        "refund_state",
        "severity",
        "state",
    }
)
"""Fields that hold a code: lists, filters and pages show its word."""


def _coded_column(model: type[Model], name: str) -> Callable[[Model], str | None]:
    field = model._meta.get_field(name)

    @admin.display(description=getattr(field, "verbose_name", name), ordering=name, empty_value="-")
    def shown(row: Model) -> str | None:
        value = str(getattr(row, name) or "")
        label = getattr(row, f"get_{name}_display", None)
        word = code_word(value)
        return (code_word(label()) if word == value and label is not None else word) or None

    shown.__name__ = name
    return shown


class _CodedValues(admin.AllValuesFieldListFilter):
    """The values that there are, each by its word."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        for choice in super().choices(changelist):
            yield {**choice, "display": code_word(choice["display"])}


class _CodedChoices(admin.ChoicesFieldListFilter):
    """The declared values, each by its word."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        words = {label: code_word(value) for value, label in self.field.flatchoices if code_word(value) != value}
        for choice in super().choices(changelist):
            yield {**choice, "display": words.get(choice["display"]) or code_word(choice["display"])}


class ModelAdmin(theme.ModelAdmin):
    """Every admin class of ours."""

    list_per_page = PER_PAGE
    readonly_preprocess_fields = dict.fromkeys(CODED, code_word)

    def get_list_display(self, request: HttpRequest) -> Any:
        return [self._column(name) for name in super().get_list_display(request)]

    def get_list_filter(self, request: HttpRequest) -> Any:
        return [self._filter(item) for item in super().get_list_filter(request)]

    def _column(self, name: Any) -> Any:
        return _coded_column(self.model, name) if name in CODED and self._is_plain(name) else name

    def _filter(self, item: Any) -> Any:
        if not isinstance(item, str) or item not in CODED or not self._is_plain(item):
            return item
        field = self.model._meta.get_field(item)
        return (item, _CodedChoices if getattr(field, "choices", None) else _CodedValues)

    def _is_plain(self, name: str) -> bool:
        """True for a field of the model that no method of the class shows instead."""
        if hasattr(self, name):
            return False
        try:
            self.model._meta.get_field(name)
        except FieldDoesNotExist:
            return False
        return True


class HistoryAdmin(SimpleHistoryAdmin, ModelAdmin):
    """Of a model with `simple_history`: each change with who, when and before and after."""


class TabularInline(theme.TabularInline):
    """Rows of another table on the page of one row."""

    hide_title = True
    readonly_preprocess_fields = dict.fromkeys(CODED, code_word)


class StackedInline(theme.StackedInline):
    """As TabularInline, one below the other."""


class ReadOnlyAdmin(ModelAdmin):
    """To be looked at by staff with the view permission; nothing can be added, changed or deleted, by nobody."""

    actions = None
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def search_link(page: str, text: str) -> SafeString:
    """A link from a number to the list `page` (such as "orders_orderindex") that finds it; empty for no number."""
    if not text:
        return SafeString("")
    return format_html('<a href="{}?q={}">{}</a>', reverse(f"admin:{page}_changelist"), text, text)


def change_link(page: str, key: object, text: object = None) -> SafeString:
    """A link to the page of one row; empty without a key."""
    if key is None or key == "":
        return SafeString("")
    address = reverse(f"admin:{page}_change", args=[quote(str(key))])
    return format_html('<a href="{}">{}</a>', address, key if text is None else text)

"""Names of models and fields in the reader's language.

Models say them once, in English, and migrations keep what they say; here each is made a lazy translation of itself when
all apps are there. Django keeps what a field was declared with apart from the name it shows (`_verbose_name`), and
`makemigrations` reads that, so that no migration comes of it. Labels of choices stay as declared: the columns of
`foundation.admin_base` translate them when they are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from foundation.admin_base import CODED

OURS = (
    "foundation",
    "identity",
    "orders",
    "funds",
    "gateway",
    "risk",
    "payments",
    "withdrawals",
    "redpacket",
    "collect",
    "reconciliation",
)


def _models() -> list[Any]:
    """Every model that has a list or stands on the page of another."""
    found: dict[Any, None] = {}
    for model, shown in admin.site._registry.items():
        found[model] = None
        found.update(dict.fromkeys(inline.model for inline in shown.inlines))
    return [model for model in found if model._meta.app_label in OURS]


def _named() -> Iterator[tuple[Any, str]]:
    """(what has a name, the attribute that holds it)."""
    for label in OURS:
        if label in apps.app_configs:
            yield apps.get_app_config(label), "verbose_name"
    for model in _models():
        yield model._meta, "verbose_name"
        yield model._meta, "verbose_name_plural"
        for field in model._meta.local_fields:
            yield field, "verbose_name"


def list_names() -> list[str]:
    """Every name that is translated here, in English: what the catalogue must hold besides what the source marks."""
    names = {str(getattr(owner, name)) for owner, name in _named()}
    for model in _models():
        for field in model._meta.local_fields:
            names |= {str(label) for _value, label in field.flatchoices}
    return sorted(names)


def list_values() -> list[str]:
    """Every value of a choice that a list can show as a word (foundation.admin_base.CODED)."""
    values = {
        str(value)
        for model in _models()
        for field in model._meta.local_fields
        if field.name in CODED
        for value, _label in field.flatchoices
    }
    return sorted(values)


def make_translatable() -> None:
    """Called once all apps are there. Safe to repeat."""
    with translation.override(None):
        for owner, name in _named():
            text = getattr(owner, name)
            is_made_up = name == "verbose_name_plural" and name not in owner.original_attrs  # Django's "{name}s"
            if is_made_up or not isinstance(text, Promise):
                setattr(owner, name, gettext_lazy(str(text)))

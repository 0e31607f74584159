"""Form fields that people fill in."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from foundation.money import MAX_FEN, fen_from_yuan_text, yuan_text


class YuanField(forms.Field):
    """An amount typed and shown in yuan ("5,000.00", also with ¥), integer fen in the cleaned data; not below zero."""

    widget = forms.TextInput(attrs={"inputmode": "decimal", "size": 16})

    def prepare_value(self, value: Any) -> Any:
        return yuan_text(value) if isinstance(value, int) else value

    def to_python(self, value: Any) -> int | None:
        text = str(value or "").strip()
        if not text:
            return None
        try:
            fen = fen_from_yuan_text(text.replace(",", "").replace("¥", ""))
        except ValueError as error:
            raise ValidationError(_("An amount in yuan, such as 1,234.50.")) from error
        if not 0 <= fen <= MAX_FEN:
            raise ValidationError(_("An amount in yuan, such as 1,234.50."))
        return fen

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return self.to_python(data) != initial
        except ValidationError:
            return True

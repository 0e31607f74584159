"""What stored codes are called in the reader's language."""

from __future__ import annotations

from django.utils.translation import gettext, pgettext


def code_word(code: object) -> str:
    """The word for a stored code such as APPLIED or wechat, "" for none; an unknown one stays as it is."""
    text = str(code or "")
    if not text:
        return ""
    word = pgettext("code", text)
    return word if word != text else gettext(text)

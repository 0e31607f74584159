"""Filters of the admin's own pages."""

from __future__ import annotations

import datetime as dt

from django import template

from foundation import desk
from foundation.words import code_word

register = template.Library()
register.filter("word", code_word)


@register.filter
def age(since: dt.datetime | None, now: dt.datetime) -> str:
    """How long ago, in one unit: "3 min", "5 h", "2 days"; "" for no moment."""
    return "" if since is None else desk.span_text(max(now - since, dt.timedelta(0)))

"""What pages of collecting say in the reader's language."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language

from foundation import clock
from foundation.errors import PaysysError
from foundation.money import yuan_display
from identity.models import Employee


def staff_id(request: HttpRequest) -> int:
    return int(request.user.pk or 0)


def when(moment: dt.datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(clock.BUSINESS_ZONE):%Y-%m-%d %H:%M:%S}"


def money(amount_fen: int | None) -> SafeString:
    """To the right of its column; empty for none."""
    if amount_fen is None:
        return SafeString("")
    return format_html('<div style="text-align: right; white-space: nowrap">{}</div>', yuan_display(amount_fen))


def actor_names(actors: Iterable[str]) -> dict[str, str]:
    """ "staff:7" and "employee:9" → their names; anything else stays as it is. Two queries."""
    wanted = {actor: actor.partition(":") for actor in set(actors)}

    def ids(kind: str) -> list[int]:
        return [int(number) for who, _, number in wanted.values() if who == kind and number.isdecimal()]

    staff = {user.pk: user.get_username() for user in get_user_model().objects.filter(pk__in=ids("staff"))}
    people = {person.pk: str(person) for person in Employee.objects.filter(pk__in=ids("employee"))}
    names = {f"staff:{key}": name for key, name in staff.items()} | {f"employee:{key}": n for key, n in people.items()}
    return {actor: names.get(actor, actor) for actor in wanted}


def error_text(error: PaysysError) -> str:
    """The sentence and what exactly is wrong."""
    parts = [error.message(get_language() or "en")]
    parts += [
        str(error.details[name]) for name in ("reason", "problem", "evidence", "state") if error.details.get(name)
    ]
    if error.details.get("retry_after_seconds"):
        parts.append(f"({error.details['retry_after_seconds']} s)")
    return " ".join(parts)

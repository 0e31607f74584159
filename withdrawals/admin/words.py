"""What pages of withdrawals say in the reader's language."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils.translation import get_language, gettext

from foundation import clock
from foundation.errors import PaysysError


def staff_id(request: HttpRequest) -> int:
    return int(request.user.pk or 0)


def when(moment: dt.datetime) -> str:
    return f"{moment.astimezone(clock.BUSINESS_ZONE):%Y-%m-%d %H:%M:%S}"


def actor_names(actors: Iterable[str]) -> dict[str, str]:
    """ "staff:7" → the name of user 7; other actors stay as they are. One query."""
    wanted = set(actors)
    ids = {int(actor[6:]) for actor in wanted if actor.startswith("staff:") and actor[6:].isdecimal()}
    names = {user.pk: user.get_username() for user in get_user_model().objects.filter(pk__in=ids)} if ids else {}
    return {
        actor: names.get(int(actor[6:]), actor) if actor.startswith("staff:") and actor[6:].isdecimal() else actor
        for actor in wanted
    }


def error_text(error: PaysysError) -> str:
    """The sentence, what exactly is wrong, and who was faster and when."""
    parts = [error.message(get_language() or "en")]
    details = error.details
    parts += [str(details[name]) for name in ("reason", "problem", "provider") if details.get(name)]
    if details.get("by"):
        who = actor_names([str(details["by"])])[str(details["by"])]
        at = when(dt.datetime.fromisoformat(str(details["at"]))) if details.get("at") else ""
        parts.append(gettext("%(state)s by %(who)s at %(at)s.") % {"state": details.get("state"), "who": who, "at": at})
    elif details.get("state"):
        parts.append(str(details["state"]))
    if details.get("retry_after_seconds"):
        parts.append(f"({details['retry_after_seconds']} s)")
    return " ".join(parts)

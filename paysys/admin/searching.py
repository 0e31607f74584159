"""Ctrl-K: any number of the platform, and the pages by their names; only what the member of staff may see."""

from __future__ import annotations

import structlog
from django.db import Error as DatabaseProblem
from django.http import HttpRequest

from foundation import desk
from foundation.desk import Found
from paysys.admin import navigation

logger = structlog.get_logger("desk")
MAX_CHARACTERS = 64
EACH = 5
"""Results of one finder: the rest is behind the list it leads to."""
PAGES = 8


def search(request: HttpRequest, text: str) -> list[Found]:
    """Pages whose name holds the text, then numbers: exact ones first within each kind. Nothing for an empty text.

    A finder whose database does not answer is left out and logged: the others are still worth having.
    """
    wanted = text.strip()[:MAX_CHARACTERS]
    if not wanted:
        return []
    numbers: list[Found] = []
    for finder in desk.finders().values():
        if not desk.may_any(request.user.has_perm, finder.permissions):
            continue
        try:
            numbers += finder.find(wanted, EACH)
        except DatabaseProblem:
            logger.exception("finder failed", finder=finder.name)
    return [*numbers, *_pages(request, wanted)]


def _pages(request: HttpRequest, text: str) -> list[Found]:
    found = []
    for group in navigation.navigation(request):
        for item in group["items"]:
            if text.casefold() in str(item["title"]).casefold():
                link = str(item["link"])
                found.append(
                    Found(
                        title=str(item["title"]), description=str(group.get("title", "")), link=link, icon=item["icon"]
                    )
                )
    return found[:PAGES]

"""Limits are counted right: every counter equals the reservations that stand."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Count, Sum

from foundation.db import roles, transactions
from foundation.proof import ProofLine
from risk.domain.facts import Action
from risk.domain.limits import counter_keys
from risk.models import Counter, Reservation

SHOWN = 5

Figures = tuple[int, int]
"""Requests and their sum in fen."""


def prove() -> list[ProofLine]:
    """One line over all counters that are kept, right on a running system too.

    The first look is of two statements, and requests may come between them: what differs is looked at again under the
    lock that every change of a counter takes.
    """
    alias = roles.alias_for("default")
    expected = _reserved(alias)
    checked, suspect = 0, []
    for name, count, total in Counter.objects.using(alias).values_list("name", "count", "amount_fen").iterator():
        checked += 1
        if (count, total) != expected.get(name, (0, 0)):
            suspect.append(name)
    wrong = transactions.run(lambda: _look_again(suspect, alias), using=alias) if suspect else []
    return [
        ProofLine(
            name="every risk counter equals its reservations",
            ok=not wrong,
            detail="; ".join(wrong[:SHOWN]),
            figures={"counters": checked, "wrong": len(wrong)},
        )
    ]


def _reserved(alias: str) -> dict[str, Figures]:
    """What each counter should say, by its name; names that nothing stands behind are left out."""
    expected: dict[str, Figures] = {}
    standing = (
        Reservation.objects.using(alias)
        .exclude(state=Reservation.State.RETURNED)
        .values("action", "employee_id", "channel", "card_index", "day")
        .annotate(requests=Count("id"), total=Sum("amount_fen"))
    )
    for part in standing.iterator():
        keys = counter_keys(
            action=Action(part["action"]),
            employee_id=part["employee_id"],
            channel=part["channel"],
            card=part["card_index"],
            day=part["day"],
        )
        for name in keys.all:
            count, total = expected.get(name, (0, 0))
            expected[name] = (count + part["requests"], total + part["total"])
    return expected


def _look_again(names: Iterable[str], alias: str) -> list[str]:
    """Those that are wrong under lock, with both figures. A request whose reservation is not committed yet waits."""
    counters = list(Counter.objects.using(alias).select_for_update().filter(pk__in=list(names)).order_by("name"))
    expected = _reserved(alias)
    return [
        f"{counter.name} counts {counter.count} of {counter.amount_fen} fen, reserved are {requests} of {total} fen"
        for counter in counters
        for requests, total in [expected.get(counter.name, (0, 0))]
        if (counter.count, counter.amount_fen) != (requests, total)
    ]

"""Limits are counted right: every counter equals the reservations that stand."""

from __future__ import annotations

from django.db.models import Count, Sum

from foundation.db import roles
from foundation.proof import ProofLine
from risk.domain.facts import Action
from risk.domain.limits import counter_keys
from risk.models import Counter, Reservation

SHOWN = 5


def prove() -> list[ProofLine]:
    """One line over all counters that are kept."""
    alias = roles.alias_for("default")
    expected: dict[str, list[int]] = {}
    standing = (
        Reservation.objects.using(alias)
        .exclude(state=Reservation.State.RETURNED)
        .values("action", "employee_id", "channel", "card_index", "day")
        .annotate(count=Count("id"), total=Sum("amount_fen"))
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
            sums = expected.setdefault(name, [0, 0])
            sums[0] += part["count"]
            sums[1] += part["total"]
    checked, wrong = 0, []
    for name, count, total in Counter.objects.using(alias).values_list("name", "count", "amount_fen").iterator():
        checked += 1
        if [count, total] != expected.get(name, [0, 0]):
            wrong.append(name)
    return [
        ProofLine(
            name="every risk counter equals its reservations",
            ok=not wrong,
            detail=", ".join(wrong[:SHOWN]),
            figures={"counters": checked, "wrong": len(wrong)},
        )
    ]

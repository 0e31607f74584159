"""Limits as reservations: a request counts from its reservation on, until it is given back.

The counters are those `deciding.decide` locked; the business day is the one of the reservation (Asia/Shanghai), also
when it is given back on a later day. Every function is safe to repeat: (action, reference) is unique.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import structlog
from django.db import IntegrityError, connections, transaction
from django.db.models import F, Q

from foundation.db import roles, transactions
from foundation.errors import Broken, Busy, NotFound
from risk.domain.facts import Action
from risk.domain.limits import counter_keys
from risk.domain.tables import Outcome
from risk.models import Counter, Reservation
from risk.services.deciding import Verdict

logger = structlog.get_logger("risk")


class ReservationUnfit(Broken):
    """A reservation was asked for what was rejected, or differs from the one under its reference, or is given back."""

    code = "risk_reservation_unfit"


def reserve(*, verdict: Verdict, now: dt.datetime) -> Reservation:
    """Counts the request of a PASS or REVIEW verdict; the same reference again returns the first reservation.

    Call it in the transaction of `decide`, which must still be open: the counters' versions are compared, so that a
    verdict of another transaction raises Busy instead of counting on what was true then. Two statements. Raises
    ReservationUnfit for a rejected request, another amount or one that was given back.
    """
    alias = roles.alias_for("default")
    transactions.assert_in_transaction(using=alias)
    asked = verdict.asked
    if verdict.outcome is Outcome.REJECT:
        raise ReservationUnfit({"reference": asked.reference, "problem": "it was rejected"})
    if verdict.is_repeat:
        first = Reservation.objects.using(alias).get(action=asked.action, reference=asked.reference)
        if first.amount_fen != asked.amount_fen or first.employee_id != asked.employee_id:
            raise ReservationUnfit({"reference": asked.reference, "problem": "the first one says something else"})
        if first.state == Reservation.State.RETURNED:
            raise ReservationUnfit({"reference": asked.reference, "problem": "it was given back"})
        return first
    unchanged = Q(pk__in=[])
    for name, version in verdict.seen:
        unchanged |= Q(pk=name, version=version)
    changed = (
        Counter.objects.using(alias)
        .filter(unchanged)
        .update(count=F("count") + 1, amount_fen=F("amount_fen") + asked.amount_fen, version=F("version") + 1)
    )
    if changed != len(verdict.seen):
        raise Busy({"reason": "the limits changed since the decision"})
    return Reservation.objects.using(alias).create(
        action=asked.action,
        reference=asked.reference,
        employee_id=asked.employee_id,
        channel=asked.channel,
        card_index=asked.card_index,
        amount_fen=asked.amount_fen,
        day=verdict.day,
        decision_id=verdict.decision_id,
        created_at=now,
    )


def settle(*, action: Action, reference: str, now: dt.datetime) -> Reservation:
    """The money went: the reservation counts for good. Counters do not change. Again: no change.

    Locks the reservation. Raises NotFound, ReservationUnfit when it was given back before.
    """

    def work(alias: str) -> Reservation:
        _move(action, reference, [Reservation.State.HELD], Reservation.State.SETTLED, now, alias)
        row = _get(action, reference, alias)
        if row.state != Reservation.State.SETTLED:
            raise ReservationUnfit({"reference": reference, "problem": "it was given back"})
        return row

    return _run(work)


def give_back(*, action: Action, reference: str, now: dt.datetime) -> Reservation:
    """The money surely did not go, or came back: the request no longer counts on its day. Again: no change.

    Takes HELD and SETTLED ones. In the caller's transaction on role default, or in its own. Locks the reservation, then
    its counters until the commit: call it before locking accounts, or after those are committed. Raises NotFound.
    """

    def work(alias: str) -> Reservation:
        states = [Reservation.State.HELD, Reservation.State.SETTLED]
        if _move(action, reference, states, Reservation.State.RETURNED, now, alias):
            _uncount(_get(action, reference, alias), alias)
        return _get(action, reference, alias)

    return _run(work)


def _run(work: Any) -> Reservation:
    alias = roles.alias_for("default")
    if connections[alias].in_atomic_block:
        found: Reservation = work(alias)
        return found
    return transactions.run(lambda: work(alias), using=alias)


def _move(action: Action, reference: str, sources: Sequence[str], target: str, now: dt.datetime, alias: str) -> bool:
    rows = Reservation.objects.using(alias).filter(action=action, reference=reference, state__in=sources)
    return rows.update(state=target, ended_at=now) == 1


def _get(action: Action, reference: str, alias: str) -> Reservation:
    row = Reservation.objects.using(alias).filter(action=action, reference=reference).first()
    if row is None:
        raise NotFound({"reservation": reference[:64]})
    return row


def _uncount(row: Reservation, alias: str) -> None:
    """Counters of long ago may have been deleted; those that are there are taken down together."""
    keys = counter_keys(
        action=Action(row.action),
        employee_id=row.employee_id,
        channel=row.channel,
        card=row.card_index,
        day=row.day,
    )
    try:
        with transaction.atomic(using=alias):
            Counter.objects.using(alias).filter(pk__in=keys.all).order_by("name").update(
                count=F("count") - 1, amount_fen=F("amount_fen") - row.amount_fen, version=F("version") + 1
            )
    except IntegrityError as error:
        raise ReservationUnfit({"reference": row.reference, "problem": "the counters are too low"}) from error
    logger.info("limit given back", action=row.action, reference=row.reference, day=row.day.isoformat())

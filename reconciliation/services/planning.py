"""Which bills are expected: a run for each account, kind and day, written at 02:00 of the day after."""

from __future__ import annotations

import datetime as dt

from django.db import IntegrityError, transaction

from foundation import clock
from foundation.errors import InvalidRequest
from gateway import registry
from gateway.ports import BillKind
from gateway.services import calls
from reconciliation.domain.states import RunState
from reconciliation.models import Run
from reconciliation.services import trail

PLANNED_FROM = dt.time(2)
ASKED_FROM = dt.time(10)
EXPECTED_UNTIL = dt.time(15)
"""Of Shanghai, on the day after. Providers make their bills between 09:00 and 10:00; at the last people are told."""
DAYS_BACK = 3
"""Days that a planner who did not run makes up for by itself; older ones are planned by hand."""


def plan_due(*, now: dt.datetime) -> list[Run]:
    """New runs of the last DAYS_BACK days, for every channel that has bills. Nothing before 02:00. Safe to repeat."""
    local = now.astimezone(clock.BUSINESS_ZONE)
    last = local.date() - dt.timedelta(days=1 if local.time() >= PLANNED_FROM else 2)
    made = []
    for back in reversed(range(DAYS_BACK)):
        made += plan_day(day=last - dt.timedelta(days=back), now=now)
    return made


def plan_day(*, day: dt.date, now: dt.datetime) -> list[Run]:
    """The runs of one day that did not exist, for every channel that takes payments and has bills."""
    made = []
    for channel in registry.payment_channels():
        for kind in kinds_of(calls.list_bill_kinds(channel=channel)):
            run, is_new = plan_run(channel=channel, kind=kind, day=day, now=now)
            if is_new:
                made.append(run)
    return made


def plan_run(
    *, channel: str, kind: BillKind, day: dt.date, now: dt.datetime, account: str = "", actor: str = trail.SYSTEM
) -> tuple[Run, bool]:
    """The run of a bill, and whether it is new. `day` has to be over. Raises InvalidRequest.

    A run with an `account`, a merchant's own, is never fetched: its bill is uploaded.
    """
    if day >= clock.business_date(now):
        raise InvalidRequest({"day": ["is not over yet"]})
    if channel not in registry.codes():
        raise InvalidRequest({"channel": ["is none of ours"]})
    rows = Run.objects.using(trail.alias())
    key = {"channel": channel, "account": account, "kind": kind.value, "day": day}

    def work() -> tuple[Run, bool]:
        first = rows.filter(**key).first()
        if first is not None:
            return first, False
        try:
            with transaction.atomic(using=trail.alias()):
                run = rows.create(
                    **key,
                    next_fetch_at=None if account else _at(day, ASKED_FROM),
                    deadline_at=_at(day, EXPECTED_UNTIL),
                    created_at=now,
                    changed_at=now,
                )
        except IntegrityError:  # another planner was faster
            return rows.get(**key), False
        trail.note_run(run, code="planned", actor=actor, now=now)
        return run, True

    return trail.in_transaction(work)


def is_waiting(run: Run) -> bool:
    return run.state in (RunState.PLANNED, RunState.WAITING)


def _at(day: dt.date, time: dt.time) -> dt.datetime:
    return dt.datetime.combine(day + dt.timedelta(days=1), time, clock.BUSINESS_ZONE).astimezone(dt.UTC)


def kinds_of(offered: frozenset[BillKind]) -> list[BillKind]:
    """The bills that are needed: one of all trades, or else its two parts, and the fund flow."""
    trades = [BillKind.TRADE] if BillKind.TRADE in offered else [BillKind.TRADE_PAID, BillKind.TRADE_REFUND]
    return [kind for kind in (*trades, BillKind.FUND_FLOW) if kind in offered]

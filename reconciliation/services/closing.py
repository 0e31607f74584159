"""The end of an account's day: signed off by a finance manager, reopened only by two people, with the trace of both.

A day can be signed off when all of its bills are reviewed; that includes items carried over, so that the next day was
compared before.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from foundation import alerts
from foundation.errors import NotFound, Rejected
from reconciliation.domain.states import DayState, RunState
from reconciliation.models import DayClose, RawFile, Run
from reconciliation.services import comparing, fetching, trail

MAY_SIGN = "reconciliation.sign_off_day"
MAY_PROPOSE = "reconciliation.propose_reopening"
MAY_APPROVE = "reconciliation.approve_reopening"
WATCHED = dt.timedelta(days=7)
"""For how long a signed-off day is compared with our books every night."""


class DayNotReviewed(Rejected):
    """409: `details` give the state of each bill that is not."""

    code = "day_not_reviewed"
    http_status = 409
    message_en = "A bill of this day is not reviewed yet."
    message_zh = "该日仍有未复核的账单。"


def sign_off(
    *, channel: str, day: dt.date, user_id: int, now: dt.datetime, account: str = "", remark: str = ""
) -> DayClose:
    """Closes an account's day. The same person again gets the first answer.

    Raises PermissionDenied, NotFound (no bill was expected), DayNotReviewed. Locks the day's runs.
    """
    actor = trail.check_staff(user_id=user_id, permission=MAY_SIGN)

    def work() -> DayClose:
        runs = _lock_runs(channel, account, day)
        close = _find(channel, account, day)
        if close is not None and close.state == DayState.SIGNED_OFF:
            return close
        waiting = {run.kind: run.state for run in runs if run.state != RunState.REVIEWED}
        if waiting or (close is not None and close.state != DayState.REOPENED):
            raise DayNotReviewed(waiting or {"state": close.state if close else ""})
        for run in runs:
            trail.move_run(run, state=RunState.SIGNED_OFF, code="signed_off", actor=actor, now=now)
        fields: dict[str, Any] = {"signed_by_id": user_id, "signed_at": now}
        if close is None:
            close = DayClose.objects.using(trail.alias()).create(channel=channel, account=account, day=day, **fields)
            fields = {}
        else:
            fields |= {
                "state": DayState.SIGNED_OFF.value,
                "round": close.round + 1,
                "reason": "",
                "proposed_by_id": None,
                "reopened_by_id": None,
                "reopened_at": None,
                "file": None,
            }
        trail.note_day(close, code="signed_off", actor=actor, now=now, note=remark, **fields)
        return close

    return trail.in_transaction(work)


def propose_reopening(
    *, close_id: int, reason: str, user_id: int, now: dt.datetime, file_id: int | None = None
) -> DayClose:
    """Asks for a day to be opened again, perhaps because of a file that arrived late. Nothing changes yet.

    Raises PermissionDenied, trail.ReasonMissing, trail.AlreadyDecided, NotFound (day or file).
    """
    actor = trail.check_staff(user_id=user_id, permission=MAY_PROPOSE)
    kept = trail.reason(reason)

    def work() -> DayClose:
        close = _lock(close_id)
        if close.state == DayState.REOPENING and close.proposed_by_id == user_id:
            return close
        if close.state != DayState.SIGNED_OFF:
            raise trail.AlreadyDecided({"state": close.state})
        file = None
        if file_id is not None:
            file = RawFile.objects.using(trail.alias()).select_related("run").filter(pk=file_id).first()
            if file is None or (file.run.channel, file.run.account, file.run.day) != (
                close.channel,
                close.account,
                close.day,
            ):
                raise NotFound({"file": file_id})
        fields: dict[str, Any] = {
            "state": DayState.REOPENING.value,
            "reason": kept,
            "proposed_by_id": user_id,
            "file": file,
        }
        trail.note_day(close, code="reopening_proposed", actor=actor, now=now, note=kept, **fields)
        return close

    return trail.in_transaction(work)


def approve_reopening(*, close_id: int, user_id: int, now: dt.datetime) -> DayClose:
    """Opens the day: its runs are REVIEWED again, and the late file, if any, becomes its run's file and is compared.

    Raises PermissionDenied, trail.SamePerson, trail.AlreadyDecided. The same person again gets the opened day.
    """
    actor = trail.check_staff(user_id=user_id, permission=MAY_APPROVE)

    def work() -> DayClose:
        found = _get(close_id)
        runs = _lock_runs(found.channel, found.account, found.day)
        close = _lock(close_id)
        if close.state == DayState.REOPENED and close.reopened_by_id == user_id:
            return close
        if close.state != DayState.REOPENING:
            raise trail.AlreadyDecided({"state": close.state})
        if close.proposed_by_id == user_id:
            raise trail.SamePerson
        for run in runs:
            trail.move_run(run, state=RunState.REVIEWED, code="reopened", actor=actor, now=now, note=close.reason)
            if close.file is not None and close.file.run_id == run.pk:
                fetching.take_stored(run=run, file=close.file, actor=actor, now=now)
        fields: dict[str, Any] = {"state": DayState.REOPENED.value, "reopened_by_id": user_id, "reopened_at": now}
        trail.note_day(close, code="reopened", actor=actor, now=now, note=close.reason, **fields)
        return close

    return trail.in_transaction(work)


def reject_reopening(*, close_id: int, reason: str, user_id: int, now: dt.datetime) -> DayClose:
    """The day stays closed; who proposed it may withdraw it so. Raises PermissionDenied, trail.AlreadyDecided."""
    found = _get(close_id)
    is_own = found.proposed_by_id == user_id
    actor = trail.check_staff(user_id=user_id, permission=MAY_PROPOSE if is_own else MAY_APPROVE)
    kept = trail.reason(reason)

    def work() -> DayClose:
        close = _lock(close_id)
        if close.state != DayState.REOPENING:
            raise trail.AlreadyDecided({"state": close.state})
        fields: dict[str, Any] = {
            "state": DayState.SIGNED_OFF.value,
            "reason": "",
            "proposed_by_id": None,
            "file": None,
        }
        code = "reopening_withdrawn" if is_own else "reopening_rejected"
        trail.note_day(close, code=code, actor=actor, now=now, note=kept, **fields)
        return close

    return trail.in_transaction(work)


def watch_closed(*, now: dt.datetime) -> dict[str, int]:
    """Compares what our books say of lately signed-off days with what was compared then; alerts each that changed.

    A payment booked late for a closed day shows here. Nothing is changed: two people reopen the day.
    """
    since = (now - WATCHED).date()
    rows = Run.objects.using(trail.alias()).filter(state=RunState.SIGNED_OFF, day__gte=since, is_without_bill=False)
    report = {"days": 0, "changed": 0}
    for run in rows.order_by("day", "pk"):
        report["days"] += 1
        present = comparing.our_digest(run=run)
        if present == run.our_digest:
            continue
        report["changed"] += 1
        alerts.raise_alert(
            code="closed_day_changed",
            subject=str(run),
            message=f"Our books have {present.partition(':')[0]} rows for a signed-off day, it was compared with "
            f"{run.our_digest.partition(':')[0]}, or one of them says something else. Reopen the day.",
            context={"run": run.pk},
            now=now,
        )
    return report


def _lock_runs(channel: str, account: str, day: dt.date) -> list[Run]:
    rows = Run.objects.using(trail.alias()).select_for_update().filter(channel=channel, account=account, day=day)
    runs = list(rows.order_by("pk"))
    if not runs:
        raise NotFound({"channel": channel, "day": day.isoformat()})
    return runs


def _find(channel: str, account: str, day: dt.date) -> DayClose | None:
    rows = DayClose.objects.using(trail.alias()).select_for_update()
    return rows.filter(channel=channel, account=account, day=day).first()


def _get(close_id: int) -> DayClose:
    row = DayClose.objects.using(trail.alias()).filter(pk=close_id).first()
    if row is None:
        raise NotFound({"day": close_id})
    return row


def _lock(close_id: int) -> DayClose:
    row = DayClose.objects.using(trail.alias()).select_for_update().filter(pk=close_id).first()
    if row is None:
        raise NotFound({"day": close_id})
    return row

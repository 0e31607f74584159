"""Getting a bill: by asking the provider every half hour from 10:00 on, by hand, or as a file that somebody uploads.

The raw bytes are stored before anybody reads them, whatever they are. "No bill" is believed only late in the day and
only when our books have nothing for that day either.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Mapping
from typing import IO, Any

import structlog

from foundation import alerts
from foundation.errors import Busy, InvalidRequest
from gateway.ports import Bill, BillKind, BillState
from gateway.registry import ChannelUnavailable
from gateway.services import calls
from reconciliation.domain.states import RunState
from reconciliation.models import RawFile, Run
from reconciliation.services import books, planning, storing, trail

logger = structlog.get_logger("reconciliation")

ASK_EVERY = dt.timedelta(minutes=30)
BY_HAND_FOR = dt.timedelta(days=92)
"""Providers keep bills for three months."""
NO_BILL_AFTER = dt.timedelta(hours=4)
"""After the first possible moment: Alipay says "no bill" for one that is not made yet, too."""
MAY_OPERATE = "reconciliation.operate_run"
HASH_WRONG = "hash_mismatch"


def fetch_due(*, now: dt.datetime, limit: int = 50) -> dict[str, int]:
    """Asks for every bill that is due; one that fails does not stop the others. Alerts what is behind its deadline."""
    rows = Run.objects.using(trail.alias()).filter(
        state__in=[RunState.PLANNED, RunState.WAITING], next_fetch_at__lte=now
    )
    report = {"asked": 0, "fetched": 0, "none": 0, "failed": 0}
    for run_id in rows.order_by("next_fetch_at", "pk").values_list("pk", flat=True)[:limit]:
        report["asked"] += 1
        try:
            run = fetch(run_id=run_id, now=now)
        except Exception:
            logger.exception("bill not fetched", run=run_id)
            report["failed"] += 1
            _put_off(run_id, now, code="failed")
            continue
        report["fetched"] += run.state == RunState.FETCHED
        report["none"] += run.state == RunState.MATCHED
    _alert_late(now)
    return report


def retry(*, run_id: int, user_id: int, now: dt.datetime) -> Run:
    """Asks at once, for staff; also for a bill that was fetched before. Raises PermissionDenied, InvalidRequest."""
    actor = trail.check_staff(user_id=user_id, permission=MAY_OPERATE)
    run = Run.objects.using(trail.alias()).get(pk=run_id)
    if now - books.day_bounds(run.day)[1] > BY_HAND_FOR:
        raise InvalidRequest({"day": ["providers keep bills for three months"]})
    if run.state == RunState.SIGNED_OFF:
        raise trail.AlreadyDecided({"state": run.state})
    return fetch(run_id=run_id, now=now, actor=actor)


def fetch(*, run_id: int, now: dt.datetime, actor: str = trail.SYSTEM) -> Run:
    """Asks the provider for one bill and stores what comes. Safe to repeat: the same bytes change nothing.

    The provider is asked outside of any transaction. A file with a wrong hash is kept as evidence and asked for again.
    Raises InvalidRequest for a merchant's own account: the provider gives us our own bill only.
    """
    run = Run.objects.using(trail.alias()).get(pk=run_id)
    if run.account:
        raise InvalidRequest({"account": ["bills of merchants' own accounts are uploaded"]})
    try:
        bill = calls.download_bill(channel=run.channel, day=run.day, kind=BillKind(run.kind))
    except (ChannelUnavailable, Busy) as error:
        return _wait(run_id, code=error.code, now=now, actor=actor)
    if bill.state is BillState.NO_BILL and not bill.content:
        return _no_bill(run, bill, now, actor)
    file = _store(run, bill, now) if bill.content else None
    if bill.state is not BillState.READY or file is None:
        if bill.code == HASH_WRONG:
            _alert(
                run, "bill_hash_wrong", "The bill has not the hash that the provider gave; it is asked for again.", now
            )
        return _wait(run_id, code=bill.code or bill.state.value.lower(), now=now, actor=actor, note=bill.message)
    return _take(run_id, file, code="fetched", actor=actor, now=now)


def upload(*, run_id: int, stream: IO[bytes], name: str, user_id: int, now: dt.datetime) -> RawFile:
    """A bill by hand: stored, then read and compared like a fetched one.

    For a signed-off day the file is stored only: it goes on when the day is reopened (closing.propose_reopening).
    Raises PermissionDenied, storing.BillTooLarge, storing.BillEmpty.
    """
    actor = trail.check_staff(user_id=user_id, permission=MAY_OPERATE)
    run = Run.objects.using(trail.alias()).get(pk=run_id)
    file = storing.store(run=run, stream=stream, name=name, user_id=user_id, now=now)
    if run.state != RunState.SIGNED_OFF:
        _take(run_id, file, code="uploaded", actor=actor, now=now)
        return file
    if run.file_id != file.pk:
        trail.in_transaction(
            lambda: trail.note_run(
                trail.lock_run(run_id=run_id), code="uploaded_late", actor=actor, now=now, note=file.sha256
            )
        )
        _alert(run, "bill_after_sign_off", "A new bill was uploaded for a signed-off day.", now)
    return file


def take_stored(*, run: Run, file: RawFile, actor: str, now: dt.datetime) -> Run:
    """Makes a file that is stored already the run's present one (a reopened day)."""
    return _take(run.pk, file, code="file_taken", actor=actor, now=now)


def _store(run: Run, bill: Bill, now: dt.datetime) -> RawFile:
    return storing.store(
        run=run,
        stream=io.BytesIO(bill.content),
        provider_hash=bill.provider_hash,
        is_hash_wrong=bill.code == HASH_WRONG,
        now=now,
    )


def _take(run_id: int, file: RawFile, *, code: str, actor: str, now: dt.datetime) -> Run:
    def work() -> Run:
        run = trail.lock_run(run_id=run_id)
        if run.state == RunState.SIGNED_OFF:
            raise trail.AlreadyDecided({"state": run.state})
        if run.file_id == file.pk and not planning.is_waiting(run):
            trail.note_run(run, code=f"{code}_again", actor=actor, now=now, note=file.sha256)
            return run
        fields: dict[str, Any] = {"file": file, "is_without_bill": False, "next_fetch_at": None, "last_code": ""}
        trail.move_run(
            run,
            state=RunState.FETCHED,
            code=code,
            actor=actor,
            now=now,
            note=file.sha256,
            tries=run.tries + 1,
            **fields,
        )
        return run

    return trail.in_transaction(work)


def _wait(run_id: int, *, code: str, now: dt.datetime, actor: str, note: str = "") -> Run:
    """Asked in vain: a run that has a file keeps it and its state."""

    def work() -> Run:
        run = trail.lock_run(run_id=run_id)
        if not planning.is_waiting(run):
            trail.note_run(run, code="not_fetched", actor=actor, now=now, note=f"{code} {note}".strip())
            return run
        fields: dict[str, Any] = {"next_fetch_at": now + ASK_EVERY, "tries": run.tries + 1, "last_code": code[:64]}
        trail.move_run(run, state=RunState.WAITING, code=code, actor=actor, now=now, note=note, **fields)
        return run

    return trail.in_transaction(work)


def _no_bill(run: Run, bill: Bill, now: dt.datetime, actor: str) -> Run:
    """Nothing there, and nothing in our books: the run is done. With anything in our books it goes on waiting."""
    code = bill.code or "no_bill"
    is_late = now >= run.deadline_at - _UNTIL_DEADLINE + NO_BILL_AFTER
    if not is_late or not planning.is_waiting(run) or books.has_any(run=run):
        return _wait(run.pk, code=code, now=now, actor=actor, note=bill.message)

    def work() -> Run:
        locked = trail.lock_run(run_id=run.pk)
        if planning.is_waiting(locked):
            fields: dict[str, Any] = {
                "is_without_bill": True,
                "next_fetch_at": None,
                "last_code": code,
                "tries": locked.tries + 1,
            }
            trail.move_run(locked, state=RunState.MATCHED, code="no_bill_believed", actor=actor, now=now, **fields)
            trail.move_run(locked, state=RunState.REVIEWED, code="nothing_to_review", actor=trail.SYSTEM, now=now)
        return locked

    return trail.in_transaction(work)


_UNTIL_DEADLINE = dt.datetime.combine(dt.date.min, planning.EXPECTED_UNTIL) - dt.datetime.combine(
    dt.date.min, planning.ASKED_FROM
)


def _put_off(run_id: int, now: dt.datetime, *, code: str) -> None:
    _wait(run_id, code=code, now=now, actor=trail.SYSTEM)


def _alert_late(now: dt.datetime) -> None:
    rows = Run.objects.using(trail.alias()).filter(state__in=[RunState.PLANNED, RunState.WAITING], deadline_at__lte=now)
    for run in rows:
        _alert(run, "bill_late", f"The bill is not there after {run.tries} tries: {run.last_code or 'not asked'}.", now)


def _alert(run: Run, code: str, message: str, now: dt.datetime) -> None:
    context: Mapping[str, object] = {"run": run.pk, "day": run.day.isoformat(), "last_code": run.last_code}
    alerts.raise_alert(code=code, subject=str(run), message=message, context=context, now=now)

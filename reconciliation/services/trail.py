"""Transactions, locks and events: the one place where runs and differences change their state."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.contrib.auth import get_user_model

from foundation.db import roles, transactions
from foundation.errors import Broken, NotFound, PermissionDenied, Rejected
from reconciliation.domain.states import RUN_MOVES, DifferenceState, RunState
from reconciliation.models import (
    REASON_MAX_LENGTH,
    REASON_MIN_LENGTH,
    DayClose,
    DayEvent,
    Difference,
    DifferenceEvent,
    Run,
    RunEvent,
)

Result = TypeVar("Result")
SYSTEM = "system"


class IllegalMove(Broken):
    """A run was about to move as its table does not allow."""

    code = "reconciliation_illegal_move"


class AlreadyDecided(Rejected):
    """409: somebody was first; `details["state"]` says what it is now."""

    code = "reconciliation_already_decided"
    http_status = 409
    message_en = "This was handled meanwhile."
    message_zh = "该记录已被处理。"


class SamePerson(Rejected):
    code = "reconciliation_same_person"
    http_status = 403
    message_en = "Another person must decide what you proposed."
    message_zh = "须由提出人以外的人员审批。"


class ReasonMissing(Rejected):
    code = "reconciliation_reason_missing"
    http_status = 422
    message_en = "Give a reason of 10 to 500 characters."
    message_zh = "请填写 10 至 500 字的原因。"


def alias() -> str:
    """The database of reconciliation."""
    return roles.alias_for("default")


def in_transaction(work: Callable[[], Result]) -> Result:
    """Runs `work` in one transaction of that database; see foundation.db.transactions.run."""
    return transactions.run(work, using=alias())


def check_staff(*, user_id: int, permission: str) -> str:
    """The actor's name in events ("staff:<id>"). Raises PermissionDenied unless he is active and may do it now."""
    user: Any = get_user_model().objects.filter(pk=user_id, is_active=True, is_staff=True).first()
    if user is None or not user.has_perm(permission):
        raise PermissionDenied({"permission": permission})
    return f"staff:{user_id}"


def lock_run(*, run_id: int) -> Run:
    """The run under its row's lock. Raises NotFound."""
    row = Run.objects.using(alias()).select_for_update().filter(pk=run_id).first()
    if row is None:
        raise NotFound({"run": run_id})
    return row


def lock_difference(*, difference_id: int) -> Difference:
    """The difference under its row's lock. Raises NotFound."""
    row = Difference.objects.using(alias()).select_for_update().filter(pk=difference_id).first()
    if row is None:
        raise NotFound({"difference": difference_id})
    return row


def move_run(
    run: Run, *, state: RunState, code: str, actor: str, now: dt.datetime, note: str = "", **fields: Any
) -> None:
    """Writes the state, `fields` and an event; the caller holds the lock. Staying is allowed. Raises IllegalMove."""
    present = RunState(run.state)
    if state is not present and state not in RUN_MOVES[present]:
        raise IllegalMove({"run": run.pk, "from": present.value, "to": state.value})
    for name, value in {**fields, "state": state.value, "changed_at": now}.items():
        setattr(run, name, value)
    run.save(using=alias(), update_fields=[*fields, "state", "changed_at"])
    note_run(run, code=code, actor=actor, now=now, note=note)


def note_run(run: Run, *, code: str, actor: str, now: dt.datetime, note: str = "") -> None:
    """An event without a move."""
    RunEvent.objects.using(alias()).create(
        run=run, state=run.state, code=code[:64], actor=actor, note=note[:500], happened_at=now
    )


def note_difference(
    row: Difference,
    *,
    code: str,
    actor: str,
    now: dt.datetime,
    note: str = "",
    evidence: Sequence[dict[str, str]] = (),
    **fields: Any,
) -> None:
    """Writes `fields` and an event; the caller holds the lock."""
    if fields:
        for name, value in fields.items():
            setattr(row, name, value)
        row.save(using=alias(), update_fields=list(fields))
    DifferenceEvent.objects.using(alias()).create(
        difference=row,
        state=DifferenceState(row.state).value,
        code=code,
        actor=actor,
        note=note[:500],
        evidence=list(evidence),
        happened_at=now,
    )


def note_day(row: DayClose, *, code: str, actor: str, now: dt.datetime, note: str = "", **fields: Any) -> None:
    """Writes `fields` and an event; the caller holds the lock."""
    if fields:
        for name, value in fields.items():
            setattr(row, name, value)
        row.save(using=alias(), update_fields=list(fields))
    DayEvent.objects.using(alias()).create(
        close=row, state=row.state, code=code, actor=actor, note=note[:500], happened_at=now
    )


def reason(text: str) -> str:
    """The text without blanks around it. Raises ReasonMissing."""
    kept = text.strip()
    if not REASON_MIN_LENGTH <= len(kept) <= REASON_MAX_LENGTH:
        raise ReasonMissing({"characters": len(kept)})
    return kept

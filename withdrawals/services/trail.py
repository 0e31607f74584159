"""Every change of a withdrawal: under its row lock, along the transition table, with an event in the same commit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from foundation.db import roles, transactions
from foundation.errors import Broken, NotFound, Rejected
from withdrawals.domain.states import ENDED, WithdrawalState, sources
from withdrawals.models import Withdrawal, WithdrawalEvent

Result = TypeVar("Result")


class IllegalMove(Broken):
    """The transition table does not allow this; a bug of the caller's."""

    code = "illegal_withdrawal_move"


class AlreadyDecided(Rejected):
    """409: somebody else was faster; `details` say what it is now, who did it and when."""

    code: ClassVar[str] = "withdrawal_already_decided"
    http_status: ClassVar[int] = 409
    message_en: ClassVar[str] = "This withdrawal has been decided already."
    message_zh: ClassVar[str] = "该提现已被处理。"


def alias() -> str:
    """The database of withdrawals."""
    return roles.alias_for("default")


def in_transaction(work: Callable[[], Result]) -> Result:
    """Runs `work` in one transaction on the database of withdrawals; see foundation.db.transactions.run."""
    return transactions.run(work, using=alias())


def lock(*, order_no: str) -> Withdrawal:
    """The withdrawal, its row locked until the open transaction ends; NotFound."""
    transactions.assert_in_transaction(using=alias())
    row = Withdrawal.objects.select_for_update().filter(pk=order_no).first()
    if row is None:
        raise NotFound({"withdrawal": order_no[:32]})
    return row


def move(
    *,
    row: Withdrawal,
    target: WithdrawalState,
    kind: str,
    actor: str,
    now: dt.datetime,
    note: str = "",
    **fields: Any,
) -> None:
    """Moves a locked withdrawal to `target`, sets `fields`, writes the event. Raises IllegalMove.

    `kind` and `actor` (≤ 32 and 64 ascii characters) say what happened and who did it ("employee:7", "staff:alice",
    "provider:wechat", "system").
    """
    if WithdrawalState(row.state) not in sources(target):
        raise IllegalMove({"order_no": row.order_no, "present": row.state, "target": target.value})
    if target in ENDED and row.finished_at is None:
        fields["finished_at"] = now
    _write(row, kind=kind, actor=actor, now=now, note=note, state=target.value, **fields)


def note(*, row: Withdrawal, kind: str, actor: str, now: dt.datetime, note: str = "", **fields: Any) -> None:
    """As `move`, for what does not change the state of a locked withdrawal."""
    _write(row, kind=kind, actor=actor, now=now, note=note, **fields)


def _write(row: Withdrawal, *, kind: str, actor: str, now: dt.datetime, note: str, **fields: Any) -> None:
    version = row.version + 1
    changed = Withdrawal.objects.filter(pk=row.pk, version=row.version).update(version=version, **fields)
    if changed != 1:
        raise IllegalMove({"order_no": row.order_no, "problem": "changed without its lock"})
    row.version = version
    for name, value in fields.items():
        setattr(row, name, value)
    WithdrawalEvent.objects.create(
        withdrawal_id=row.pk,
        version=version,
        kind=kind,
        state=row.state,
        actor=actor[:64],
        note=note[:500],
        happened_at=now,
    )


def already_decided(row: Withdrawal) -> AlreadyDecided:
    """What to tell who came too late."""
    last = WithdrawalEvent.objects.filter(withdrawal_id=row.pk).order_by("-version").first()
    return AlreadyDecided(
        {
            "order_no": row.order_no,
            "state": row.state,
            "by": last.actor if last else "",
            "at": last.happened_at.isoformat() if last else "",
        }
    )

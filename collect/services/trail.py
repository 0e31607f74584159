"""Locks a binding, moves it along its table, and writes what happened."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from collect.domain import states
from collect.domain.states import BindingState
from collect.models import Binding, BindingEvent
from foundation.db import roles, transactions
from foundation.errors import NotFound, Rejected

Result = TypeVar("Result")


class BindingNotMovable(Rejected):
    """409: the binding's present state does not allow this."""

    code = "binding_state"
    http_status = 409
    message_en = "The receiving account is in another state."
    message_zh = "收款账号当前状态不允许此操作。"


def in_transaction(work: Callable[[], Result]) -> Result:
    """Runs `work` in one transaction on the bindings' database; tried again on a deadlock."""
    return transactions.run(work, using=roles.alias_for("default"))


def lock(*, binding_id: str) -> Binding:
    """The binding, its row locked until the open transaction ends; NotFound."""
    transactions.assert_in_transaction(using=roles.alias_for("default"))
    row = Binding.objects.select_for_update().filter(pk=binding_id).first()
    if row is None:
        raise NotFound({"binding": binding_id[:32]})
    return row


def move(
    row: Binding,
    *,
    target: BindingState,
    actor: str,
    now: dt.datetime,
    note: str = "",
    fields: Mapping[str, Any] | None = None,
) -> None:
    """Moves a locked binding to `target` and writes the event. Raises BindingNotMovable."""
    allowed = states.sources(states.BINDING_MOVES, target)
    values = {"state": target.value, **(fields or {})}
    if not Binding.objects.filter(pk=row.pk, state__in=allowed).update(**values):
        raise BindingNotMovable({"state": row.state, "target": target.value})
    for name, value in values.items():
        setattr(row, name, value)
    write(row, actor=actor, now=now, note=note)


def write(row: Binding, *, actor: str, now: dt.datetime, note: str = "") -> None:
    """One event of the binding as it now stands."""
    BindingEvent.objects.create(binding=row, state=row.state, actor=actor[:64], note=note[:500], happened_at=now)

"""The audit trail (审计日志): who did what, when, from where, why, and what it changed.

A row is written by `record`, in the transaction of its fact where there is one. Who and from where is said once, by
`acting` around what is done, or with the call. Rows are never changed (triggers), and chained behind the writers
(`foundation.audit_chain`): nobody waits for the chain's end.
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from foundation import clock
from foundation.db import roles
from foundation.models import AuditEntry

TEXT_MAX = 1000
"""Characters of one field's value that are kept; a longer one is cut and named by its SHA-256."""
HIDDEN = "(hidden)"

_SECRET_NAME = re.compile(r"password|secret|token|private|(^|_)key$|(^|_)code$|digest|_index$", re.IGNORECASE)
"""Of fields whose value is never kept. `code` alone is the code of an employee, enterprise or channel, and is kept."""
_KEPT_NAMES = frozenset({"code", "bank_code", "result_code"})
_CLOSED = re.compile(r"v1:([^:]{1,32}):")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Who does something and from where. `actor_id` is the id of a member of staff; None: nobody or a program."""

    actor_name: str
    actor_id: int | None = None
    address: str = ""
    request_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is known while one request of staff is answered: its origin and its reason."""

    origin: Origin
    reason: str = ""


_scene: contextvars.ContextVar[Scene | None] = contextvars.ContextVar("audit_scene", default=None)


def scene() -> Scene | None:
    """The scene of the request that is being answered; None outside of one."""
    return _scene.get()


@contextlib.contextmanager
def acting(current: Scene) -> Iterator[Scene]:
    """Inside the block everything recorded has the origin of `current`."""
    mark = _scene.set(current)
    try:
        yield current
    finally:
        _scene.reset(mark)


def record(
    *,
    action: str,
    object_type: str = "",
    object_key: str = "",
    object_name: str = "",
    reason: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
    origin: Origin | None = None,
    now: dt.datetime | None = None,
) -> AuditEntry:
    """Writes one row (role default) and returns it; it commits with the transaction that is open there.

    `action` is a dotted code such as "staff.change". Without `origin` it is the request's, or the program itself. Not
    safe to repeat: each call is one row. A row that cannot be written raises, and what it was about must not happen.
    """
    current = scene()
    who = origin or (current.origin if current else Origin(actor_name="system"))
    row = AuditEntry(
        happened_at=now or clock.now(),
        action=action,
        actor_id=who.actor_id,
        actor_name=who.actor_name[:150],
        address=who.address[:45],
        request_id=who.request_id[:64],
        object_type=object_type,
        object_key=object_key[:128],
        object_name=object_name[:200],
        reason=(reason or (current.reason if current else ""))[:500],
        before=None if before is None else plain(before),
        after=None if after is None else plain(after),
        details=plain(details or {}),
    )
    row.digest = digest_of(row)
    row.save(using=roles.alias_for("default"), force_insert=True)
    return row


def digest_of(row: AuditEntry) -> str:
    """64 hex digits over all the row says; its id is the seal's matter, for it is not known before the insert."""
    said = {
        item.attname: getattr(row, item.attname)
        for item in AuditEntry._meta.concrete_fields
        if item.attname not in ("id", "digest", "happened_at")
    }
    said["happened_at"] = row.happened_at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    text = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON keeps it: numbers, booleans and null stay, floats and everything else become text; long text is cut."""
    return {str(name): _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    text = value.isoformat() if isinstance(value, dt.datetime | dt.date | dt.time) else str(value)
    if len(text) > TEXT_MAX:
        return f"{text[:TEXT_MAX]}… (sha256 {hashlib.sha256(text.encode()).hexdigest()})"
    return text


def hidden(name: str, value: Any) -> Any:
    """`value` of the field `name`, or what stands for it where it is secret or closed."""
    if value in (None, ""):
        return value
    closed = _CLOSED.match(value) if isinstance(value, str) else None
    if closed is not None:
        # Two closings of one text differ: the fingerprint tells that it was written, and nothing of the content.
        return f"(closed with {closed[1]}, {hashlib.sha256(value.encode()).hexdigest()[:8]})"
    if _SECRET_NAME.search(name) and name not in _KEPT_NAMES:
        return HIDDEN if not isinstance(value, str) else f"(hidden, {hashlib.sha256(value.encode()).hexdigest()[:8]})"
    return value


def difference(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """(before, after) of the fields that differ only; a row that came or went is kept whole."""
    if before is None or after is None:
        return (None if before is None else dict(before)), (None if after is None else dict(after))
    names = [name for name in before if before[name] != after.get(name)]
    return {name: before[name] for name in names}, {name: after.get(name) for name in names}

"""What identifies a version's content, and how two versions differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from risk.domain.tables import Row, Thresholds

CHANGED = "risk.rules_changed"
"""Outbox topic: a version was submitted, activated or refused."""
LISTS_CHANGED = "risk.lists_changed"
"""Outbox topic: a list entry was added, confirmed or removed."""

SHIPPED_BY = 0
"""`made_by_id` of the versions the platform comes with: nobody's, and the only ones without a checker."""
NOTE_MAX_LENGTH = 500


COLUMNS = tuple(field.name for field in fields(Row) if field.name not in ("position", "code"))


@dataclass(frozen=True, kw_only=True)
class RowChange:
    """One row that is not the same: added (`before` None), removed (`after` None) or changed in `columns`."""

    code: str
    before: Row | None
    after: Row | None
    columns: tuple[str, ...] = ()
    is_moved: bool = False


def digest(*, action: str, rows: Sequence[Row], thresholds: Thresholds) -> str:
    """SHA-256 over all a version says, in hex; what the checker saw is what becomes active."""
    content = [action, asdict(thresholds), [asdict(row) for row in sorted(rows, key=lambda item: item.position)]]
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def difference(before: Sequence[Row], after: Sequence[Row]) -> list[RowChange]:
    """Rows by code: removed first, then added and changed ones in their new order. Equal tables give nothing."""
    old, new = ({row.code: row for row in sorted(rows, key=lambda item: item.position)} for rows in (before, after))
    changes = [RowChange(code=code, before=row, after=None) for code, row in old.items() if code not in new]
    kept_before = [code for code in old if code in new]
    kept_after = [code for code in new if code in old]
    for code, row in new.items():
        if code not in old:
            changes.append(RowChange(code=code, before=None, after=row))
            continue
        columns = tuple(name for name in COLUMNS if getattr(row, name) != getattr(old[code], name))
        is_moved = kept_before.index(code) != kept_after.index(code)
        if columns or is_moved:
            changes.append(RowChange(code=code, before=old[code], after=row, columns=columns, is_moved=is_moved))
    return changes

"""Rows of orders.selectors.statements as frozen records."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from typing import Any

from orders.domain.pages import Key
from orders.domain.records import AttemptRecord, OrderRecord
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.selectors.statements import ORDER_COLUMNS

_WIDTH = len(ORDER_COLUMNS)

Row = Sequence[Any]


_from_iso = dt.datetime.fromisoformat


def _moment(text: str) -> dt.datetime:
    return _from_iso(text + "+00:00")


def _moment_or_none(text: str | None) -> dt.datetime | None:
    return None if text is None else _from_iso(text + "+00:00")


def key(row: Row) -> Key:
    """(created_at, order_no) of a row of keys."""
    return _moment(row[0]), row[1]


def order(row: Row, attempts: Sequence[AttemptRecord] = ()) -> OrderRecord:
    """The record of a row of ORDER_COLUMNS (what follows in the row does not matter)."""
    return OrderRecord(
        order_no=row[0],
        kind=OrderKind(row[1]),
        state=OrderState(row[2]),
        amount_fen=row[3],
        refunding_fen=row[4],
        refunded_fen=row[5],
        subject=row[6],
        employee_id=row[7],
        enterprise_id=row[8],
        business_no=row[9],
        original_order_no=row[10],
        effective_attempt_no=row[11],
        created_at=_moment(row[12]),
        paid_at=_moment_or_none(row[13]),
        closed_at=_moment_or_none(row[14]),
        expires_at=_moment_or_none(row[15]),
        channel=row[16],
        attempts=tuple(attempts),
    )


def attempt(row: Row) -> AttemptRecord:
    """The record of a row of ATTEMPT_COLUMNS."""
    return AttemptRecord(
        attempt_no=row[0],
        order_no=row[1],
        channel=row[2],
        scene=row[3],
        state=AttemptState(row[4]),
        amount_fen=row[5],
        provider_no=row[6],
        payment=None if row[7] is None else json.loads(row[7]),
        result_code=row[8],
        is_effective=row[9] == 1,
        created_at=_moment(row[10]),
        finished_at=_moment_or_none(row[11]),
        next_check_at=_moment_or_none(row[12]),
        tries=row[13],
    )


def whole_orders(rows: Iterable[Row]) -> dict[str, OrderRecord]:
    """Records by number from rows of orders joined with attempts; attempts oldest first."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row[0], []).append(row)
    return {number: whole_order(group) for number, group in grouped.items()}


def whole_order(group: Sequence[Row]) -> OrderRecord:
    """The record of the rows of one order joined with its attempts."""
    return order(group[0], _attempts(group))


def _attempts(group: Sequence[Row]) -> list[AttemptRecord]:
    found = [attempt(row[_WIDTH:]) for row in group if row[_WIDTH] is not None]
    if len(found) > 1:
        found.sort(key=lambda each: (each.created_at, each.attempt_no))
    return found

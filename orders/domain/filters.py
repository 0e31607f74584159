"""By what a list of orders can be narrowed."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from orders.domain.states import OrderKind, OrderState


@dataclass(frozen=True, kw_only=True)
class OrderFilter:
    """All given conditions hold at once; None (or an empty channel) asks nothing.

    `created_from` is the first moment that counts, `created_to` the first one that does not; `as_of` is the last one
    that counts, for pages that hold still.
    """

    employee_id: int | None = None
    kind: OrderKind | None = None
    state: OrderState | None = None
    channel: str = ""
    created_from: dt.datetime | None = None
    created_to: dt.datetime | None = None
    as_of: dt.datetime | None = None

"""What other apps see of orders and attempts: frozen copies, never the tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orders.domain.states import OPEN_ATTEMPT_STATES, AttemptState, OrderKind, OrderState


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One try to move an order's money through one channel; `attempt_no` is the provider's number for it."""

    attempt_no: str
    order_no: str
    channel: str
    scene: str
    state: AttemptState
    amount_fen: int
    provider_no: str
    payment: Mapping[str, Any] | None
    result_code: str
    is_effective: bool
    created_at: dt.datetime
    finished_at: dt.datetime | None
    next_check_at: dt.datetime | None
    tries: int

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_ATTEMPT_STATES


@dataclass(frozen=True, kw_only=True)
class OrderRecord:
    """What is to be paid, once. `employee_id`/`enterprise_id` own it; amounts in fen.

    `channel` is that of the attempt opened last, "" before any: what lists filter by without looking at attempts.
    """

    order_no: str
    kind: OrderKind
    state: OrderState
    amount_fen: int
    refunding_fen: int
    refunded_fen: int
    subject: str
    employee_id: int
    enterprise_id: int
    business_no: str
    original_order_no: str
    effective_attempt_no: str
    created_at: dt.datetime
    paid_at: dt.datetime | None
    closed_at: dt.datetime | None
    expires_at: dt.datetime | None
    channel: str = ""
    attempts: tuple[AttemptRecord, ...] = ()

    def effective_attempt(self) -> AttemptRecord | None:
        """The attempt that won the order, once there is one."""
        return next((attempt for attempt in self.attempts if attempt.is_effective), None)


@dataclass(frozen=True, kw_only=True)
class NewOrder:
    """An order to insert; see OrderRecord for the meaning of the fields."""

    order_no: str
    kind: OrderKind
    amount_fen: int
    employee_id: int
    enterprise_id: int
    subject: str = ""
    business_no: str = ""
    original_order_no: str = ""
    expires_at: dt.datetime | None = None
    channel: str = ""


@dataclass(frozen=True, kw_only=True)
class NewAttempt:
    """An attempt to insert in state CREATED; see AttemptRecord. `next_check_at` None: nobody asks about it."""

    attempt_no: str
    channel: str
    amount_fen: int
    scene: str = ""
    next_check_at: dt.datetime | None = None


@dataclass(frozen=True, kw_only=True)
class NumberedPage:
    """Page `page` (1 = newest) of `total` orders that existed at `as_of`."""

    items: tuple[OrderRecord, ...]
    page: int
    total: int
    as_of: dt.datetime


@dataclass(frozen=True, kw_only=True)
class OrderPage:
    """A page of orders, newest first; `next_after` is the key of the last one when more follow."""

    items: tuple[OrderRecord, ...]
    next_after: tuple[dt.datetime, str] | None

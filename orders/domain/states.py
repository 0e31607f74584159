"""Kinds and states of orders and attempts, and the only moves there are.

Source: design `money.md` ("Orders and attempts"). The tables generate both the SQL condition and the property test.
An attempt that was closed or failed may still turn out paid: the provider's verified success is a fact, and where the
order has ended the money goes to "payments to return".
"""

from __future__ import annotations

from enum import StrEnum


class OrderKind(StrEnum):
    RECHARGE = "RECHARGE"
    PAYMENT = "PAYMENT"
    COLLECT = "COLLECT"
    TRANSFER = "TRANSFER"
    TRANSFER_RECEIPT = "TRANSFER_RECEIPT"
    REDPACKET_SEND = "REDPACKET_SEND"
    REDPACKET_RECEIPT = "REDPACKET_RECEIPT"
    REDPACKET_REFUND = "REDPACKET_REFUND"
    RETURN = "RETURN"
    WITHDRAWAL = "WITHDRAWAL"


class OrderState(StrEnum):
    CREATED = "CREATED"
    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CLOSED = "CLOSED"
    INVALID = "INVALID"


class AttemptState(StrEnum):
    CREATED = "CREATED"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CLOSED = "CLOSED"


ORDER_MOVES: dict[OrderState, frozenset[OrderState]] = {
    OrderState.CREATED: frozenset(OrderState) - {OrderState.CREATED},
    OrderState.PENDING: frozenset({OrderState.SUCCESS, OrderState.FAILED, OrderState.CLOSED, OrderState.INVALID}),
    OrderState.SUCCESS: frozenset(),
    OrderState.FAILED: frozenset(),
    OrderState.CLOSED: frozenset(),
    OrderState.INVALID: frozenset(),
}
ATTEMPT_MOVES: dict[AttemptState, frozenset[AttemptState]] = {
    AttemptState.CREATED: frozenset(AttemptState) - {AttemptState.CREATED},
    AttemptState.PENDING: frozenset(
        {AttemptState.UNKNOWN, AttemptState.SUCCESS, AttemptState.FAILED, AttemptState.CLOSED}
    ),
    AttemptState.UNKNOWN: frozenset(
        {AttemptState.PENDING, AttemptState.SUCCESS, AttemptState.FAILED, AttemptState.CLOSED}
    ),
    AttemptState.SUCCESS: frozenset(),
    AttemptState.FAILED: frozenset({AttemptState.SUCCESS}),
    AttemptState.CLOSED: frozenset({AttemptState.SUCCESS}),
}
OPEN_ORDER_STATES = (OrderState.CREATED, OrderState.PENDING)
OPEN_ATTEMPT_STATES = (AttemptState.CREATED, AttemptState.PENDING, AttemptState.UNKNOWN)


def order_sources(target: OrderState) -> tuple[OrderState, ...]:
    """The states from which an order may move to `target`."""
    return tuple(source for source, targets in ORDER_MOVES.items() if target in targets)


def attempt_sources(target: AttemptState) -> tuple[AttemptState, ...]:
    """The states from which an attempt may move to `target`."""
    return tuple(source for source, targets in ATTEMPT_MOVES.items() if target in targets)

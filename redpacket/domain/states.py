"""Kinds and states of packets and settlements, and the only moves there are.

Source: design `money.md` ("Red packet"). The table generates both the SQL condition and the property test.
"""

from __future__ import annotations

from enum import StrEnum


class PacketKind(StrEnum):
    NORMAL = "NORMAL"  # 普通: one share, one named receiver
    LUCKY = "LUCKY"  # 拼手气: many shares of random amounts, to a group


class PacketState(StrEnum):
    DRAFT = "DRAFT"
    OPEN = "OPEN"
    EXHAUSTED = "EXHAUSTED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


class SettlementState(StrEnum):
    ASSIGNED = "ASSIGNED"  # the batch is fixed, the ledger may or may not have it
    POSTED = "POSTED"


class RefundState(StrEnum):
    """Return of an expired packet's rest. DUE: the number is fixed, payments may or may not have it."""

    NONE = "NONE"
    DUE = "DUE"
    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"  # the channel refused; payments gave the money to the sender's wallet


PACKET_MOVES: dict[PacketState, frozenset[PacketState]] = {
    PacketState.DRAFT: frozenset({PacketState.OPEN, PacketState.CANCELLED}),
    PacketState.OPEN: frozenset({PacketState.EXHAUSTED, PacketState.EXPIRED}),
    PacketState.EXHAUSTED: frozenset(),
    PacketState.EXPIRED: frozenset(),
    # Paid after it was given up: it never opens, all of its money goes back.
    PacketState.CANCELLED: frozenset({PacketState.EXPIRED}),
}
REFUND_MOVES: dict[RefundState, frozenset[RefundState]] = {
    RefundState.NONE: frozenset({RefundState.DUE}),
    RefundState.DUE: frozenset({RefundState.PENDING, RefundState.SUCCESS, RefundState.FAILED}),
    RefundState.PENDING: frozenset({RefundState.SUCCESS, RefundState.FAILED}),
    RefundState.SUCCESS: frozenset(),
    RefundState.FAILED: frozenset(),
}
CLOSED_STATES = (PacketState.EXHAUSTED, PacketState.EXPIRED)
"""States in which claimed + rest = total holds for ever."""


def packet_sources(target: PacketState) -> tuple[PacketState, ...]:
    """The states from which a packet may move to `target`."""
    return tuple(source for source, targets in PACKET_MOVES.items() if target in targets)


def refund_sources(target: RefundState) -> tuple[RefundState, ...]:
    """The states from which the return of a rest may move to `target`."""
    return tuple(source for source, targets in REFUND_MOVES.items() if target in targets)

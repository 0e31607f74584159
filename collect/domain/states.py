"""States of bindings, codes, collections and CRM records, and the only moves there are.

Binding     DRAFT → VERIFIED → APPROVED → ACTIVE ⇄ DISABLED; DRAFT, VERIFIED → REJECTED
Code        ACTIVE → USED | DISABLED        (USED: a code that serves once was paid)
Collection  OPEN → PAID | CLOSED, PAID → REFUNDED        (REFUNDED: all of it; money after CLOSED is returned by itself)
Refund      PENDING → SUCCESS | FAILED
CRM record  WAITING → DELIVERED | DEAD, DEAD → WAITING and DELIVERED → WAITING by replay
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

State = TypeVar("State", bound=StrEnum)


class BindingState(StrEnum):
    DRAFT = "DRAFT"
    VERIFIED = "VERIFIED"
    APPROVED = "APPROVED"
    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"
    REJECTED = "REJECTED"


class CodeState(StrEnum):
    ACTIVE = "ACTIVE"
    USED = "USED"
    DISABLED = "DISABLED"


class CollectionState(StrEnum):
    OPEN = "OPEN"
    PAID = "PAID"
    CLOSED = "CLOSED"
    REFUNDED = "REFUNDED"


class RefundState(StrEnum):
    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


class CrmState(StrEnum):
    WAITING = "WAITING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"


_B, _C, _L, _R = BindingState, CodeState, CollectionState, CrmState
BINDING_MOVES: Mapping[BindingState, frozenset[BindingState]] = {
    _B.DRAFT: frozenset({_B.VERIFIED, _B.REJECTED}),
    _B.VERIFIED: frozenset({_B.APPROVED, _B.REJECTED}),
    _B.APPROVED: frozenset({_B.ACTIVE}),
    _B.ACTIVE: frozenset({_B.DISABLED}),
    _B.DISABLED: frozenset({_B.ACTIVE}),
    _B.REJECTED: frozenset(),
}
CODE_MOVES: Mapping[CodeState, frozenset[CodeState]] = {
    _C.ACTIVE: frozenset({_C.USED, _C.DISABLED}),
    _C.USED: frozenset(),
    _C.DISABLED: frozenset(),
}
COLLECTION_MOVES: Mapping[CollectionState, frozenset[CollectionState]] = {
    _L.OPEN: frozenset({_L.PAID, _L.CLOSED}),
    _L.PAID: frozenset({_L.REFUNDED}),
    _L.CLOSED: frozenset(),
    _L.REFUNDED: frozenset(),
}
CRM_MOVES: Mapping[CrmState, frozenset[CrmState]] = {
    _R.WAITING: frozenset({_R.DELIVERED, _R.DEAD}),
    _R.DELIVERED: frozenset({_R.WAITING}),
    _R.DEAD: frozenset({_R.WAITING}),
}
APPROVED_BINDINGS = (_B.APPROVED, _B.ACTIVE, _B.DISABLED)
"""Somebody other than the maker has approved these."""


def sources(moves: Mapping[State, frozenset[State]], target: State) -> tuple[State, ...]:
    """The states from which `moves` leads to `target`."""
    return tuple(source for source, targets in moves.items() if target in targets)

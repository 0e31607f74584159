"""States of a withdrawal (提现) and the only moves there are. Source: design `money.md` (Withdrawal), `faults.md` 3.7.

APPLYING → APPLIED | CANCELLED | FAILED        the money is being frozen
APPLIED → APPROVED | REJECTED | CANCELLED      it waits for staff
APPROVED → SENDING | APPLIED | REJECTED        it waits for its turn; back to APPLIED when an approval became void
SENDING → SENT | UNKNOWN | SUCCESS | FAILED    the provider is being asked; from here on one payout number for ever
SENT ⇄ UNKNOWN, both → SUCCESS | FAILED        the provider's word, never time, ends it
SUCCESS → RETURNED                             the bank sent it back
"""

from __future__ import annotations

from enum import StrEnum


class WithdrawalState(StrEnum):
    APPLYING = "APPLYING"
    APPLIED = "APPLIED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    SENDING = "SENDING"
    SENT = "SENT"
    UNKNOWN = "UNKNOWN"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    RETURNED = "RETURNED"


_S = WithdrawalState
MOVES: dict[WithdrawalState, frozenset[WithdrawalState]] = {
    _S.APPLYING: frozenset({_S.APPLIED, _S.CANCELLED, _S.FAILED}),
    _S.APPLIED: frozenset({_S.APPROVED, _S.REJECTED, _S.CANCELLED}),
    _S.APPROVED: frozenset({_S.SENDING, _S.APPLIED, _S.REJECTED}),
    _S.REJECTED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.SENDING: frozenset({_S.SENT, _S.UNKNOWN, _S.SUCCESS, _S.FAILED}),
    _S.SENT: frozenset({_S.UNKNOWN, _S.SUCCESS, _S.FAILED}),
    _S.UNKNOWN: frozenset({_S.SENT, _S.SUCCESS, _S.FAILED}),
    _S.SUCCESS: frozenset({_S.RETURNED}),
    _S.FAILED: frozenset(),
    _S.RETURNED: frozenset(),
}
AT_PROVIDER = (_S.SENDING, _S.SENT, _S.UNKNOWN)
"""Money is in 2310 and only the provider's word moves it."""
FROZEN = (_S.APPLIED, _S.APPROVED)
"""Money is in the owner's hold."""
ENDED = tuple(state for state, targets in MOVES.items() if not targets - {_S.RETURNED})


def sources(target: WithdrawalState) -> tuple[WithdrawalState, ...]:
    """The states from which a withdrawal may move to `target`."""
    return tuple(source for source, targets in MOVES.items() if target in targets)

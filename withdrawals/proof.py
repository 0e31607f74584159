"""Proof lines of withdrawals: each one's journals are those of its state, and the totals agree with the ledger."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import defaultdict
from collections.abc import Iterator

from foundation.proof import ProofLine
from funds import selectors as funds
from funds.domain.entries import platform_account
from withdrawals.domain.states import FROZEN, WithdrawalState
from withdrawals.models import Withdrawal

BATCH = 1000
SHOWN = 5
KINDS = (
    "withdrawal_freeze",
    "withdrawal_sent",
    "withdrawal_paid",
    "withdrawal_failed",
    "withdrawal_returned",
    "hold_release",
)
_S = WithdrawalState
_FROZEN = frozenset({"withdrawal_freeze"})
_SENT = _FROZEN | {"withdrawal_sent"}
JOURNALS: dict[WithdrawalState, tuple[frozenset[str], ...]] = {
    _S.APPLYING: (frozenset(), _FROZEN),
    _S.APPLIED: (_FROZEN,),
    _S.APPROVED: (_FROZEN,),
    _S.REJECTED: (_FROZEN | {"hold_release"},),
    _S.CANCELLED: (_FROZEN | {"hold_release"},),
    _S.SENDING: (_FROZEN, _SENT),
    _S.SENT: (_SENT,),
    _S.UNKNOWN: (_SENT,),
    _S.SUCCESS: (_SENT | {"withdrawal_paid"},),
    _S.FAILED: (frozenset(), _SENT | {"withdrawal_failed"}),
    _S.RETURNED: (_SENT | {"withdrawal_paid", "withdrawal_returned"},),
}
"""Which journals a withdrawal in a state has; the first of two is a crash or a refusal before the money moved."""


def prove(*, before: dt.datetime | None = None) -> list[ProofLine]:
    """Every line. On a running system `before` leaves out what was applied for since: it may be on its way."""
    checked, wrong = 0, []
    in_transit: dict[str, int] = defaultdict(int)
    for batch in _batches(Withdrawal.objects.order_by("order_no").iterator(chunk_size=BATCH)):
        references = [row.order_no for row in batch]
        booked: dict[str, set[str]] = defaultdict(set)
        for kind, reference in funds.find_references(kinds=list(KINDS), references=references):
            booked[reference].add(kind)
        for row in batch:
            state, kinds = WithdrawalState(row.state), frozenset(booked[row.order_no])
            checked += 1
            if kinds == _SENT:
                in_transit[row.payout_channel] += row.amount_fen
            is_young = before is not None and row.created_at >= before
            if kinds not in JOURNALS[state] and not is_young:
                wrong.append(f"{row.order_no} {state.value}")
    return [
        ProofLine(
            name="every withdrawal has the journals of its state",
            ok=not wrong,
            detail=", ".join(wrong[:SHOWN]),
            figures={"withdrawals": checked, "wrong": len(wrong)},
        ),
        _in_transit(in_transit),
        _holds(),
    ]


def _in_transit(expected: dict[str, int]) -> ProofLine:
    """2310 of each channel is what its undecided payouts add up to."""
    channels = set(Withdrawal.objects.exclude(payout_channel="").values_list("payout_channel", flat=True).distinct())
    found = {channel: funds.platform_balance_fen(account=platform_account("2310", channel)) for channel in channels}
    wrong = [
        f"{channel}: {found[channel]} ≠ {expected[channel]}"
        for channel in sorted(channels)
        if found[channel] != expected[channel]
    ]
    return ProofLine(
        name="payouts in transit are the undecided withdrawals",
        ok=not wrong,
        detail=", ".join(wrong),
        figures={"fen": sum(expected.values())},
    )


def _holds() -> ProofLine:
    """No frozen money without an open withdrawal, and none missing: holds of those that wait."""
    checked, wrong = 0, []
    waiting = Withdrawal.objects.filter(state__in=[state.value for state in FROZEN]).order_by("order_no")
    for batch in _batches(waiting.iterator(chunk_size=BATCH)):
        holds = {hold.key: hold.remaining_fen for hold in funds.list_holds(keys=[row.order_no for row in batch])}
        wrong += [row.order_no for row in batch if holds.get(row.order_no) != row.amount_fen]
        checked += len(batch)
    return ProofLine(
        name="every waiting withdrawal's money is in its hold",
        ok=not wrong,
        detail=", ".join(wrong[:SHOWN]),
        figures={"withdrawals": checked, "wrong": len(wrong)},
    )


def _batches(rows: Iterator[Withdrawal]) -> Iterator[list[Withdrawal]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch

from __future__ import annotations

import itertools

import pytest

from redpacket.domain.states import (
    CLOSED_STATES,
    PACKET_MOVES,
    REFUND_MOVES,
    PacketState,
    RefundState,
    packet_sources,
    refund_sources,
)

ALLOWED_PACKET_MOVES = {
    ("DRAFT", "OPEN"),
    ("DRAFT", "CANCELLED"),
    ("OPEN", "EXHAUSTED"),
    ("OPEN", "EXPIRED"),
    ("CANCELLED", "EXPIRED"),
}
ALLOWED_REFUND_MOVES = {
    ("NONE", "DUE"),
    ("DUE", "PENDING"),
    ("DUE", "SUCCESS"),
    ("DUE", "FAILED"),
    ("PENDING", "SUCCESS"),
    ("PENDING", "FAILED"),
}


@pytest.mark.parametrize(("source", "target"), list(itertools.product(PacketState, repeat=2)))
def test_packets_move_only_along_the_table(source: PacketState, target: PacketState) -> None:
    is_allowed = (source.value, target.value) in ALLOWED_PACKET_MOVES
    assert (target in PACKET_MOVES[source]) is is_allowed
    assert (source in packet_sources(target)) is is_allowed


@pytest.mark.parametrize(("source", "target"), list(itertools.product(RefundState, repeat=2)))
def test_refunds_move_only_along_the_table(source: RefundState, target: RefundState) -> None:
    is_allowed = (source.value, target.value) in ALLOWED_REFUND_MOVES
    assert (target in REFUND_MOVES[source]) is is_allowed
    assert (source in refund_sources(target)) is is_allowed


def test_closed_states_never_move() -> None:
    assert [PACKET_MOVES[state] for state in CLOSED_STATES] == [frozenset(), frozenset()]
    assert REFUND_MOVES[RefundState.SUCCESS] == REFUND_MOVES[RefundState.FAILED] == frozenset()

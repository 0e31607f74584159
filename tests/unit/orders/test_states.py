"""The transition tables."""

from __future__ import annotations

import pytest

from orders.domain import states
from orders.domain.states import AttemptState, OrderState

TERMINAL = [OrderState.SUCCESS, OrderState.FAILED, OrderState.CLOSED, OrderState.INVALID]


@pytest.mark.parametrize("state", TERMINAL)
def test_an_ended_order_moves_nowhere(state: OrderState) -> None:
    assert states.ORDER_MOVES[state] == frozenset()


def test_every_state_has_its_row() -> None:
    assert set(states.ORDER_MOVES) == set(OrderState)
    assert set(states.ATTEMPT_MOVES) == set(AttemptState)


def test_success_of_an_attempt_is_final() -> None:
    assert states.ATTEMPT_MOVES[AttemptState.SUCCESS] == frozenset()


def test_a_late_success_is_taken_as_a_fact_also_after_close_or_failure() -> None:
    sources = set(states.attempt_sources(AttemptState.SUCCESS))
    assert {AttemptState.CLOSED, AttemptState.FAILED, AttemptState.UNKNOWN, AttemptState.PENDING} <= sources


def test_nothing_returns_to_created() -> None:
    assert states.order_sources(OrderState.CREATED) == ()
    assert states.attempt_sources(AttemptState.CREATED) == ()

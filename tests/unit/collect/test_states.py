"""The tables of moves, and that the database's triggers know the same ones."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from enum import StrEnum

import pytest

from collect.domain import states
from collect.domain.states import BindingState, CollectionState

guards = importlib.import_module("collect.migrations.0002_guards")


@pytest.mark.parametrize(
    ("table", "moves"),
    [
        ("collect_binding", states.BINDING_MOVES),
        ("collect_code", states.CODE_MOVES),
        ("collect_collection", states.COLLECTION_MOVES),
    ],
)
def test_the_trigger_allows_just_the_moves_of_the_table(
    table: str, moves: Mapping[StrEnum, frozenset[StrEnum]]
) -> None:
    trigger = next(refusal for refusal in guards.REFUSALS if refusal.name == f"{table}_moves")
    for source in moves:
        for target in moves:
            pair = f"(OLD.state = '{source.value}' AND NEW.state = '{target.value}')"
            assert (pair in trigger.condition) is (target in moves[source]), pair


def test_a_binding_is_used_only_after_approval() -> None:
    assert states.sources(states.BINDING_MOVES, BindingState.ACTIVE) == (BindingState.APPROVED, BindingState.DISABLED)
    assert states.sources(states.BINDING_MOVES, BindingState.APPROVED) == (BindingState.VERIFIED,)


def test_a_closed_collection_is_never_paid_afterwards() -> None:
    assert states.sources(states.COLLECTION_MOVES, CollectionState.PAID) == (CollectionState.OPEN,)

"""What the databases say about a table decides how far its move is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orders.domain import moving
from orders.domain.moving import Move, Stage, Word

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
def test_a_map_is_spread_evenly(count: int) -> None:
    names = [f"d{number}" for number in range(count)]
    assert moving.spread(names) == [f"d{table % count}" for table in range(16)]


@pytest.mark.parametrize("names", [[], ["a", "b", "c"], ["a", "a"], [f"d{number}" for number in range(32)]])
def test_other_maps_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="1, 2, 4, 8 or 16"):
        moving.spread(names)


@pytest.mark.parametrize(
    ("words", "old", "stage"),
    [
        ({"b": Word(state="OPEN")}, "b", Stage.HOME),
        ({"a": Word(state="OPEN")}, "a", Stage.OPEN),
        ({"a": Word(state="OPEN"), "b": Word(state="OPEN")}, "a", Stage.OPEN),
        ({"a": Word(state="OPEN"), "b": Word(state="INCOMING", other="a")}, "a", Stage.OPEN),
        ({"a": Word(state="MOVING", other="b"), "b": Word(state="INCOMING", other="a")}, "a", Stage.CLOSED),
        (
            {"a": Word(state="MOVING", other="b", is_verified=True), "b": Word(state="INCOMING", other="a")},
            "a",
            Stage.VERIFIED,
        ),
        ({"a": Word(state="MOVED", other="b"), "b": Word(state="INCOMING", other="a")}, "a", Stage.SWITCHING),
        ({"a": Word(state="MOVED", other="b"), "b": Word(state="OPEN")}, "a", Stage.SWITCHED),
        ({"a": Word(state="MOVED", other="b", has_table=False), "b": Word(state="OPEN")}, "b", Stage.HOME),
        # An aborted move; then one to a third place, long ago.
        ({"a": Word(state="OPEN"), "b": Word(state="MOVED", other="a")}, "a", Stage.OPEN),
        ({"a": Word(state="OPEN"), "c": Word(state="MOVED", other="a")}, "a", Stage.OPEN),
    ],
)
def test_the_stage_follows_from_what_the_databases_say(words: dict[str, Word], old: str, stage: Stage) -> None:
    assert moving.move_of(table=2, new="b", words=words) == Move(table=2, old=old, new="b", stage=stage)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({}, "no database has table 02"),
        ({"b": Word(state="INCOMING", other="a")}, "no database has table 02"),
        ({"a": Word(state="OPEN"), "c": Word(state="OPEN")}, "claimed by a and c"),
        ({"a": Word(state="MOVING", other="c")}, "on its way to c"),
        ({"a": Word(state="MOVED", other="c")}, "no database has table 02"),
    ],
)
def test_contradictions_are_refused(words: dict[str, Word], told: str) -> None:
    with pytest.raises(moving.UnclearPlace, match=told):
        moving.move_of(table=2, new="b", words=words)


def map_of(**environment: str) -> list[str]:
    """The map that a process with this environment works with."""
    program = "import json; from paysys.settings import base; print(json.dumps(base.ORDER_SHARD_DATABASES))"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORDERS_", "PAYSYS_ORDER_"))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return list(json.loads(done.stdout))


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
def test_the_number_of_order_databases_is_configuration_only(count: int) -> None:
    addresses = {f"ORDERS_{number}_DATABASE_URL": f"mysql://u:p@db-{number}/orders" for number in range(count)}
    assert map_of(**addresses) == [f"orders_{table % count}" for table in range(16)]


def test_without_an_address_all_tables_are_in_the_default_database() -> None:
    assert map_of() == ["default"] * 16


def test_a_pinned_map_does_not_grow_by_itself() -> None:
    addresses = {f"ORDERS_{number}_DATABASE_URL": f"mysql://u:p@db-{number}/orders" for number in range(4)}
    assert map_of(**addresses, PAYSYS_ORDER_DATABASES="orders_0,orders_1") == ["orders_0", "orders_1"] * 8

"""Which tests run again with four order databases, and how."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import suite


def test_order_tests_and_flows_run_again_but_not_those_with_databases_of_their_own(tmp_path: Path) -> None:
    for name in (
        "unit/orders/test_numbers.py",
        "unit/funds/test_entries.py",
        "integration/orders/test_tables.py",
        "integration/orders/test_moving.py",
        "flows/orders/test_moving.py",
        "flows/test_recharge.py",
        "flows/test_make_run.py",
    ):
        file = tmp_path / "tests" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert suite.list_order_tests(tests=tmp_path / "tests") == [
        "tests/integration/orders",
        "tests/unit/orders",
        "tests/flows/test_recharge.py",
    ]
    assert "tests/integration/orders" in suite.list_order_tests()


@pytest.mark.parametrize(
    ("arguments", "codes", "expected", "calls"),
    [
        ([], [0, 0], 0, 2),
        ([], [1], 1, 1),
        ([], [0, 5], 5, 2),
        (["-k", "split"], [0], 0, 1),
    ],
    ids=["both", "first fails", "second fails", "a selection"],
)
def test_the_first_failure_decides_and_a_selection_runs_once(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], codes: list[int], expected: int, calls: int
) -> None:
    made: list[tuple[list[str], dict[str, str] | None]] = []

    def run(command: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
        made.append((command, env))
        return subprocess.CompletedProcess(command, codes[len(made) - 1])

    monkeypatch.setattr(suite.subprocess, "run", run)
    monkeypatch.setenv(
        suite.MORE_ORDERS, json.dumps({"ORDERS_2_DATABASE_URL": "two", "ORDERS_3_DATABASE_URL": "three"})
    )
    assert suite.main(arguments) == expected
    assert len(made) == calls
    assert made[0][0][-len(arguments) :] == arguments or not arguments
    if calls == 2:
        assert made[1][1] is not None
        assert (made[1][1]["ORDERS_2_DATABASE_URL"], made[1][1]["ORDERS_3_DATABASE_URL"]) == ("two", "three")

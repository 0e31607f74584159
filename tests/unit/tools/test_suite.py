"""What runs beside what, in which databases, and what is shown of it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests import suite

ENVIRONMENT = {
    "DATABASE_URL": "mysql://u:p@127.0.0.1:1/paysys_default",
    "ORDERS_1_DATABASE_URL": "mysql://u:p@127.0.0.1:2/paysys_orders_1",
    "REDIS_URL": "redis://127.0.0.1:3/0",
    "OTHER": "stays",
    suite.MORE_ORDERS: json.dumps({"ORDERS_2_DATABASE_URL": "mysql://two", "ORDERS_3_DATABASE_URL": "mysql://three"}),
}


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


def test_with_two_databases_every_test_file_runs_once_and_none_is_left_out() -> None:
    (rest, beside, *_), alone = (*suite.list_parts()[0][0], *suite.list_parts()[0][1]), suite.list_parts()[1]
    left_out = {argument.removeprefix("--ignore=") for argument in rest.arguments if argument.startswith("--ignore=")}
    chosen = {argument for argument in beside.arguments if argument.startswith("tests/")}
    assert left_out == chosen == {"tests/browser", "tests/concurrency", "tests/flows"}
    assert "tests" in rest.arguments
    assert all((suite.TESTS.parent / name).is_dir() for name in chosen)
    for part in (rest, beside):
        assert part.arguments[part.arguments.index("-m") + 1] == "not kills_services"
    assert [part.arguments[-3:] for part in alone] == [("-m", "kills_services", "tests/concurrency")]


def test_whatever_kills_a_server_is_where_the_last_part_looks_for_it() -> None:
    mark = re.compile(r"^\s*@pytest\.mark\.kills_services|pytestmark.*kills_services", re.MULTILINE)
    files = {
        path.relative_to(suite.TESTS).parts[0]
        for path in suite.TESTS.rglob("*.py")
        if path != Path(__file__) and mark.search(path.read_text())
    }
    assert files == {"concurrency"}


def test_no_part_shares_databases_or_redis_with_a_part_beside_it_and_the_broker_is_used_in_one_lane() -> None:
    lanes, alone = suite.list_parts()
    used = [{part.lane for part in lane} for lane in lanes]
    assert sum(len(numbers) for numbers in used) == len(set.union(*used))
    broker = [
        number
        for number, lane in enumerate(lanes)
        if any(argument.startswith("tests/flows") for part in lane for argument in part.arguments)
    ]
    assert broker == [1]
    assert [part.lane in used[1] for part in alone] == [True]


def test_a_part_has_its_own_databases_and_redis_number() -> None:
    two = suite.environment_of(suite.Part(title="two", lane=1, arguments=()), environment=ENVIRONMENT)
    assert two == {
        **ENVIRONMENT,
        "DATABASE_URL": "mysql://u:p@127.0.0.1:1/paysys_default_1",
        "ORDERS_1_DATABASE_URL": "mysql://u:p@127.0.0.1:2/paysys_orders_1_1",
        "REDIS_URL": "redis://127.0.0.1:3/1",
    }
    four = suite.environment_of(suite.Part(title="four", lane=2, arguments=(), has_four=True), environment=ENVIRONMENT)
    assert (four["ORDERS_2_DATABASE_URL"], four["ORDERS_3_DATABASE_URL"]) == ("mysql://two_2", "mysql://three_2")
    assert four["REDIS_URL"] == "redis://127.0.0.1:3/2"


class Pytests:
    """Processes that print their title and end with the code that the test wants; `barrier` makes them wait."""

    def __init__(self, codes: dict[str, int], *, side_by_side: int) -> None:
        self.codes, self.barrier = codes, threading.Barrier(side_by_side)
        self.started: list[str] = []

    def __call__(self, command: list[str], *, stdout: Any, **_: Any) -> Pytests.Process:
        name = command[-1]
        self.started.append(name)
        stdout.write(f"tests of {name}\n=== {name} closed ===\n".encode())
        stdout.flush()
        return Pytests.Process(self, name)

    class Process:
        def __init__(self, all_of_them: Pytests, name: str) -> None:
            self.all, self.name = all_of_them, name

        def wait(self) -> int:
            if self.name in ("first", "beside"):
                self.all.barrier.wait(10)  # neither ends before the other has started
            return self.all.codes.get(self.name, 0)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [({}, 0), ({"first": 1}, 1), ({"again": 5, "alone": 2}, 5), ({"alone": 2}, 2), ({"beside": -9}, 137)],
    ids=["all pass", "first", "two", "last", "killed"],
)
def test_lanes_run_side_by_side_all_of_it_is_shown_in_order_and_the_first_failure_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, codes: dict[str, int], expected: int
) -> None:
    pytests = Pytests(codes, side_by_side=2)
    monkeypatch.setattr(suite.subprocess, "Popen", pytests)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    first, beside, again, alone = (
        suite.Part(title=name, lane=0, arguments=(name,)) for name in ("first", "beside", "again", "alone")
    )
    shown = io.BytesIO()
    assert suite.run_all(lanes=[[first], [beside, again]], alone=[alone], directory=tmp_path, to=shown) == expected
    assert (set(pytests.started[:2]), pytests.started[2:]) == ({"first", "beside"}, ["again", "alone"])
    text = shown.getvalue().decode()
    *blocks, end = text.split("\n\n")
    assert [block.strip().splitlines()[:2] for block in blocks] == [
        [f"== {name} ==", f"tests of {name}"] for name in ("first", "beside", "again", "alone")
    ]
    assert end.splitlines() == [
        f"{'FAILED' if codes.get(name) else 'passed'} {name} (0 s): {name} closed"
        for name in ("first", "beside", "again", "alone")
    ]


def test_a_part_that_never_started_is_a_failure(tmp_path: Path) -> None:
    part = suite.Part(title="never", lane=0, arguments=())
    assert suite.first_failure([suite.Run(part=part, log=tmp_path / "none")]) == 1


def test_a_selection_is_one_pytest_with_these_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[list[str]] = []

    def run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
        made.append(command)
        return subprocess.CompletedProcess(command, 5)

    monkeypatch.setattr(suite.subprocess, "run", run)
    assert suite.main(["tests/unit", "-k", "split"]) == 5
    assert made == [[suite.sys.executable, "-m", "pytest", "tests/unit", "-k", "split"]]

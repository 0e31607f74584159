"""Ratios inside rounds, bounds, the table and the JSON line, with samples that nobody had to wait for."""

from __future__ import annotations

import json
import threading

import pytest

from benchmarks import databases, measure
from benchmarks.measure import Case, Goal, InvalidCases, Sample


def one_step(worker: int) -> measure.Step:
    return lambda: 1


def sample(operations: int, cpu_seconds: float = 0.5) -> Sample:
    return Sample(operations=operations, seconds=1.0, cpu_seconds=cpu_seconds)


BASE = Case(name="base", prepare=one_step)
FAST = Case(name="fast", prepare=one_step, unit="shares", baseline="base", goal=Goal(at_least=4))


def test_a_ratio_is_formed_inside_a_round_and_the_median_counts() -> None:
    samples = {
        "base": [sample(100), sample(10), sample(50)],
        "fast": [sample(400), sample(40), sample(1000)],
    }
    base, fast = measure.compare([BASE, FAST], samples)
    assert (base.rate_ratio, base.cpu_ratio, base.is_met) == (None, None, None)
    assert fast.rate_ratio == 4.0  # medians first would say 400 / 50 = 8
    assert fast.cpu_ratio == 0.25
    assert (fast.per_second, fast.cpu_microseconds, fast.operations) == (400, 1250, 1440)
    assert fast.is_met is True


def test_a_second_baseline_gives_a_row_without_a_goal() -> None:
    both = Case(
        name="both", prepare=one_step, baseline="base", second_baseline="fast", goal=Goal(at_least=4), connections=3
    )
    samples = {"base": [sample(100)], "fast": [sample(400)], "both": [sample(200)]}
    rows = measure.compare([BASE, FAST, both], samples)
    assert [(row.name, row.baseline, row.rate_ratio, row.is_met) for row in rows[2:]] == [
        ("both", "base", 2.0, False),
        ("both", "fast", 0.5, None),
    ]


@pytest.mark.parametrize(
    ("goal", "rate_ratio", "is_met"),
    [
        (Goal(at_least=0.4), 0.4, True),
        (Goal(at_least=0.4), 0.399, False),
        (Goal(at_most=4), 0.25, True),
        (Goal(at_most=4), 0.249, False),
        (Goal(at_most=4), 0.0, False),
    ],
)
def test_a_goal_includes_its_bound(goal: Goal, rate_ratio: float, is_met: bool) -> None:
    assert goal.is_met(rate_ratio) is is_met


def test_a_goal_has_exactly_one_bound() -> None:
    with pytest.raises(InvalidCases):
        Goal()
    with pytest.raises(InvalidCases):
        Goal(at_least=1, at_most=2)


def test_the_table_is_aligned_and_names_what_was_missed() -> None:
    rows = measure.compare([BASE, FAST], {"base": [sample(1000)], "fast": [sample(2000)]})
    assert measure.table(rows).splitlines() == [
        "case    per second  CPU µs  rate  time   CPU  against  goal       met",
        "base     1,000 ops     500",
        "fast  2,000 shares     250  2.00  0.50  0.50  base     ≥ 4x rate  NO",
    ]


def test_the_json_line_is_one_object_on_one_line() -> None:
    rows = measure.compare([BASE, FAST], {"base": [sample(1000)], "fast": [sample(4000)]})
    line = measure.json_line("ledger", rows, rounds=1, rows=50_000)
    assert "\n" not in line
    read = json.loads(line)
    assert (read["benchmark"], read["rounds"], read["rows"]) == ("ledger", 1, 50_000)
    assert [case["name"] for case in read["cases"]] == ["base", "fast"]
    assert (read["cases"][1]["rate_ratio"], read["cases"][1]["is_met"]) == (4.0, True)


def test_doubtful_cases_are_refused_before_anything_runs() -> None:
    for wrong in (
        [BASE, BASE],
        [FAST],
        [Case(name="x", prepare=one_step, goal=Goal(at_least=1))],
        [BASE, Case(name="x", prepare=one_step, baseline="base", second_baseline="y")],
    ):
        with pytest.raises(InvalidCases):
            measure.run(wrong, seconds=60, rounds=1)


def test_every_round_measures_every_case_and_every_second_one_backwards() -> None:
    order: list[str] = []

    def noting(name: str) -> Case:
        def prepare(worker: int) -> measure.Step:
            order.append(name)
            return lambda: 1

        return Case(name=name, prepare=prepare)

    measure.run([noting("a"), noting("b")], seconds=0, rounds=2)
    assert order == ["a", "b", "a", "b", "b", "a"]


def test_connections_run_side_by_side_and_hang_up() -> None:
    together = threading.Barrier(3, timeout=10)
    ended: list[int] = []

    def prepare(worker: int) -> measure.Step:
        def step() -> int:
            together.wait()  # returns only when three threads are in their steps at once
            return 5

        return step

    case = Case(name="crowd", prepare=prepare, connections=3, finish=lambda: ended.append(1))
    assert measure.run_slice(case, seconds=0).operations == 15
    assert ended == [1, 1, 1]


@pytest.mark.parametrize("connections", [1, 3])
def test_the_error_of_a_step_ends_the_run(connections: int) -> None:
    def prepare(worker: int) -> measure.Step:
        def step() -> int:
            raise ValueError("moved nothing")

        return step

    with pytest.raises(ValueError, match="moved nothing"):
        measure.run_slice(Case(name="bad", prepare=prepare, connections=connections), seconds=1)


def test_only_databases_of_a_run_s_own_are_named() -> None:
    urls = databases.bench_urls(
        {
            "DATABASE_URL": "mysql://me:secret@127.0.0.1:3306/paysys_default",
            "ORDERS_0_DATABASE_URL": "mysql://me:secret@127.0.0.1:3306/paysys_orders_0",
            "REDIS_URL": "redis://127.0.0.1/0",
        }
    )
    assert urls == {
        "DATABASE_URL": "mysql://me:secret@127.0.0.1:3306/paysys_default_bench",
        "ORDERS_0_DATABASE_URL": "mysql://me:secret@127.0.0.1:3306/paysys_orders_0_bench",
    }


@pytest.mark.parametrize("environment", [{}, {"DATABASE_URL": "sqlite:///paysys.sqlite3"}])
def test_without_mariadb_nothing_runs(environment: dict[str, str]) -> None:
    with pytest.raises(databases.CannotRun):
        databases.bench_urls(environment)

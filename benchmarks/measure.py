"""Timing in interleaved rounds, ratios by medians, the table and the JSON line. Knows nothing of Django.

A shared machine drifts by a factor within minutes. So every round gives each case one short slice, every second round
in the opposite order, a ratio is formed inside a round, and the median over the rounds is what counts.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

Step = Callable[[], int]

WARM_UP_SHARE = 0.1
"""Part of a case's time that is run first and thrown away."""


class InvalidCases(ValueError):
    """Two cases of one name, or a case that names a baseline which is not there."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A bound of the ratio to the baseline: `at_least` of its rate, or `at_most` of its time per operation."""

    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise InvalidCases("a goal has one bound")

    @property
    def is_of_time(self) -> bool:
        return self.at_most is not None

    @property
    def text(self) -> str:
        return f"≤ {self.at_most:g}x time" if self.is_of_time else f"≥ {self.at_least:g}x rate"

    def is_met(self, rate_ratio: float) -> bool:
        """Whether a case whose rate is `rate_ratio` of the baseline's keeps the bound (the bound itself counts)."""
        if self.at_most is not None:
            return rate_ratio > 0 and 1 / rate_ratio <= self.at_most
        return rate_ratio >= (self.at_least or 0.0)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is measured. `prepare(worker)` gives the step of one connection; a step returns its operations (1 or more).

    With `connections` above 1 each gets a thread, and `finish` is called at the thread's end (to hang up). The goal
    is about `baseline`; `second_baseline` gives one more ratio from the same samples.
    """

    name: str
    prepare: Callable[[int], Step]
    unit: str = "ops"
    baseline: str = ""
    second_baseline: str = ""
    goal: Goal | None = None
    connections: int = 1
    finish: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One slice of one case; `cpu_seconds` is this process's, the servers' is not in it."""

    operations: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.operations / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        return self.cpu_seconds / self.operations * 1_000_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the result. `rate_ratio` and `cpu_ratio` are against the baseline, None without one."""

    name: str
    unit: str
    operations: int
    per_second: float
    cpu_microseconds: float
    baseline: str
    rate_ratio: float | None
    cpu_ratio: float | None
    goal: str
    is_met: bool | None


def run(cases: Sequence[Case], *, seconds: float, rounds: int) -> list[Row]:
    """Warms each case up, measures it `seconds` in all over `rounds` rounds, and compares. Raises InvalidCases."""
    check(cases)
    for case in cases:
        run_slice(case, seconds=seconds * WARM_UP_SHARE)
    samples: dict[str, list[Sample]] = {case.name: [] for case in cases}
    for number in range(rounds):
        for case in cases if number % 2 == 0 else reversed(cases):
            samples[case.name].append(run_slice(case, seconds=seconds / rounds))
    return compare(cases, samples)


def check(cases: Sequence[Case]) -> None:
    """Raises InvalidCases, before an hour is measured in vain."""
    names = [case.name for case in cases]
    if len(set(names)) != len(names):
        raise InvalidCases("two cases of one name")
    for case in cases:
        for baseline in (case.baseline, case.second_baseline):
            if baseline and baseline not in names:
                raise InvalidCases(f"{case.name!r} has an unknown baseline {baseline!r}")
        if case.goal and not case.baseline:
            raise InvalidCases(f"{case.name!r} has a goal and no baseline")


def run_slice(case: Case, *, seconds: float) -> Sample:
    """One slice of at least one step per connection; a step's error ends the run."""
    if case.connections == 1:
        step = case.prepare(0)
        step()
        cpu, began = time.process_time(), time.perf_counter()
        operations = _repeat(step, until=began + seconds)
        return Sample(operations=operations, seconds=time.perf_counter() - began, cpu_seconds=time.process_time() - cpu)
    return _run_threads(case, seconds=seconds)


def _repeat(step: Step, *, until: float) -> int:
    operations = step()
    while time.perf_counter() < until:
        operations += step()
    return operations


def _run_threads(case: Case, *, seconds: float) -> Sample:
    ready = threading.Barrier(case.connections + 1)
    done: list[int] = []
    failures: list[BaseException] = []

    def body(worker: int) -> None:
        try:
            step = case.prepare(worker)
            step()
            ready.wait()
            done.append(_repeat(step, until=time.perf_counter() + seconds))
        except threading.BrokenBarrierError:
            return
        except Exception as error:  # handed to the caller below
            failures.append(error)
            ready.abort()
        finally:
            case.finish()

    threads = [threading.Thread(target=body, args=(worker,)) for worker in range(case.connections)]
    for thread in threads:
        thread.start()
    try:
        ready.wait()
    except threading.BrokenBarrierError:
        for thread in threads:
            thread.join()
        raise failures[0] from None
    cpu, began = time.process_time(), time.perf_counter()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return Sample(operations=sum(done), seconds=time.perf_counter() - began, cpu_seconds=time.process_time() - cpu)


def compare(cases: Sequence[Case], samples: Mapping[str, Sequence[Sample]]) -> list[Row]:
    """The rows of measured cases; sample i of every case belongs to round i."""
    rows = []
    for case in cases:
        rows.append(_row(case, samples, case.baseline, case.goal))
        if case.second_baseline:
            rows.append(_row(case, samples, case.second_baseline, None))
    return rows


def _row(case: Case, samples: Mapping[str, Sequence[Sample]], baseline: str, goal: Goal | None) -> Row:
    own = samples[case.name]
    rate_ratio = cpu_ratio = None
    if baseline:
        pairs = list(zip(own, samples[baseline], strict=True))
        rate_ratio = median(mine.rate / base.rate for mine, base in pairs)
        cpu_ratio = median(mine.cpu_microseconds / base.cpu_microseconds for mine, base in pairs)
    return Row(
        name=case.name,
        unit=case.unit,
        operations=sum(sample.operations for sample in own),
        per_second=median(sample.rate for sample in own),
        cpu_microseconds=median(sample.cpu_microseconds for sample in own),
        baseline=baseline,
        rate_ratio=rate_ratio,
        cpu_ratio=cpu_ratio,
        goal=goal.text if goal else "",
        is_met=goal.is_met(rate_ratio) if goal and rate_ratio is not None else None,
    )


HEADINGS = ("case", "per second", "CPU µs", "rate", "time", "CPU", "against", "goal", "met")


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text: rate and time are ratios to the case named under `against`."""
    lines = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    is_number = [2 <= column + 1 <= 6 for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_number, strict=True)
        ).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.per_second:,.0f} {row.unit}",
        f"{row.cpu_microseconds:,.0f}",
        "" if row.rate_ratio is None else f"{row.rate_ratio:.2f}",
        "" if row.rate_ratio is None else f"{1 / row.rate_ratio:.2f}",
        "" if row.cpu_ratio is None else f"{row.cpu_ratio:.2f}",
        row.baseline,
        row.goal,
        {None: "", True: "yes", False: "NO"}[row.is_met],
    )


def json_line(name: str, rows: Sequence[Row], /, **facts: object) -> str:
    """One JSON object on one line: the benchmark's name, the facts of the run and the rows."""
    return json.dumps({"benchmark": name, **facts, "cases": [asdict(row) for row in rows]}, ensure_ascii=False)


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{program}", description=description)
    made.add_argument("--seconds", type=float, default=5.0, help="measured time of each case (default 5)")
    made.add_argument("--rounds", type=int, default=5, help="rounds the time is cut into (default 5)")
    made.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return made

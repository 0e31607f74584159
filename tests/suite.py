"""The whole suite: two order databases on two servers, then what touches orders again with four.

    python -m tests.suite             all of it; the exit code of the first part that fails
    python -m tests.suite ARGS…       one pytest with these arguments, on two order databases

All of it is several runs of pytest, the parts, in two lanes side by side: one lane waits for locks, workers and
time-outs much of the time, and there are two cores. Each lane has databases and a Redis number of its own; what uses
the broker is all in one lane, for its queues are everybody's. What kills a server comes last, when nobody else is
there. The output of a part is in a file of its own and is shown part by part; at the very end stands a line for each.

The servers and their addresses come from tests/provision.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from tests.provision import DATABASES, MORE_ORDER_DATABASES, ROOT_MARK

MORE_ORDERS = "PAYSYS_TEST_MORE_ORDERS"
TESTS = Path(__file__).resolve().parent
BESIDE = ("concurrency", "flows", "browser")
"""What waits much of the time, and all that uses the broker: one lane. Everything else is the other one."""
FRESH_AND_KEPT = ("--create-db", "--reuse-db")
"""New databases that stay, for the part that comes last; they go with the servers."""
KILLS = "kills_services"
FLOWS_WITHOUT_SHARDS = {
    "test_make_run.py",  # SQLite, one database for everything
    "test_worker_killed.py",  # shares and journals: no order is touched
}
OWN_DATABASES = "test_moving*.py"
"""Tests that make their own databases, two and four: the same in both runs."""
POLL_SECONDS = 0.2
GRACE_SECONDS = 20.0
"""Less than what tests/provision.py gives to us."""
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Part:
    """One run of pytest. `lane` is the suffix of its databases and the number of its Redis database."""

    title: str
    lane: int
    arguments: tuple[str, ...]
    has_four: bool = False


@dataclass(kw_only=True)
class Run:
    """A part on its way: what it has printed, and its end."""

    part: Part
    log: Path
    seconds: float = 0.0
    code: int | None = None
    ended: threading.Event = field(default_factory=threading.Event)


# --- what runs --------------------------------------------------------------------------------------------


def list_order_tests(*, tests: Path = TESTS) -> list[str]:
    """Every tests/*/orders directory with tests and the flows that run on the test databases."""
    folders = sorted({path.parent for path in tests.glob("*/orders/test_*.py") if not path.match(OWN_DATABASES)})
    flows = sorted(path for path in (tests / "flows").glob("test_*.py") if path.name not in FLOWS_WITHOUT_SHARDS)
    return [str(path.relative_to(tests.parent)) for path in (*folders, *flows)]


def list_parts() -> tuple[list[list[Part]], list[Part]]:
    """The parts of each lane in their order, and what runs alone when all lanes have ended."""
    beside = tuple(f"tests/{name}" for name in BESIDE)
    rest = ("tests", *(f"--ignore={path}" for path in beside))
    four = (f"--ignore-glob=*/{OWN_DATABASES}", *list_order_tests())
    no_kills = ("-m", f"not {KILLS}")
    lanes = [
        [Part(title="two order databases", lane=0, arguments=(*no_kills, *rest))],
        [
            Part(title="races and flows", lane=1, arguments=(*FRESH_AND_KEPT, *no_kills, *beside)),
            Part(title="four order databases", lane=2, arguments=(*no_kills, *four), has_four=True),
        ],
    ]
    alone = Part(title="killed servers", lane=1, arguments=("--reuse-db", "-m", KILLS, "tests/concurrency"))
    return lanes, [alone]


def environment_with_four(*, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with two more order databases: N = 4 by configuration only."""
    return {**environment, **json.loads(environment[MORE_ORDERS])}


def environment_of(part: Part, *, environment: Mapping[str, str]) -> dict[str, str]:
    """Databases and a Redis number that no other lane uses."""
    found = environment_with_four(environment=environment) if part.has_four else dict(environment)
    for variable in (*DATABASES, *MORE_ORDER_DATABASES):
        if variable in found:
            found[variable] = f"{found[variable]}_{part.lane}"
    found["REDIS_URL"] = urlsplit(found["REDIS_URL"])._replace(path=f"/{part.lane}").geturl()
    return found


# --- running it -------------------------------------------------------------------------------------------


class Lanes:
    """Starts pytest part by part, in as many threads as there are lanes; all are ended by `stop`."""

    def __init__(self, *, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.is_stopped = False
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def go(self, runs: Iterable[Run]) -> threading.Thread:
        """One part after the other, whether or not the one before has passed."""
        thread = threading.Thread(target=lambda: [self._run(run) for run in runs], daemon=True)
        thread.start()
        return thread

    def _run(self, run: Run) -> None:
        began = time.monotonic()
        command = [sys.executable, "-m", "pytest", *colours(), *run.part.arguments]
        try:
            with run.log.open("wb") as log:
                with self._lock:
                    if self.is_stopped:
                        return
                    process = subprocess.Popen(
                        command,
                        env=environment_of(run.part, environment=self.environment),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                    self._processes.add(process)
                run.code = process.wait()
        finally:
            run.seconds = time.monotonic() - began
            run.ended.set()

    def stop(self) -> None:
        """After a Ctrl-C, which pytest has got from the terminal, too: nothing more starts, all get time to tidy up."""
        with self._lock:
            self.is_stopped = True
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.terminate()


def colours() -> list[str]:
    """pytest sees a file; what reads it in the end may be a terminal."""
    return ["--color=yes"] if sys.stdout.isatty() else []


def show(run: Run, *, to: BinaryIO) -> None:
    """Everything that the part prints, as it prints it; returns when it has ended."""
    to.write(f"\n== {run.part.title} ==\n".encode())
    to.flush()
    while not run.log.exists() and not run.ended.wait(POLL_SECONDS):
        pass
    if not run.log.exists():
        return
    with run.log.open("rb") as log:
        while True:
            had_ended = run.ended.is_set()
            to.write(log.read())
            to.flush()
            if had_ended:
                return
            run.ended.wait(POLL_SECONDS)


def last_line(log: Path) -> str:
    """How pytest ended: its own closing line without the rule around it."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1].strip("= ") if lines else "nothing was printed"


def first_failure(runs: Iterable[Run]) -> int:
    """The exit code of the first part that did not pass; one that a signal ended counts as 128 + its number."""
    for run in runs:
        if run.code:
            return 128 - run.code if run.code < 0 else run.code
        if run.code is None:
            return 1
    return 0


def run_all(*, lanes: Sequence[Sequence[Part]], alone: Sequence[Part], directory: Path, to: BinaryIO) -> int:
    """All lanes side by side, then `alone`; the exit code."""
    number = iter(range(100))

    def prepare(parts: Iterable[Part]) -> list[Run]:
        return [Run(part=part, log=directory / f"{next(number)}.log") for part in parts]

    side_by_side, afterwards = [prepare(parts) for parts in lanes], prepare(alone)
    everything = [*(run for runs in side_by_side for run in runs), *afterwards]
    work = Lanes(environment=dict(os.environ))
    try:
        for group in (side_by_side, [afterwards]):
            for runs in group:
                work.go(runs)
            for runs in group:
                for run in runs:
                    show(run, to=to)
    except KeyboardInterrupt:
        work.stop()
        return INTERRUPTED
    to.write(b"\n")
    for run in everything:
        verdict = "passed" if run.code == 0 else "FAILED"
        line = f"{verdict} {run.part.title} ({run.seconds:.0f} s): {last_line(run.log)}\n"
        to.write(line.encode())
    to.flush()
    return first_failure(everything)


def main(arguments: Sequence[str]) -> int:
    """Runs pytest once, or all parts; the exit code."""
    if arguments:
        return subprocess.run([sys.executable, "-m", "pytest", *arguments]).returncode
    lanes, alone = list_parts()
    # Where the servers may be somebody else's, nothing kills them (tests/conftest.py).
    alone = alone if ROOT_MARK in os.environ else []
    with tempfile.TemporaryDirectory(prefix="paysys-suite-") as directory:
        return run_all(lanes=lanes, alone=alone, directory=Path(directory), to=sys.stdout.buffer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

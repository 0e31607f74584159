"""The limiter under ten times what it can take: how fast are those admitted, how fast are the others refused?

    python -m benchmarks.limiter [--seconds 10] [--overload 10] [--case NAME …] [--control] [--json]

Each case has a granian process of its own (one worker, the product's middleware, SQLite and a Redis of its own) and is
measured in one run: a tenth of what the slots can do (unloaded), then `--overload` times it (loaded), both open loop:
request i is due at i / rate, and its time counts from then, whatever became of those before. `--control` adds the same
load past the limiter. Client, server and Redis share the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paysys.supervisor import ROOT, free_port, redis_binary

UNLOADED = 0.1
"""Of the capacity."""
SPARE_THREADS = 32
"""For refusing: a refusal takes well under a millisecond."""
GOAL_ACCEPTED = 2.0
"""p99 of the admitted, over the unloaded one."""
GOAL_REFUSED_MS = 20.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """`slots` of requests that take `ms` each: together slots / ms of capacity, of a processor no more than 1 / ms."""

    name: str
    kind: str
    slots: int
    waiting: int
    ms: float

    @property
    def capacity(self) -> float:
        per_slot = 1000 / self.ms
        return per_slot * (self.slots if self.kind == "wait" else 1)

    @property
    def threads(self) -> int:
        return self.slots + self.waiting + SPARE_THREADS


CASES = (
    Case(name="provider", kind="wait", slots=200, waiting=50, ms=1000),
    Case(name="database", kind="wait", slots=20, waiting=5, ms=100),
    Case(name="processor", kind="burn", slots=2, waiting=0, ms=10),
)
"""The requirements' 200 slots for 200 requests a second; short waits; and work that only a processor can do."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Milliseconds; `ratio` is the loaded p99 of the admitted over the unloaded one."""

    case: str
    load: str
    rate: float
    admitted: int
    admitted_per_second: float
    p50: float
    p99: float
    ratio: float | None
    refused: int
    refused_p50: float
    refused_p99: float
    refused_max: float
    server_cpu: float


@contextlib.contextmanager
def server(case: Case, directory: Path) -> Iterator[tuple[int, int]]:
    """(port, pid) of a granian process that answers."""
    port, redis_port = free_port(), free_port()
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.limiter_settings",
        "DATABASE_URL": f"sqlite:///{directory}/{case.name}.sqlite3",
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "PAYSYS_LOG_LEVEL": "ERROR",
        "PAYSYS_LIMITER_SLOTS": str(case.slots),
        "PAYSYS_LIMITER_WAITING": str(case.waiting),
    }
    own_redis = subprocess.Popen(
        [redis_binary(), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)],
        stdout=subprocess.DEVNULL,
    )
    migrate = [sys.executable, "manage.py", "migrate", "foundation", "--verbosity", "0"]
    subprocess.run(migrate, env=environment, cwd=ROOT, check=True)
    granian = str(Path(sys.executable).parent / "granian")
    options = f"--interface wsgi --host 127.0.0.1 --port {port} --workers 1 --no-ws --log-level error"
    limits = f"--blocking-threads {case.threads} --backlog 4096 --backpressure 4096"
    command = [granian, *options.split(), *limits.split(), "benchmarks.limiter_app:application"]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True)
    try:
        _wait(port)
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        own_redis.terminate()
        own_redis.wait()


def _wait(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
            probe.sendall(b"GET /api/work/wait?ms=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            if b" 200 " in probe.recv(4096).split(b"\r\n", 1)[0]:
                return
        time.sleep(0.2)
    raise SystemExit("granian does not answer")


def load(*, port: int, address: str, rate: float, seconds: float, connections: int, directory: Path) -> dict[str, Any]:
    """One open loop from a process of its own; see benchmarks/grab_load.py."""
    requests = directory / "requests"
    requests.write_bytes(f"GET {address}\nAccept: application/json".encode() + b"\n\n\n")
    lines = requests.read_bytes().rstrip(b"\n") + b"\n\n\n"
    requests.write_bytes((lines * max(1, int(rate * seconds)))[: -len(b"\n\n\n")])
    order = {"host": "127.0.0.1", "port": port, "rate": rate, "connections": connections, "seconds": seconds}
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.grab_load"],
        input=json.dumps({**order, "requests": str(requests)}),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def cpu_seconds(process_id: int) -> float:
    """User and system time of a process and its children so far."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()
    spent = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    for task in Path(f"/proc/{process_id}/task").glob("*/children"):
        spent += sum(cpu_seconds(int(child)) for child in task.read_text().split())
    return spent


def row(case: Case, name: str, rate: float, told: dict[str, Any], cpu: float, unloaded: Row | None) -> Row:
    done, busy = told["latencies"].get("done", {}), told["latencies"].get("busy", {})
    unknown = set(told["counts"]) - {"done", "busy"}
    if unknown:
        raise SystemExit(f"{case.name}: answers that nobody expected: {told['counts']}")
    p99 = done.get("p99", 0.0)
    return Row(
        case=case.name,
        load=name,
        rate=rate,
        admitted=told["counts"].get("done", 0),
        admitted_per_second=told["counts"].get("done", 0) / told["seconds"],
        p50=done.get("p50", 0.0),
        p99=p99,
        ratio=p99 / unloaded.p99 if unloaded and unloaded.p99 else None,
        refused=told["counts"].get("busy", 0),
        refused_p50=busy.get("p50", 0.0),
        refused_p99=busy.get("p99", 0.0),
        refused_max=busy.get("max", 0.0),
        server_cpu=cpu / told["seconds"],
    )


def measure(case: Case, *, seconds: float, overload: float, has_control: bool, directory: Path) -> list[Row]:
    """The rows of one case."""
    rows: list[Row] = []
    with server(case, directory) as (port, process_id):
        address = f"/api/work/{case.kind}?ms={case.ms:g}"
        loads = [("unloaded", address, case.capacity * UNLOADED), ("loaded", address, case.capacity * overload)]
        if has_control:
            loads.append(("no limiter", "/open" + address, case.capacity * overload))
        connections = 2 * case.threads
        load(port=port, address=address, rate=case.capacity, seconds=2, connections=connections, directory=directory)
        for name, asked, rate in loads:
            time.sleep(1 + case.ms / 1000)
            before = cpu_seconds(process_id)
            told = load(
                port=port, address=asked, rate=rate, seconds=seconds, connections=connections, directory=directory
            )
            spent = cpu_seconds(process_id) - before
            rows.append(row(case, name, rate, told, spent, rows[0] if rows else None))
    return rows


def table(rows: list[Row]) -> str:
    headings = ("case", "load", "offered/s", "admitted/s", "p50 ms", "p99 ms", "over unloaded", "refused",
                "refused p50", "refused p99", "max ms", "CPU")  # fmt: skip
    lines = [headings]
    for one in rows:
        refusals = (f"{one.refused_p50:.1f}", f"{one.refused_p99:.1f}", f"{one.refused_max:.1f}")
        lines.append(
            (
                one.case,
                one.load,
                f"{one.rate:,.0f}",
                f"{one.admitted_per_second:,.0f}",
                f"{one.p50:,.1f}",
                f"{one.p99:,.1f}",
                f"{one.ratio:.2f}" if one.ratio else "",
                f"{one.refused:,}",
                *(refusals if one.refused else ("", "", "")),
                f"{one.server_cpu:.2f}",
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def is_met(rows: list[Row]) -> bool:
    """Both goals, in every loaded row."""
    return all(
        (one.ratio or 0) <= GOAL_ACCEPTED and one.refused_p99 <= GOAL_REFUSED_MS for one in rows if one.load == "loaded"
    )


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.limiter", description=__doc__.split("\n", 1)[0])
    options.add_argument("--seconds", type=float, default=10.0, help="of each load (default 10)")
    options.add_argument("--overload", type=float, default=10.0, help="times the capacity (default 10)")
    options.add_argument("--case", action="append", choices=[case.name for case in CASES], help="only these")
    options.add_argument("--control", action="store_true", help="the same load past the limiter as well")
    options.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    asked = options.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as directory:
        for case in CASES:
            if not asked.case or case.name in asked.case:
                rows += measure(
                    case,
                    seconds=asked.seconds,
                    overload=asked.overload,
                    has_control=asked.control,
                    directory=Path(directory),
                )
    print(table(rows))
    print(
        f"goals: p99 of the admitted <= {GOAL_ACCEPTED:g} x unloaded, refusals (p99) <= {GOAL_REFUSED_MS:g} ms: ",
        end="",
    )
    print("met" if is_met(rows) else "NOT MET")
    if asked.json:
        print(json.dumps({"benchmark": "limiter", "overload": asked.overload, "cases": [asdict(one) for one in rows]}))


if __name__ == "__main__":
    main()

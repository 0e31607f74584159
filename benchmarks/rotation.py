"""A key of encrypted columns is changed under a million rows: killed, stopped, gone on with, and the old key refused.

    python3 -m tests.provision run -- .venv/bin/python -m benchmarks.rotation [--rows 1000000] [--table cards] [--json]

The program is `manage.py encryption rotate`, in processes of their own: one is hit by kill -9 at a third of the table,
the next gets SIGTERM at two thirds, the last one ends the work. All the while somebody else changes rows, and how long
he waits is measured. Then every row is opened with the new key alone and compared with what it said; the program stops
with an error where anything is not as promised.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks import databases

GOAL_ROWS_A_SECOND = 5_000
"""Of the whole rotation, starts of processes included."""
KEYS = {"old": b"o" * 32, "new": b"n" * 32}
KILLED_AT, STOPPED_AT = 1 / 3, 2 / 3
"""Parts of the table, by primary key."""
FILL_ROWS = 5_000
WRITES_A_SECOND = 20
"""Of the one who changes rows meanwhile: one at a time."""
NEAR_ROWS = 400
"""He changes rows that are about to be closed: elsewhere he would hardly ever meet the rotation."""
PATIENCE_SECONDS = 3_600.0


class Disproved(Exception):
    """Something that the rotation promises did not hold."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A real table. `make` gives row `number` with the content `text`; `closed` maps its columns to their names."""

    model: Any
    closed: dict[str, str]
    make: Callable[[int, str], Any]
    key_of: Callable[[int], Any]

    @property
    def name(self) -> str:
        return str(self.model._meta.db_table)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One process of the command. `rows` are those that it closed; `seconds` from its start to its end."""

    ended_by: str
    rows: int
    seconds: float
    said: tuple[str, ...]


@dataclass
class Waits:
    """What the other one saw: seconds of each of his changes, and what he wrote (row number → content)."""

    seconds: list[float] = field(default_factory=list)
    written: dict[int, str] = field(default_factory=dict)


def messages() -> Table:
    """Short messages: one closed column, no index, numbers as keys."""
    from foundation import clock
    from identity.models import ShortMessage

    now = clock.now()
    return Table(
        model=ShortMessage,
        closed={"text": "identity_shortmessage.text"},
        make=lambda number, text: ShortMessage(
            id=number, phone_masked="138****0001", purpose="bench", text=text, state="SHOWN", created_at=now
        ),
        key_of=lambda number: number,
    )


def cards() -> Table:
    """Bank cards: three closed columns, indexes, texts as keys."""
    from foundation import clock
    from withdrawals.models import BankCard

    now = clock.now()

    def make(number: int, text: str) -> Any:
        index = hashlib.sha256(text.encode()).hexdigest()
        return BankCard(
            id=f"bench{number:08d}",
            employee_id=number,
            enterprise_id=1,
            holder=text,
            card_no=text,
            phone=text,
            card_index=index,
            active_index=index,
            card_masked="**** 0000",
            phone_masked="138****0001",
            bank_code="ICBC",
            bank_name="工商银行",
            verification_no=f"bench{number:08d}",
            created_at=now,
        )

    names = ("card_no", "holder", "phone")
    return Table(
        model=BankCard,
        closed={name: f"withdrawals_bankcard.{name}" for name in names},
        make=make,
        key_of=lambda number: f"bench{number:08d}",
    )


TABLES: dict[str, Callable[[], Table]] = {"messages": messages, "cards": cards}


def content(number: int, name: str) -> str:
    """What column `name` of row `number` says: 1 to 40 characters, some of them Chinese."""
    digest = hashlib.sha256(f"{name} {number}".encode()).hexdigest()
    return (f"{number} 您好 {digest}")[: 1 + number % 40]


def know(*kids: str) -> None:
    """The keys that this process has, and those that it starts from now on."""
    os.environ["PAYSYS_ENCRYPTION_KEYS"] = ",".join(f"{kid}:{KEYS[kid].hex()}" for kid in kids)


def fill(table: Table, rows: int) -> None:
    from foundation import crypto

    for start in range(1, rows + 1, FILL_ROWS):
        made = []
        for number in range(start, min(start + FILL_ROWS, rows + 1)):
            row = table.make(number, f"{number}")
            for name, column in table.closed.items():
                setattr(row, name, crypto.encrypt(content(number, name), column=column))
            made.append(row)
        table.model.objects.bulk_create(made)


def rotate(table: Table, *, rows: int, ends: tuple[int, str] | None, batch: int) -> Run:
    """Runs the command; `ends` = (row number, signal's name): it gets that signal when that row has been closed."""
    before, began = count_new(table), time.monotonic()
    command = [sys.executable, "manage.py", "encryption", "rotate", "--table", table.name]
    command += ["--batch", str(batch)] if batch else []
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ends is not None:
        watched = table.model.objects.filter(pk=table.key_of(ends[0]))
        name = next(iter(table.closed))
        while not watched.filter(**{f"{name}__startswith": "v1:new:"}).exists():
            if child.poll() is not None or time.monotonic() - began > PATIENCE_SECONDS:
                raise Disproved(f"the command ended early: {child.communicate()[0]}")
            time.sleep(0.05)
        child.send_signal(signal.Signals[ends[1]])
    said, _ = child.communicate(timeout=PATIENCE_SECONDS)
    seconds = time.monotonic() - began
    expected = {"": 0, "SIGKILL": -signal.SIGKILL, "SIGTERM": 1}[ends[1] if ends else ""]
    demand(child.returncode == expected, f"status {child.returncode} and not {expected}: {said}")
    run = Run(
        ended_by=ends[1] if ends else "the end",
        rows=count_new(table) - before,
        seconds=seconds,
        said=tuple(said.splitlines()),
    )
    print(f"{run.ended_by:>8}  {run.rows:>9,} rows in {run.seconds:6.1f} s  {run.rows / run.seconds:>7,.0f} a second")
    for line in (*run.said[:-2][-1:], *run.said[-2:]):
        print(f"          {line}")
    demand(ends is None or 0 < before + run.rows < rows, "it was not in the middle")
    return run


def count_new(table: Table) -> int:
    name = next(iter(table.closed))
    return int(table.model.objects.filter(**{f"{name}__startswith": "v1:new:"}).count())


@contextlib.contextmanager
def somebody_writing(table: Table, rows: int, seed: int) -> Iterator[Waits]:
    """Changes rows just before the rotation comes to them, by the newest key, and notes how long each took."""
    from django.db import connections

    from foundation import crypto

    waits, over, troubles = Waits(), threading.Event(), list[BaseException]()
    name, column = next(iter(table.closed.items()))

    def work() -> None:
        chooser, front = random.Random(seed), 1
        due = (
            table.model.objects.filter(**{f"{name}__startswith": "v1:old:"}).order_by("pk").values_list("pk", flat=True)
        )
        try:
            while not over.wait(1 / WRITES_A_SECOND):
                next_due = due.filter(pk__gte=table.key_of(front)).first()
                front = rows if next_due is None else int(str(next_due).removeprefix("bench"))
                number = min(front + chooser.randrange(NEAR_ROWS), rows)
                text = f"changed {len(waits.seconds)}"
                closed = crypto.encrypt(text, column=column)
                began = time.perf_counter()
                table.model.objects.filter(pk=table.key_of(number)).update(**{name: closed})
                waits.seconds.append(time.perf_counter() - began)
                waits.written[number] = text
        except BaseException as error:
            troubles.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()
    if troubles:
        raise Disproved("the one who changes rows failed") from troubles[0]


def status() -> dict[str, Any]:
    command = [sys.executable, "manage.py", "encryption", "status", "--json"]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def check_content(table: Table, rows: int, written: dict[int, str]) -> str:
    """Opens every row with the new key alone, compares it, and returns the hash over all. Raises Disproved."""
    from foundation import crypto

    know("new")
    found, expected, seen = hashlib.sha256(), hashlib.sha256(), 0
    names = sorted(table.closed)
    for row in table.model.objects.order_by("pk").values_list("pk", *names).iterator(chunk_size=5_000):
        seen += 1
        for name, stored in zip(names, row[1:], strict=True):
            was = written.get(seen, "") if name == next(iter(table.closed)) else ""
            opened = crypto.decrypt(stored, column=table.closed[name])
            wanted = was or content(seen, name)
            found.update(f"{row[0]}:{opened};".encode())
            expected.update(f"{table.key_of(seen)}:{wanted};".encode())
    demand(seen == rows, f"{seen} rows and not {rows}")
    demand(found.hexdigest() == expected.hexdigest(), "the content is not what it was")
    return found.hexdigest()


def check_refusal(table: Table, old_row: Any) -> str:
    """The old key is gone: what it closed opens nowhere, `status` and `rotate` say so. Returns what is said."""
    from foundation import crypto

    name, column = next(iter(table.closed.items()))
    know("new")
    stored = getattr(old_row, name)
    try:
        crypto.decrypt(stored, column=column)
    except crypto.CannotDecrypt as error:
        refusal = f"{error.code}: {error.details}"
    else:
        raise Disproved("a removed key opens")
    demand("'kid': 'old', 'reason': 'no such version or key'" in refusal, refusal)
    # A row from an old backup, put back.
    mine = table.model.objects.filter(pk=old_row.pk)
    present = mine.values_list(name, flat=True).get()
    mine.update(**{name: stored})
    demand(status()["columns"][f"{table.name}.{name}"]["?"] == 1, "status does not find the row of the old key")
    command = [sys.executable, "manage.py", "encryption", "rotate", "--table", table.name]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    demand(done.returncode == 1 and f"1 rows cannot be opened ({old_row.pk}" in done.stdout, done.stdout)
    demand(mine.values_list(name, flat=True).get() == stored, "what cannot be opened was changed")
    mine.update(**{name: present})
    return refusal


def demand(holds: bool, message: str) -> None:
    if not holds:
        raise Disproved(message)


def prove(table: Table, *, rows: int, batch: int, seed: int) -> dict[str, Any]:
    """The whole story; returns the figures. Raises Disproved."""
    know("old")
    began = time.monotonic()
    fill(table, rows)
    print(f"{rows:,} rows of {table.name} made in {time.monotonic() - began:.0f} s", flush=True)
    old_row = table.model.objects.get(pk=table.key_of(rows // 2))
    know("old", "new")
    values = rows * len(table.closed)
    demand(status()["may_go"] == [], "the old key may not go before the rotation")
    with somebody_writing(table, rows, seed) as waits:
        time.sleep(2.0)
        quiet = len(waits.seconds)
        runs = [
            rotate(table, rows=rows, ends=(int(rows * KILLED_AT), "SIGKILL"), batch=batch),
            rotate(table, rows=rows, ends=(int(rows * STOPPED_AT), "SIGTERM"), batch=batch),
        ]
        demand("stopped; start it again to go on" in runs[1].said[-1], "SIGTERM was not heard")
        half = status()
        demand(half["may_go"] == [], "the old key may not go in the middle")
        runs.append(rotate(table, rows=rows, ends=None, batch=batch))
        demand(runs[-1].said[-1] == "nothing is left to close", runs[-1].said[-1])
    whole = status()
    counts = {column: by_key for column, by_key in whole["columns"].items() if column.startswith(table.name + ".")}
    demand(sum(by_key["new"] for by_key in counts.values()) == values, f"not all with the new key: {counts}")
    demand(whole["may_go"] == ["old"], "the old key may go now")
    began = time.monotonic()
    digest = check_content(table, rows, waits.written)
    print(
        f"every row opens with the new key alone and says what it said, in {time.monotonic() - began:.0f} s: {digest}"
    )
    refusal = check_refusal(table, old_row)
    print(f"the old key is refused: {refusal}")
    busy = sorted(waits.seconds[quiet:])
    seconds = sum(run.seconds for run in runs)
    return {
        "table": table.name,
        "rows": rows,
        "values": values,
        "runs": [{**asdict(run), "said": run.said[-1:]} for run in runs],
        "rows_a_second": rows / seconds,
        "goal_is_met": rows / seconds >= GOAL_ROWS_A_SECOND,
        "changes_meanwhile": len(busy),
        "change_p99_ms": busy[int(len(busy) * 0.99)] * 1000,
        "change_max_ms": busy[-1] * 1000,
        "change_quiet_median_ms": sorted(waits.seconds[:quiet])[quiet // 2] * 1000,
        "sha256": digest,
    }


def main(arguments: Sequence[str]) -> int:
    """Runs, prints, returns 0; 1 when a promise was broken, 2 when there is no MariaDB to run on."""
    parser = argparse.ArgumentParser(prog="benchmarks.rotation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--table", choices=sorted(TABLES), default="messages")
    parser.add_argument("--batch", type=int, default=0, help="rows per transaction; 0: the command's own")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="which rows are changed meanwhile")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args(arguments)
    for variable in ("PAYSYS_ENCRYPTION_KEYS_FILE", "PAYSYS_BLIND_INDEX_KEYS_FILE", "PAYSYS_BLIND_INDEX_KEYS"):
        os.environ.pop(variable, None)
    know("old")
    # Indexes with a key of their own, or the oldest encryption key could never go.
    os.environ["PAYSYS_BLIND_INDEX_KEYS"] = f"index:{(b'i' * 32).hex()}"
    try:
        with databases.bench_databases():
            found = prove(TABLES[options.table](), rows=options.rows, batch=options.batch, seed=options.seed)
    except databases.CannotRun as error:
        print(f"benchmarks.rotation: {error}", file=sys.stderr)
        return 2
    except Disproved as error:
        print(f"benchmarks.rotation: {error} (--seed {options.seed})", file=sys.stderr)
        return 1
    met = "met" if found["goal_is_met"] else "MISSED"
    print(f"{found['rows']:,} rows, {found['values']:,} values: {found['rows_a_second']:,.0f} rows a second in all")
    print(f"goal {GOAL_ROWS_A_SECOND:,} rows a second: {met}")
    print(
        f"{found['changes_meanwhile']} changes by somebody else meanwhile, none lost: "
        f"p99 {found['change_p99_ms']:.1f} ms, longest {found['change_max_ms']:.1f} ms; "
        f"median before the rotation {found['change_quiet_median_ms']:.1f} ms"
    )
    if options.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

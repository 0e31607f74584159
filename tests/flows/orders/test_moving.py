"""From two order databases to four while orders are being written: the mover is killed again and again.

Real processes on databases of their own, two of them on each server. Not one order of a table that stays is refused; a
refused one of a moving table is Busy, moved nothing, and its next try after the switch goes through.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db import connections

from tests.integration.orders.moving_places import execute, second_port
from tests.system import ROOT, Process

NAMES = ("default", "orders_0", "orders_1", "orders_2", "orders_3")
OLD, NEW = "orders_0,orders_1", "orders_0,orders_1,orders_2,orders_3"
MOVING = {2, 3, 6, 7, 10, 11, 14, 15}
STEP_SECONDS = 120


@dataclass
class Installation:
    """Five databases, the environment of processes with the old and with the new map, and the notes of writers."""

    directory: Path
    urls: dict[str, str]

    def env(self, databases: str) -> dict[str, str]:
        """What a process gets; FUNDS_ and REDPACKET_ are left out, so both roles are played by the default database."""
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_DATABASE_URL")}
        return {
            **kept,
            **self.urls,
            "PAYSYS_ORDER_DATABASES": databases,
            "DJANGO_SETTINGS_MODULE": "paysys.settings.test",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }

    def manage(self, *arguments: str, databases: str = OLD) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.env(databases), capture_output=True, text=True, timeout=STEP_SECONDS
        )

    def step(self, name: str, *, databases: str = OLD) -> str:
        done = self.manage("move_order_tables", f"--{name}", "--to", NEW, databases=databases)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def killed_step(self, name: str, *, at: str, databases: str = OLD) -> str:
        """Runs a step and kills it as soon as a line of its output contains `at`; returns what it had printed."""
        mover = subprocess.Popen(
            [sys.executable, "manage.py", "move_order_tables", f"--{name}", "--to", NEW],
            cwd=ROOT,
            env=self.env(databases),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert mover.stdout is not None
        printed = ""
        for line in mover.stdout:
            printed += line
            if at in line:
                mover.kill()
                break
        mover.stdout.close()
        assert mover.wait() == -signal.SIGKILL, printed
        return printed

    def traffic(self, action: str, name: str, *, databases: str = OLD) -> Process:
        command = [sys.executable, "-m", "tests.flows.orders.traffic", action, str(self.directory / f"{name}.jsonl")]
        return Process(name, command, self.env(databases), self.directory).start()

    def notes(self, name: str) -> list[dict[str, object]]:
        file = self.directory / f"{name}.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for_notes(self, name: str, count: int) -> None:
        """Until the writer has noted that many answers more, so that a step is seen by traffic."""
        wanted = len(self.notes(name)) + count
        deadline = time.monotonic() + STEP_SECONDS
        while len(self.notes(name)) < wanted:
            assert time.monotonic() < deadline, (self.directory / f"{name}.log").read_text()[-2000:]
            time.sleep(0.05)


@pytest.fixture
def installation(tmp_path: Path, committed_db: None) -> Iterator[Installation]:
    schema = f"test_grow_{uuid.uuid4().hex[:10]}"
    base = connections["default"].settings_dict
    ports = dict.fromkeys(NAMES, base["PORT"])
    if second_port():
        ports |= {"orders_1": second_port(), "orders_3": second_port()}
    databases = {name: f"{schema}_{name}" for name in NAMES}
    user = f"{base['USER']}:{base['PASSWORD']}@{base['HOST']}"
    variables = {name: "DATABASE_URL" if name == "default" else f"{name.upper()}_DATABASE_URL" for name in NAMES}
    for name in NAMES:
        on_server(ports[name], f"CREATE DATABASE {databases[name]} CHARACTER SET utf8mb4")
    try:
        yield Installation(
            directory=tmp_path,
            urls={variables[name]: f"mysql://{user}:{ports[name]}/{databases[name]}" for name in NAMES},
        )
    finally:
        for name in NAMES:
            on_server(ports[name], f"DROP DATABASE {databases[name]}")


def on_server(port: object, statement: str) -> None:
    """A statement on one of the servers, by a connection of the test database that stands there."""
    alias = next(alias for alias in connections if str(connections[alias].settings_dict["PORT"]) == str(port))
    execute(alias, statement)


def test_from_two_databases_to_four_under_traffic_with_the_mover_killed(installation: Installation) -> None:
    here = installation
    migrated = here.manage("migrate_all")
    assert migrated.returncode == 0, migrated.stderr
    filling = here.traffic("fill", "filled")
    assert filling.popen is not None
    assert filling.popen.wait(STEP_SECONDS) == 0, filling.tail()
    writers = [here.traffic("write", name) for name in ("old-1", "old-2")]
    try:
        here.wait_for_notes("old-1", 50)
        assert "8 of 16 tables to move" in here.step("plan")
        for at in ("rows looked at", "table 03: closed for writes", "orders_order_06: ", "table 14: closed for writes"):
            here.killed_step("copy", at=at)
            here.wait_for_notes("old-1", 20)
        finished = here.step("copy")
        assert finished.count("rows equal on both sides") == 16
        closed_at = time.time()
        here.wait_for_notes("old-2", 100)

        early = here.manage("check", "--database", "orders_2", databases=NEW)
        assert (early.returncode, "paysys.E021" in early.stderr) == (1, True), early.stderr
        refused = here.manage("migrate_all", databases=NEW)
        assert (refused.returncode, "Nothing was migrated" in refused.stderr) == (1, True), refused.stderr

        here.killed_step("switch", at="table 03: in use on orders_3", databases=NEW)
        here.step("switch", databases=NEW)
        here.wait_for_notes("old-2", 100)  # the old processes still run, and are refused
        stale = here.manage("check", "--database", "orders_0", databases=OLD)
        assert (stale.returncode, "paysys.E021" in stale.stderr) == (1, True), stale.stderr
    finally:
        for writer in writers:
            writer.stop()
    writers = [here.traffic("write", "new-1", databases=NEW)]
    try:
        here.wait_for_notes("new-1", 100)
        here.killed_step("finish", at="table 06: renamed", databases=NEW)
        here.step("finish", databases=NEW)
        here.wait_for_notes("new-1", 100)
    finally:
        for writer in writers:
            writer.stop()
    assert here.manage("check", "--database", "orders_2", databases=NEW).returncode == 0
    assert here.manage("migrate_all", databases=NEW).returncode == 0
    _assert_answers_and_rows(here, closed_at)


def _assert_answers_and_rows(here: Installation, closed_at: float) -> None:
    old = here.notes("old-1") + here.notes("old-2")
    new = here.notes("new-1")
    staying = Counter(note["result"] for note in old if note["table"] not in MOVING)
    moving = Counter(note["result"] for note in old if note["table"] in MOVING)
    assert set(staying) == {"ok"}
    assert set(moving) == {"ok", "busy"}
    assert {note["result"] for note in old if note["table"] in MOVING and float(str(note["at"])) > closed_at} == {
        "busy"
    }
    assert {note["result"] for note in new} == {"ok"}
    assert {note["table"] for note in new} == set(range(16))
    files = [str(here.directory / f"{name}.jsonl") for name in ("filled", "old-1", "old-2", "new-1")]
    compared = subprocess.run(
        [sys.executable, "-m", "tests.flows.orders.traffic", "compare", *files],
        cwd=ROOT,
        env=here.env(NEW),
        capture_output=True,
        text=True,
    )
    assert compared.returncode == 0, compared.stderr
    found = json.loads(compared.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["orders"] == found["acknowledged"]
    assert set(found["attempts"]) == {"orders_0", "orders_1", "orders_2", "orders_3"}
    print(f"tables that stayed {dict(staying)}, that moved {dict(moving)}, after it {len(new)} ok; {found}")

"""The embedded default as a new user meets it: `make run` in a fresh copy of the tree tells its story."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from paysys.supervisor import free_port
from tests.system import ROOT

STORY_SECONDS = 170.0


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The tree without what it makes itself, and the virtual environment that stands already."""
    target = tmp_path / "checkout"
    made = shutil.ignore_patterns(".git", ".venv", ".local", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, target, ignore=made)
    (target / ".venv").symlink_to(ROOT / ".venv")
    return target


class Running:
    """`make run` and what it prints."""

    def __init__(self, checkout: Path, *, story: str = "1") -> None:
        self.port, self.simulator_port = free_port(), free_port()
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.endswith(("DATABASE_URL", "REDIS_URL", "BROKER_URL")) and name != "DJANGO_SETTINGS_MODULE"
        }
        self.output = checkout / "output.txt"
        with self.output.open("wb") as output:
            self.popen = subprocess.Popen(
                ["make", "run"],
                cwd=checkout,
                env={
                    **clean,
                    "PAYSYS_PORT": str(self.port),
                    "PAYSYS_SIMULATOR_PORT": str(self.simulator_port),
                    "PAYSYS_STORY": story,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_until_it_serves(self) -> str:
        deadline = time.monotonic() + STORY_SECONDS
        while "serving; Ctrl-C stops everything" not in self.text():
            assert self.popen.poll() is None, self.text()[-4000:]
            assert time.monotonic() < deadline, self.text()[-4000:]
            time.sleep(0.3)
        return self.text()

    def interrupt(self) -> int:
        """Ctrl-C: the whole foreground group gets SIGINT, as from a terminal."""
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, signal.SIGINT)
        return self.popen.wait(30)


@pytest.fixture
def running(checkout: Path) -> Iterator[Running]:
    started = Running(checkout)
    try:
        yield started
    finally:
        started.interrupt()


def test_make_run_tells_its_story_and_stops_cleanly(running: Running, checkout: Path) -> None:
    text = running.wait_until_it_serves()
    assert "books balance" in text
    assert "BROKEN" not in text
    assert "FAILED" not in text
    world = json.loads((checkout / ".local" / "demo.json").read_text())
    assert (len(world["enterprises"]), len(world["employees"])) == (2, 20)
    assert world["base_url"] == f"http://127.0.0.1:{running.port}"
    assert requests.get(f"{world['base_url']}/api/schema/", timeout=10).status_code == 200
    assert requests.get(f"{world['base_url']}/api/docs/", timeout=10).status_code == 200
    replayed = subprocess.run(
        ["make", "demo"], cwd=checkout, capture_output=True, text=True, timeout=STORY_SECONDS, check=False
    )
    assert replayed.returncode == 0, replayed.stdout[-3000:] + replayed.stderr[-2000:]
    assert "books balance" in replayed.stdout
    running.interrupt()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{world['base_url']}/healthz", timeout=2)
    assert not (checkout / ".local" / "supervisor.pid").exists()

    again = Running(checkout, story="0")
    try:
        again.wait_until_it_serves()
        assert requests.get(f"http://127.0.0.1:{again.port}/readyz", timeout=10).status_code == 200
    finally:
        again.interrupt()

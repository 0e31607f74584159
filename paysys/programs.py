"""The command lines of our processes, as `make run` and the flow tests start them (production: docs/OPERATIONS.md)."""

from __future__ import annotations

import sys
from pathlib import Path

HOST = "127.0.0.1"
WEB_WORKERS = 2
WEB_THREADS = 8


def web(*, port: int) -> list[str]:
    """granian, WSGI."""
    granian = str(Path(sys.executable).parent / "granian")
    options = f"--interface wsgi --host {HOST} --port {port} --workers {WEB_WORKERS} --no-ws --log-level error"
    return [granian, *options.split(), "--blocking-threads", str(WEB_THREADS), "paysys.wsgi:application"]


def worker() -> list[str]:
    """A Celery worker that listens to every queue."""
    options = "worker --concurrency 2 --loglevel ERROR --queues settle,callbacks,reconciliation,default"
    return [*_celery(), *options.split(), "--without-gossip", "--without-mingle"]


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

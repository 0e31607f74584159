"""A worker started as in production serves the priority queue; a channel without its keys puts a row off, no more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from django.conf import settings

from foundation import clock
from orders import selectors as orders
from payments.services import priorities
from tests import worlds
from tests.concurrency.payments.test_priority_queue import undecided
from tests.system import System


@pytest.fixture(params=["rabbitmq", "redis"])
def worker(
    request: pytest.FixtureRequest, committed_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[System]:
    """Redis is the broker of the embedded default."""
    broker = settings.CELERY_BROKER_URL if request.param == "rabbitmq" else settings.REDIS_URL
    running = System(tmp_path)
    running.worker.env["CELERY_BROKER_URL"] = broker
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)  # Celery would prefer it to what it is told
    try:
        with Celery("sender", broker=broker, set_as_current=False) as app:
            if request.param == "rabbitmq":
                app.conf.task_queues = settings.CELERY_TASK_QUEUES
            monkeypatch.setattr(priorities, "current_app", app)
            yield running.start("worker")
    finally:
        running.stop()


def test_a_rung_attempt_is_asked_about(worker: System) -> None:
    attempt_no = undecided(worlds.make_world(1).employees[0], due=clock.now())
    deadline = time.monotonic() + 30
    while orders.get_attempt(attempt_no=attempt_no).tries == 0:
        assert time.monotonic() < deadline, worker.worker.tail()
        priorities.send(task=priorities.TASK, number=attempt_no, priority=1)
        time.sleep(0.5)
    assert orders.get_attempt(attempt_no=attempt_no).result_code == "channel_misconfigured"

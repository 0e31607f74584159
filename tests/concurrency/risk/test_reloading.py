"""An approved version counts in every process within two seconds, without restart."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission, User

from risk import selectors
from risk.domain.facts import Action
from risk.models import RuleSet, RuleVersion
from risk.services import versions
from tests.concurrency.funds.crew import environment
from tests.system import ROOT
from tests.worlds import NOW

pytestmark = pytest.mark.usefixtures("committed_db")
PROCESSES = 2
PROMISED_SECONDS = 2.0


def staff() -> User:
    user = User.objects.create_user(f"s{uuid.uuid4().hex[:12]}", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("edit_rules", "approve_rules")))
    return user


@pytest.fixture
def said() -> Iterator[queue.Queue[tuple[int, float]]]:
    """(version, when) of every line of PROCESSES lookers."""
    heard: queue.Queue[tuple[int, float]] = queue.Queue()
    lookers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.concurrency.risk.looker"],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(PROCESSES)
    ]

    def listen(looker: subprocess.Popen[str]) -> None:
        assert looker.stdout is not None
        for line in looker.stdout:
            heard.put((int(line), time.monotonic()))

    threads = [threading.Thread(target=listen, args=(looker,)) for looker in lookers]
    for thread in threads:
        thread.start()
    yield heard
    for looker in lookers:
        looker.terminate()
        looker.wait()
    for thread in threads:
        thread.join()


def test_all_processes_use_an_approved_version_within_two_seconds(said: queue.Queue[tuple[int, float]]) -> None:
    active = RuleSet.objects.get(action="withdrawal").active_id
    assert [said.get(timeout=30)[0] for _ in range(PROCESSES)] == [active] * PROCESSES
    maker, checker = staff(), staff()
    # Equal rows: what other tests of this session rely on stays as it is.
    version = versions.create_draft(action=Action.WITHDRAWAL, staff_id=maker.pk, now=NOW)
    rows, thresholds = selectors.get_content(version_id=version.pk)
    versions.save_draft(
        version_id=version.pk, rows=rows, thresholds=thresholds, note="same", staff_id=maker.pk, now=NOW
    )
    versions.submit(version_id=version.pk, staff_id=maker.pk, now=NOW)
    seen = versions.seen_token(RuleVersion.objects.get(pk=version.pk))
    versions.approve(version_id=version.pk, seen=seen, staff_id=checker.pk, now=NOW)
    committed = time.monotonic()
    heard = [said.get(timeout=10) for _ in range(PROCESSES)]
    assert [number for number, _ in heard] == [version.pk] * PROCESSES
    assert max(moment for _, moment in heard) - committed < PROMISED_SECONDS

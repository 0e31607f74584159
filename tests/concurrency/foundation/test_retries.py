"""A transaction that loses a race is tried again as a whole, a bounded number of times, and then fails loudly."""

from __future__ import annotations

import threading
import uuid

import pytest
from django.db import IntegrityError, OperationalError, connections

from foundation.db import transactions
from foundation.errors import Busy
from foundation.models import Alert, JobLock

pytestmark = pytest.mark.usefixtures("committed_db")


def deadlock() -> OperationalError:
    return OperationalError(1213, "Deadlock found when trying to get lock")


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "BACK_OFF_SECONDS", 0.0)


def test_the_whole_block_runs_again_and_only_its_last_run_stays() -> None:
    name, runs = uuid.uuid4().hex, []

    def work() -> int:
        runs.append(1)
        JobLock.objects.create(name=f"{name}{len(runs)}", locked_until=transactions.database_now(using="default"))
        if len(runs) < 3:
            raise deadlock()
        return len(runs)

    assert transactions.run(work, using="default") == 3
    assert list(JobLock.objects.filter(name__startswith=name).values_list("name", flat=True)) == [f"{name}3"]


def test_after_five_tries_the_caller_is_told_to_come_back_and_a_person_to_look() -> None:
    runs = []
    before = Alert.objects.filter(code="transaction_gave_up", subject="default").first()

    def work() -> None:
        runs.append(1)
        raise deadlock()

    with pytest.raises(Busy):
        transactions.run(work, using="default")
    assert len(runs) == 5
    after = Alert.objects.get(code="transaction_gave_up", subject="default")
    assert after.times == (before.times if before else 0) + 1


def test_other_errors_are_not_tried_again() -> None:
    runs = []

    def work() -> None:
        runs.append(1)
        raise IntegrityError(1062, "Duplicate entry")

    with pytest.raises(IntegrityError):
        transactions.run(work, using="default")
    assert len(runs) == 1


def test_a_real_deadlock_of_two_connections_ends_in_two_commits() -> None:
    names = [uuid.uuid4().hex, uuid.uuid4().hex]
    for name in names:
        JobLock.objects.create(name=name, holder="0", locked_until=transactions.database_now(using="default"))
    meet, tries = threading.Barrier(2), []

    def change(order: list[str]) -> None:
        first_time = True

        def work() -> None:
            nonlocal first_time
            tries.append(order[0])
            JobLock.objects.filter(name=order[0]).update(holder=order[0])
            if first_time:
                first_time = False
                meet.wait(timeout=10)
            JobLock.objects.filter(name=order[1]).update(holder=order[0])

        try:
            transactions.run(work, using="default")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=change, args=(order,)) for order in (names, names[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tries) == 3
    assert len(set(JobLock.objects.filter(name__in=names).values_list("holder", flat=True))) == 1

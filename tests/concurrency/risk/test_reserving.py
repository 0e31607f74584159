"""Two requests can never both be number three: real threads and commits on MariaDB, with a control without the lock."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections import Counter as Tally
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction

from foundation.db import roles, transactions
from foundation.errors import Busy
from risk import proof
from risk.domain.facts import Action
from risk.domain.tables import Outcome
from risk.models import Counter, Reservation
from risk.services import deciding, gathering, reserving
from risk.services.deciding import Subject, Verdict

pytestmark = pytest.mark.usefixtures("committed_db")
NOW = dt.datetime(2026, 11, 22, 2, 0, tzinfo=dt.UTC)
KNOWN: dict[str, int | str | bool] = {"account_age_days": 100, "card_is_new": False, "card_is_second_class": False}
APPLICATIONS = 100
THREADS = 20


def new_id() -> int:
    return uuid.uuid4().int % 10**15


def decide(subject: Subject, reference: str, amount_fen: int = 100) -> Verdict:
    return deciding.decide(
        action=Action.WITHDRAWAL,
        subject=subject,
        amount_fen=amount_fen,
        channel="kuaiqian",
        reference=reference,
        known=KNOWN,
        now=NOW,
    )


def apply(subject: Subject, reference: str, amount_fen: int = 100) -> Outcome:
    """What withdrawals does in the commit of an application."""

    def work() -> Verdict:
        verdict = decide(subject, reference, amount_fen)
        if verdict.outcome is not Outcome.REJECT:
            reserving.reserve(verdict=verdict, now=NOW)
        return verdict

    return transactions.run(work, using=roles.alias_for("default")).outcome


def race(work: Callable[[int], Outcome], times: int) -> Tally[Outcome]:
    """`times` calls by THREADS threads that start together."""
    start = threading.Barrier(THREADS)

    def body(first: int) -> list[Outcome]:
        start.wait()
        try:
            return [work(number) for number in range(first, times, THREADS)]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(THREADS) as pool:
        return Tally(outcome for part in pool.map(body, range(THREADS)) for outcome in part)


def standing(subject: Subject) -> int:
    rows = Reservation.objects.filter(employee_id=subject.employee_id)
    return rows.exclude(state=Reservation.State.RETURNED).count()


def day_counter(subject: Subject) -> Counter:
    return Counter.objects.get(name=f"withdrawal:e{subject.employee_id}:20261122")


def test_exactly_three_of_a_hundred_racing_applications_pass() -> None:
    subject = Subject(employee_id=new_id(), enterprise_id=1, card_no="6222020200003333")
    references = [uuid.uuid4().hex for _ in range(APPLICATIONS)]
    outcomes = race(lambda number: apply(subject, references[number]), APPLICATIONS)
    assert outcomes == {Outcome.PASS: 3, Outcome.REJECT: 97}
    assert standing(subject) == 3
    assert (day_counter(subject).count, day_counter(subject).amount_fen) == (3, 300)
    assert [line for line in proof.prove() if not line.ok] == []


def test_the_amount_of_a_day_is_never_exceeded_by_racing() -> None:
    subject = Subject(employee_id=new_id(), enterprise_id=1)
    references = [uuid.uuid4().hex for _ in range(40)]
    race(lambda number: apply(subject, references[number], 400_000), 40)
    assert (day_counter(subject).count, day_counter(subject).amount_fen) == (2, 800_000)


def test_without_the_lock_more_than_three_would_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the same race where counters are read without a lock: all of them see an empty day."""
    monkeypatch.setattr(gathering, "lock_counters", _read_without_lock)
    subject = Subject(employee_id=new_id(), enterprise_id=1)
    together = threading.Barrier(THREADS)
    passed: list[str] = []

    def careless(number: int) -> Outcome:
        with transaction.atomic():
            verdict = decide(subject, f"{subject.employee_id}-{number}")
            together.wait()
        if verdict.outcome is Outcome.PASS:
            passed.append(verdict.asked.reference)
        return verdict.outcome

    race(careless, THREADS)
    assert len(passed) == THREADS


def test_a_verdict_of_another_transaction_is_not_counted() -> None:
    """Who forgets the common transaction is told to decide again instead of becoming number four."""
    subject = Subject(employee_id=new_id(), enterprise_id=1)
    apply(subject, uuid.uuid4().hex)
    apply(subject, uuid.uuid4().hex)
    early = decide(subject, uuid.uuid4().hex)
    assert early.outcome is Outcome.PASS
    assert apply(subject, uuid.uuid4().hex) is Outcome.PASS
    with pytest.raises(Busy), transaction.atomic():
        reserving.reserve(verdict=early, now=NOW)
    assert standing(subject) == 3
    assert day_counter(subject).count == 3


def test_one_reference_sent_by_all_at_once_counts_once() -> None:
    subject, reference = Subject(employee_id=new_id(), enterprise_id=1), uuid.uuid4().hex
    assert race(lambda number: apply(subject, reference), 2 * THREADS) == {Outcome.PASS: 2 * THREADS}
    assert (standing(subject), day_counter(subject).count) == (1, 1)


def test_given_back_by_all_at_once_is_given_back_once_and_can_be_used_again() -> None:
    subject, references = Subject(employee_id=new_id(), enterprise_id=1), [uuid.uuid4().hex for _ in range(3)]
    for reference in references:
        apply(subject, reference)

    def back(number: int) -> Outcome:
        reserving.give_back(action=Action.WITHDRAWAL, reference=references[0], now=NOW)
        return Outcome.PASS

    race(back, THREADS)
    assert (day_counter(subject).count, day_counter(subject).amount_fen) == (2, 200)
    more = [uuid.uuid4().hex for _ in range(THREADS)]
    assert race(lambda number: apply(subject, more[number]), THREADS)[Outcome.PASS] == 1
    assert [line for line in proof.prove() if not line.ok] == []


def test_two_employees_who_share_a_card_do_not_lock_each_other_out() -> None:
    card = f"62220202{new_id() % 10**8:08d}"
    people = [Subject(employee_id=new_id(), enterprise_id=1, card_no=card) for _ in range(2)]
    references = [uuid.uuid4().hex for _ in range(THREADS)]
    outcomes = race(lambda number: apply(people[number % 2], references[number]), THREADS)
    assert outcomes[Outcome.PASS] == 6


def _read_without_lock(*, keys: gathering.Keys, day: dt.date, using: str) -> dict[str, Counter]:
    found = {row.name: row for row in Counter.objects.using(using).filter(name__in=keys.all)}
    return {name: found.get(name) or Counter(name=name, count=0, amount_fen=0, version=0, day=day) for name in keys.all}


def test_the_proof_is_right_while_requests_come_and_go() -> None:
    """Between its two statements counters move all the time; what only looks wrong is looked at again under lock."""
    subjects = [Subject(employee_id=new_id(), enterprise_id=1) for _ in range(4)]
    over = threading.Event()

    def come_and_go(subject: Subject) -> int:
        rounds = 0
        try:
            while not over.is_set():
                reference = uuid.uuid4().hex
                assert apply(subject, reference) is Outcome.PASS
                reserving.give_back(action=Action.WITHDRAWAL, reference=reference, now=NOW)
                rounds += 1
        finally:
            connections.close_all()
        return rounds

    with ThreadPoolExecutor(len(subjects)) as pool:
        running = [pool.submit(come_and_go, subject) for subject in subjects]
        try:
            lines = [line for _ in range(30) for line in proof.prove()]
        finally:
            over.set()
        assert sum(task.result() for task in running) > 0
    assert [line for line in lines if not line.ok] == []

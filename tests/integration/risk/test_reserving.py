"""Reservations one at a time: settled, given back, on which day, and what is refused."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from foundation.errors import NotFound
from risk import proof
from risk.domain.facts import Action
from risk.domain.tables import Outcome
from risk.models import Counter, Reservation
from risk.services import guarding, reserving
from risk.services.deciding import RiskRejected, Subject
from tests.integration.risk.asking import activate, ask, person, reference, row
from tests.worlds import NOW

pytestmark = pytest.mark.django_db(databases="__all__")
W = Action.WITHDRAWAL


def today(who: Subject, day: str = "20261122") -> tuple[int, int]:
    counter = Counter.objects.get(name=f"withdrawal:e{who.employee_id}:{day}")
    return counter.count, counter.amount_fen


def test_given_back_it_no_longer_counts_and_repeats_change_nothing() -> None:
    who, refs = person(card_no="6222020200007777"), [reference() for _ in range(3)]
    for ref in refs:
        ask(who, 100, ref=ref)
    assert ask(who, 100).outcome is Outcome.REJECT
    for _ in range(2):
        row_ = reserving.give_back(action=W, reference=refs[1], now=NOW)
        assert (row_.state, today(who)) == ("RETURNED", (2, 200))
    assert ask(who, 100).outcome is Outcome.PASS
    assert all(line.ok for line in proof.prove())


def test_settled_it_counts_and_may_still_come_back() -> None:
    who, ref = person(), reference()
    ask(who, 100, ref=ref)
    for _ in range(2):
        assert reserving.settle(action=W, reference=ref, now=NOW).state == "SETTLED"
    assert today(who) == (1, 100)
    reserving.give_back(action=W, reference=ref, now=NOW)
    assert today(who) == (0, 0)
    with pytest.raises(reserving.ReservationUnfit):
        reserving.settle(action=W, reference=ref, now=NOW)
    with pytest.raises(reserving.ReservationUnfit):
        ask(who, 100, ref=ref)
    assert today(who) == (0, 0)


def test_it_is_given_back_to_the_day_it_was_taken_on() -> None:
    who, ref = person(), reference()
    ask(who, 100, ref=ref)
    tomorrow = NOW + dt.timedelta(days=1)
    ask(who, 7, now=tomorrow)
    reserving.give_back(action=W, reference=ref, now=tomorrow)
    assert (today(who), today(who, "20261123")) == ((0, 0), (1, 7))


def test_another_amount_under_the_same_reference_is_refused() -> None:
    who, ref = person(), reference()
    ask(who, 100, ref=ref)
    with pytest.raises(reserving.ReservationUnfit):
        ask(who, 101, ref=ref)
    assert today(who) == (1, 100)


def test_unknown_references_are_not_found() -> None:
    for call in (reserving.settle, reserving.give_back):
        with pytest.raises(NotFound):
            call(action=W, reference=reference(), now=NOW)


def test_the_database_keeps_counters_positive_and_reservations_as_they_are() -> None:
    who, ref = person(), reference()
    ask(who, 100, ref=ref)
    with pytest.raises(IntegrityError), transaction.atomic():
        Counter.objects.filter(name=f"withdrawal:e{who.employee_id}:20261122").update(count=-1)
    for change in ({"amount_fen": 1}, {"reference": "x"}, {"day": dt.date(2020, 1, 1)}):
        with pytest.raises(DatabaseError, match="only moves forward"), transaction.atomic():
            Reservation.objects.filter(reference=ref).update(**change)
    with pytest.raises(DatabaseError, match="never deleted"), transaction.atomic():
        Reservation.objects.filter(reference=ref).delete()


def test_a_wrong_counter_is_found_by_the_proof() -> None:
    who = person()
    ask(who, 100)
    name = f"withdrawal:e{who.employee_id}:20261122"
    Counter.objects.filter(name=name).update(count=2)
    (line,) = proof.prove()
    assert (line.ok, line.detail) == (False, f"{name} counts 2 of 100 fen, reserved are 1 of 100 fen")


def test_a_guard_counts_what_passes_and_refuses_the_rest_with_a_reason() -> None:
    activate(
        [row("MANY", "count_today >= 2", until="DAY"), row("BIG", "amount_fen > 50", "REVIEW")], action=Action.TRANSFER
    )
    who, refs = person(), [reference() for _ in range(3)]

    def guard(ref: str, amount_fen: int = 5) -> None:
        guarding.guard(
            action=Action.TRANSFER, subject=who, amount_fen=amount_fen, channel="wallet", reference=ref, now=NOW
        )

    guard(refs[0])
    guard(refs[0])
    with pytest.raises(RiskRejected) as review:
        guard(reference(), 51)
    assert review.value.details == {"rule": "BIG"}
    guard(refs[1])
    with pytest.raises(RiskRejected) as many:
        guard(refs[2])
    assert many.value.details == {"rule": "MANY", "until": "2026-11-23T00:00:00+08:00"}
    assert many.value.message("zh-hans") == "原因 MANY"
    assert guarding.release(action=Action.TRANSFER, reference=refs[0], now=NOW)
    assert not guarding.release(action=Action.TRANSFER, reference=refs[2], now=NOW)
    guard(reference())

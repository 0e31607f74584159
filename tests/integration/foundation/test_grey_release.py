"""Grey release: what staff set reaches the next question, and order numbers change their version for who is in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError
from pytest_django import Settings

from foundation import flags
from foundation.flags import ORDER_NUMBER_2, Answer
from foundation.models import Flag
from orders.domain import numbers as format_of
from orders.domain.numbers import Prefix
from orders.services import numbers
from tests import worlds
from tests.worlds import World

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    flags.forget()
    yield
    flags.forget()


@pytest.fixture
def worlds_of_two() -> tuple[World, World]:
    return worlds.make_world(2), worlds.make_world(2)


def turn(**values: Any) -> Flag:
    """Sets the flag; the next question of this process looks."""
    flag, _ = Flag.objects.update_or_create(name=ORDER_NUMBER_2, defaults={"reason": "test", **values})
    flags.forget()
    return flag


def versions(*people: World) -> list[str]:
    issued = [numbers.issue(prefix=Prefix.RECHARGE, account_id=one.pk) for world in people for one in world.employees]
    return [format_of.parse(number).version for number in issued]


def test_without_a_flag_the_settings_decide(settings: Settings, worlds_of_two: tuple[World, World]) -> None:
    assert versions(*worlds_of_two) == ["1", "1", "1", "1"]
    settings.ORDER_NUMBER_VERSION = "2"
    assert versions(*worlds_of_two) == ["2", "2", "2", "2"]


def test_one_enterprise_one_employee_and_then_everybody(worlds_of_two: tuple[World, World]) -> None:
    first, second = worlds_of_two
    turn(enterprises=f"nobody, {first.enterprise.code}")
    assert versions(first, second) == ["2", "2", "1", "1"]
    turn(enterprises="", employees=f"{second.enterprise.code}/{second.employees[1].code}")
    assert versions(first, second) == ["1", "1", "1", "2"]
    turn(everyone=True)
    assert versions(first, second) == ["2", "2", "2", "2"]
    turn(everyone=False)
    assert versions(first, second) == ["1", "1", "1", "1"]


def test_a_share_of_enterprises_takes_all_employees_of_those_it_reaches(worlds_of_two: tuple[World, World]) -> None:
    flag = turn(enterprise_percent=50)
    rule = flags.rule_of(flag)
    expected = []
    for world in worlds_of_two:
        is_in = flags.answer_for_enterprise(rule, world.enterprise.pk, world.enterprise.code) is not None
        expected += ["2" if is_in else "1"] * 2
    assert versions(*worlds_of_two) == expected
    turn(enterprise_percent=100)
    assert versions(*worlds_of_two) == ["2"] * 4


def test_a_refund_beside_an_order_of_the_other_version_shares_its_table(worlds_of_two: tuple[World, World]) -> None:
    employee = worlds_of_two[0].employees[0]
    old = numbers.issue(prefix=Prefix.PAYMENT, account_id=employee.pk)
    turn(everyone=True)
    refund = numbers.issue(prefix=Prefix.REFUND, account_id=employee.pk, beside=old)
    assert (format_of.parse(old).version, format_of.parse(refund).version) == ("1", "2")
    assert format_of.table_of(refund) == format_of.table_of(old)
    turn(everyone=False)
    back = numbers.issue(prefix=Prefix.REFUND, account_id=employee.pk, beside=refund)
    assert (format_of.parse(back).version, format_of.table_of(back)) == ("1", format_of.table_of(old))


def test_a_change_is_seen_within_a_second_and_asked_for_no_more_than_once(
    monkeypatch: pytest.MonkeyPatch, worlds_of_two: tuple[World, World], django_assert_num_queries: Any
) -> None:
    moment = 1000.0
    monkeypatch.setattr(flags.time, "monotonic", lambda: moment)
    employee = worlds_of_two[0].employees[0].pk
    assert not flags.is_active(ORDER_NUMBER_2, employee_id=employee)
    Flag.objects.create(name=ORDER_NUMBER_2, everyone=True, reason="test")
    moment += flags.LOOK_SECONDS
    with django_assert_num_queries(0):
        assert not flags.is_active(ORDER_NUMBER_2, employee_id=employee)
    moment += 0.001
    with django_assert_num_queries(1):
        assert [flags.is_active(ORDER_NUMBER_2, employee_id=employee) for _ in range(5)] == [True] * 5


def test_while_the_database_is_away_the_last_flags_stay(
    monkeypatch: pytest.MonkeyPatch, worlds_of_two: tuple[World, World]
) -> None:
    turn(everyone=True)
    employee = worlds_of_two[0].employees[0].pk
    assert flags.is_active(ORDER_NUMBER_2, employee_id=employee)

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError(2006, "gone away")

    monkeypatch.setattr(flags.Flag.objects, "using", away)
    monkeypatch.setattr(flags, "_looked_at", -1e9)
    assert flags.is_active(ORDER_NUMBER_2, employee_id=employee)


def test_who_is_in_can_be_listed(worlds_of_two: tuple[World, World]) -> None:
    first, second = worlds_of_two
    rule = flags.rule_of(turn(enterprises=first.enterprise.code))
    told = {one.code: one for one in flags.list_enterprises(limit=100_000)}
    assert told[second.enterprise.code].employee_ids == tuple(person.pk for person in second.employees)
    assert [flags.answer(rule, employee_id=one) for one in told[first.enterprise.code].employee_ids] == [
        Answer(is_in=True, by="enterprise")
    ] * 2


def test_every_change_of_a_flag_is_kept() -> None:
    flag = turn(enterprise_percent=10)
    turn(enterprise_percent=20)
    assert list(flag.history.order_by("history_id").values_list("enterprise_percent", flat=True)) == [10, 20]

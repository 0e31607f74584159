"""Made-up orders keep every rule, come again the same, and a second run goes on where the first one died."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from foundation.db import roles
from orders import selectors
from orders.domain import numbers as rules
from orders.domain.records import OrderRecord
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.management import samples
from orders.models import ATTEMPT_TABLES, ORDER_TABLES

UNTIL = dt.datetime(2026, 10, 31, 16, 0, tzinfo=dt.UTC)
"""The default: the beginning of November in Shanghai."""


MADE_UP = (samples.EMPLOYEE_BASE, samples.EMPLOYEE_BASE + 9_999)


@pytest.fixture
def no_trace(committed_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The made-up orders have no journals: they must not reach the proof of the books when the session ends."""
    monkeypatch.setattr(samples, "CHUNK", 100)
    yield
    for table in range(roles.ORDER_TABLES):
        mine = ORDER_TABLES[table].objects.filter(employee_id__range=MADE_UP)
        ATTEMPT_TABLES[table].objects.filter(order_no__in=list(mine.values_list("pk", flat=True))).delete()
        mine.delete()


def generate(**options: object) -> str:
    told = StringIO()
    call_command("generate_orders", stderr=told, **options)
    return told.getvalue()


def present() -> dict[str, OrderRecord]:
    found: dict[str, OrderRecord] = {}
    for model in ORDER_TABLES:
        for number in model.objects.filter(employee_id__range=MADE_UP).values_list("pk", flat=True):
            found[number] = selectors.get_order(order_no=number)
    return found


def plan(count: int, *, employees: int = 20, seed: int = 5) -> samples.Plan:
    return samples.Plan(count=count, employees=employees, days=30, seed=seed, until=UNTIL)


def test_made_up_orders_stand_in_their_tables_and_keep_every_rule(no_trace: None) -> None:
    told = generate(orders=730, employees=20, days=30, seed=5)
    assert told.splitlines()[0] == "Orders and attempts only, no journals: the proof of the books will miss them."
    assert told.splitlines()[-1].startswith("730 of 730 orders, ")
    orders = present()
    assert len(orders) == 730
    made = {order.order_no: order for chunk in range(8) for order in samples.make(plan(730), chunk)}
    assert set(orders) == set(made)
    for order in orders.values():
        parts = rules.parse(order.order_no)
        assert ORDER_TABLES[rules.table_of(order.order_no)].objects.filter(pk=order.order_no).exists()
        assert parts.moment == order.created_at
        assert parts.account == order.employee_id % rules.ACCOUNTS
        assert UNTIL - dt.timedelta(days=30) <= order.created_at < UNTIL
        assert order.channel == (order.attempts[-1].channel if order.attempts else "")
        won = [attempt for attempt in order.attempts if attempt.is_effective]
        paid = order.state is OrderState.SUCCESS
        assert order.effective_attempt_no == (won[0].attempt_no if won else "")
        assert [attempt.state for attempt in won] == [AttemptState.SUCCESS] * len(won)
        assert len(won) == (1 if paid and order.attempts else 0)
        assert (order.paid_at is not None) == paid
        assert all(attempt.next_check_at is None for attempt in order.attempts)
        if order.kind is OrderKind.RETURN:
            original = orders[order.original_order_no]
            assert rules.table_of(original.order_no) == rules.table_of(order.order_no)
            assert (original.employee_id, original.refunded_fen) == (order.employee_id, order.amount_fen)
    assert {order.kind for order in orders.values()} == {kind for kind, *_ in samples._KINDS} > {OrderKind.RETURN}
    assert {order.state for order in orders.values()} >= {OrderState.SUCCESS, OrderState.CLOSED, OrderState.PENDING}
    assert {order.channel for order in orders.values()} == {"", "wallet", "wechat", "alipay", "kuaiqian"}
    refunded = sum(order.refunded_fen for order in orders.values())
    assert refunded == sum(order.amount_fen for order in orders.values() if order.kind is OrderKind.RETURN)


def test_running_again_completes_what_is_missing_and_changes_nothing(no_trace: None) -> None:
    options = {"orders": 350, "employees": 7, "days": 30, "seed": 6}
    generate(**options)
    first = present()
    assert "350 stood there" in generate(**options)
    assert present() == first
    chunk = [order.order_no for order in samples.make(plan(350, employees=7, seed=6), 1)]
    lost = [number for number in chunk if selectors.order_alias(number) == "orders_1"]
    assert 20 < len(lost) < 80
    for number in lost:  # as if the process had died between the two databases' commits
        table = rules.table_of(number)
        ATTEMPT_TABLES[table].objects.filter(order_no=number).delete()
        ORDER_TABLES[table].objects.filter(pk=number).delete()
    told = generate(**options)
    assert "250 stood there" in told
    assert present() == first


def test_the_same_seed_makes_the_same_orders_and_another_seed_none_of_them() -> None:
    one, same, other = (list(samples.make(plan(500, seed=seed), 0)) for seed in (5, 5, 6))
    assert one == same
    assert not {order.order_no for order in one} & {order.order_no for order in other}


def test_numbers_are_unique_in_a_crowded_day_and_the_busy_employees_have_their_share() -> None:
    crowded = samples.Plan(count=200_000, employees=300, days=1, seed=1, until=UNTIL)
    made = [order for chunk in range(crowded.chunks) for order in samples.make(crowded, chunk)]
    assert len(made) == len({order.order_no for order in made}) == 200_000
    attempts = [attempt.attempt_no for order in made for attempt in order.attempts]
    assert len(attempts) == len(set(attempts))
    assert {len(number) for number in attempts} == {32}
    count = Counter(order.employee_id for order in made)
    busy = sum(count[samples.EMPLOYEE_BASE + index] for index in range(samples.BUSY_EMPLOYEES))
    assert 0.09 < busy / 200_000 < 0.13
    assert set(count) == set(range(samples.EMPLOYEE_BASE, samples.EMPLOYEE_BASE + 300))


def test_every_employee_has_a_turn_also_when_they_take_turns() -> None:
    big = samples.Plan(count=samples.CHUNK * 160, employees=1000, days=365, seed=1, until=UNTIL)
    shifts = [big.people(chunk) for chunk in range(20)]
    assert sorted(person for shift in shifts for person in shift) == list(range(1000))
    assert big.people(20) == shifts[0]


def test_production_takes_no_made_up_orders(no_trace: None, settings: Settings) -> None:
    settings.ENVIRONMENT = "production"
    with pytest.raises(CommandError, match="no place in production"):
        generate(orders=10)
    assert present() == {}


@pytest.mark.parametrize(
    "options", [{"orders": 0}, {"orders": 5, "days": 0}, {"orders": 5, "seed": -1}, {"orders": 90_000_000, "days": 1}]
)
def test_senseless_options_are_refused(no_trace: None, options: dict) -> None:
    with pytest.raises(CommandError):
        generate(**options)
    assert present() == {}

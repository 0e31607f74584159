"""Who goes first, and that waiting beats any class in the end."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest

from gateway.domain.routing import ClientClass
from payments.domain import priorities
from payments.domain.priorities import priority_of

AT_ONCE = dt.timedelta(0)


@pytest.mark.parametrize(
    ("client_class", "is_wallet_funded", "expected"),
    [
        (ClientClass.VIP, True, 8),
        (ClientClass.VIP, False, 6),
        (ClientClass.LARGE, True, 6),
        (ClientClass.LARGE, False, 4),
        (ClientClass.ORDINARY, True, 3),
        (ClientClass.ORDINARY, False, 1),
    ],
)
def test_class_and_wallet_decide_at_first(client_class: ClientClass, is_wallet_funded: bool, expected: int) -> None:
    assert priority_of(client_class=client_class, is_wallet_funded=is_wallet_funded, waited=AT_ONCE) == expected


def test_every_quarter_of_a_minute_is_a_step_and_the_top_is_the_top() -> None:
    found = [
        priority_of(client_class=ClientClass.ORDINARY, is_wallet_funded=False, waited=dt.timedelta(seconds=seconds))
        for seconds in (-3600, 0, 14, 15, 29, 30, 119, 120, 86_400)
    ]
    assert found == [1, 1, 1, 2, 2, 3, 8, 9, 9]


def test_after_two_minutes_everybody_is_before_everybody_who_comes_now() -> None:
    every = list(itertools.product(ClientClass, (True, False)))
    two_minutes = dt.timedelta(minutes=2)
    fresh = max(priority_of(client_class=one, is_wallet_funded=paid, waited=AT_ONCE) for one, paid in every)
    old = min(priority_of(client_class=one, is_wallet_funded=paid, waited=two_minutes) for one, paid in every)
    assert fresh < old == priorities.HIGHEST

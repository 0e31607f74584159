"""When undecided attempts are asked about again."""

from __future__ import annotations

import datetime as dt

from payments.domain import schedule

NOW = dt.datetime(2026, 11, 22, 2, 0, tzinfo=dt.UTC)


def test_intervals_grow_to_an_hour_and_never_end() -> None:
    seconds = [(schedule.next_check(now=NOW, tries=tries) - NOW).total_seconds() for tries in range(10)]
    assert seconds == [10, 30, 60, 120, 300, 600, 1800, 3600, 3600, 3600]


def test_provider_closes_two_minutes_before_our_order_ends() -> None:
    ends = NOW + dt.timedelta(minutes=30)
    assert schedule.provider_expiry(now=NOW, order_expires_at=ends) == NOW + dt.timedelta(minutes=28)


def test_provider_gets_at_least_a_minute() -> None:
    ends = NOW + dt.timedelta(minutes=2)
    assert schedule.provider_expiry(now=NOW, order_expires_at=ends) == NOW + dt.timedelta(minutes=1)

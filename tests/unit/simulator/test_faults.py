"""Rules: which calls they strike, how often, and alike for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.books import Books
from simulator.faults import ANSWER_FAULTS, NOTICE_FAULTS, Faults, Rule


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = Books(file=tmp_path / "books.sqlite3")
    yield made
    made.close()


def hits(faults: Faults, count: int, *, operation: str = "query", attempt_no: str | None = "A1") -> list[bool]:
    return [
        bool(faults.draw(among=ANSWER_FAULTS, channel="wechat", operation=operation, attempt_no=attempt_no))
        for _ in range(count)
    ]


def test_without_rules_nothing_strikes(books: Books) -> None:
    assert hits(Faults(books=books), 3) == [False] * 3


def test_rate_is_the_share_of_calls(books: Books) -> None:
    faults = Faults(books=books)
    for rate, low, high in ((0.0, 0, 0), (0.3, 40, 80), (1.0, 200, 200)):
        faults.replace(rules=(Rule(fault="system_error_not_done", rate=rate),), seed="1")
        assert low <= sum(hits(faults, 200)) <= high


def test_decisions_go_on_after_a_restart(books: Books) -> None:
    rules = (Rule(fault="system_error_not_done", rate=0.5),)
    faults = Faults(books=books)
    faults.replace(rules=rules, seed="9")
    whole = hits(faults, 40)
    faults.replace(rules=rules, seed="9")
    assert hits(faults, 15) + hits(Faults(books=books), 25) == whole
    faults.replace(rules=rules, seed="10")
    assert hits(faults, 40) != whole


def test_times_limits_the_hits(books: Books) -> None:
    faults = Faults(books=books)
    faults.replace(rules=(Rule(fault="system_error_not_done", times=2),), seed="1")
    assert hits(faults, 4) == [True, True, False, False]
    assert faults.describe()["rules"][0]["hits"] == 2


def test_a_rule_strikes_only_what_it_names(books: Books) -> None:
    faults = Faults(books=books)
    faults.replace(rules=(Rule(fault="system_error_not_done", operation="close", attempt_no="A1"),), seed="1")
    assert hits(faults, 1, operation="close", attempt_no="A1") == [True]
    assert hits(faults, 1, operation="query", attempt_no="A1") == [False]
    assert hits(faults, 1, operation="close", attempt_no="A2") == [False]
    assert hits(faults, 1, operation="close", attempt_no=None) == [False]
    assert faults.describe()["rules"][0]["draws"] == 1


def test_other_kinds_of_faults_are_not_drawn(books: Books) -> None:
    faults = Faults(books=books)
    faults.replace(rules=(Rule(fault="notice_never"), Rule(fault="system_error_not_done", channel="other")), seed="1")
    assert hits(faults, 1) == [False]
    struck = faults.draw(among=NOTICE_FAULTS, channel="wechat", operation="payment_notice", attempt_no="A1")
    assert list(struck) == ["notice_never"]


def test_delays_have_defaults() -> None:
    assert Rule(fault="timeout_after_effect").delay == 15.0
    assert Rule(fault="timeout_after_effect", delay_seconds=0.0).delay == 0.0

"""Rules of article packets."""

from __future__ import annotations

import datetime as dt

import pytest

from redpacket.domain import articles
from redpacket.domain.articles import Article

START = dt.datetime(2026, 11, 22, 2, 0, tzinfo=dt.UTC)
GOOD = "https://news.example.com:8443/a/1?b=%E7%BA%A2#c"


@pytest.mark.parametrize("url", [GOOD, "http://127.0.0.1/a", "https://example.com/" + "a" * 480])
def test_web_addresses_are_taken(url: str) -> None:
    assert articles.find_problem(article=Article(url=url, reading_seconds=3), lifetime_seconds=60) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "javascript:alert(1)",
        "data:text/html,x",
        "//example.com/a",
        "ftp://example.com/a",
        "https://",
        "https:///a",
        "https://user:secret@example.com/",
        "https://example.com:99999/",
        "https://[::1/",
        "https://example.com/\na",
        "https://example.com/a b",
        'https://example.com/"onclick="',
        "https://例子.com/",
        "https://example.com/" + "a" * 481,
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    problem = articles.find_problem(article=Article(url=url, reading_seconds=3), lifetime_seconds=60)
    assert problem is not None
    assert problem.startswith("url ")


@pytest.mark.parametrize(("seconds", "is_good"), [(2, False), (3, True), (1800, True), (1801, False)])
def test_reading_has_bounds(seconds: int, is_good: bool) -> None:
    article = Article(url=GOOD, reading_seconds=seconds)
    assert (articles.find_problem(article=article, lifetime_seconds=86_400) is None) is is_good


def test_reading_ends_before_the_packet() -> None:
    article = Article(url=GOOD, reading_seconds=60)
    assert articles.find_problem(article=article, lifetime_seconds=61) is None
    assert articles.find_problem(article=article, lifetime_seconds=60) is not None


@pytest.mark.parametrize(("passed", "left"), [(0, 30), (0.001, 30), (1, 29), (29.999, 1), (30, 0), (3000, 0)])
def test_what_is_left_is_rounded_up(passed: float, left: int) -> None:
    now = START + dt.timedelta(seconds=passed)
    assert articles.seconds_left(started_at=START, reading_seconds=30, now=now) == left

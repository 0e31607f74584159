"""What the storage promises by itself."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from simulator.books import Books, BooksClosed
from simulator.clock import day_bounds, rfc3339
from simulator.wechat.channel import WechatChannel


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    books = Books(file=tmp_path / "books.sqlite3")
    with pytest.raises(ZeroDivisionError), books.transaction():
        with books.transaction():
            books.write_setting("name", 1)
        raise ZeroDivisionError
    assert books.read_setting("name") is None
    with books.transaction():
        books.write_setting("name", 2)
    assert books.read_setting("name") == 2
    books.close()
    with pytest.raises(BooksClosed):
        books.read_setting("name")
    reopened = Books(file=tmp_path / "books.sqlite3")
    assert reopened.read_setting("name") == 2
    reopened.close()


def test_a_nonce_is_used_once_and_forgotten_later(tmp_path: Path) -> None:
    books = Books(file=tmp_path / "books.sqlite3")
    assert books.use_nonce(nonce="a", now=1000.0, ttl_seconds=600.0)
    assert not books.use_nonce(nonce="a", now=1600.0, ttl_seconds=600.0)
    assert books.use_nonce(nonce="a", now=1601.0, ttl_seconds=600.0)
    books.close()


def test_a_business_day_is_a_beijing_day() -> None:
    start, end = day_bounds(dt.date(2026, 11, 22))
    assert (rfc3339(start), rfc3339(end)) == ("2026-11-22T00:00:00+08:00", "2026-11-23T00:00:00+08:00")


def test_the_schedule_is_that_of_the_documents() -> None:
    assert len(WechatChannel.retry_seconds) == 15
    assert sum(WechatChannel.retry_seconds) == 24 * 3600 + 4 * 60

"""The pivot method against plain sorting, over skewed, tied and empty tables."""

from __future__ import annotations

import bisect
import datetime as dt
import itertools
import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from orders.domain import pages
from orders.domain.pages import Counts, Key

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class Tables:
    """Keys in memory; counts what it was asked for."""

    def __init__(self, contents: list[list[Key]]) -> None:
        self.tables = len(contents)
        self._each = [sorted(keys, reverse=True) for keys in contents]
        self._ascending = sorted(itertools.chain(*contents))
        self.fetched = 0

    def newest(self, limit: int) -> Sequence[Key]:
        return self._ascending[::-1][:limit]

    def keys_at(self, rank: int) -> Sequence[Key]:
        return [keys[rank] for keys in self._each if rank < len(keys)]

    def count(self, key: Key) -> Counts:
        newer = len(self._ascending) - bisect.bisect_right(self._ascending, key)
        return Counts(total=len(self._ascending), newer=newer)

    def newer(self, key: Key, limit: int) -> Sequence[Key]:
        start = bisect.bisect_right(self._ascending, key)
        return self._fetched(self._ascending[start : start + limit])

    def from_key(self, key: Key, limit: int) -> Sequence[Key]:
        end = bisect.bisect_right(self._ascending, key)
        return self._fetched(self._ascending[max(0, end - limit) : end][::-1])

    def _fetched(self, found: list[Key]) -> list[Key]:
        self.fetched += len(found)
        return found


def key(second: int, number: int) -> Key:
    return START + dt.timedelta(seconds=second), f"{number:08d}"


def check(contents: list[list[Key]], offset: int, size: int) -> None:
    expected = sorted((item for keys in contents for item in keys), reverse=True)[offset : offset + size]
    page = pages.page_keys(source=Tables(contents), offset=offset, size=size)
    assert page.keys == tuple(expected)
    assert page.total == sum(map(len, contents))


@settings(max_examples=600)
@given(
    rows=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 6)), max_size=200),
    offset=st.integers(0, 220),
    size=st.integers(1, 40),
)
def test_pages_are_exact_over_skewed_and_tied_tables(rows: list[tuple[int, int]], offset: int, size: int) -> None:
    contents: list[list[Key]] = [[] for _ in range(16)]
    for number, (table, second) in enumerate(rows):
        contents[table].append(key(second, number))
    check(contents, offset, size)


@given(count=st.integers(0, 300), table=st.integers(0, 15), offset=st.integers(0, 320), size=st.integers(1, 50))
def test_everything_in_one_table(count: int, table: int, offset: int, size: int) -> None:
    contents: list[list[Key]] = [[] for _ in range(16)]
    contents[table] = [key(number // 3, number) for number in range(count)]
    check(contents, offset, size)


def test_a_deep_page_fetches_little_when_numbers_are_spread() -> None:
    chance = random.Random(7)
    contents: list[list[Key]] = [[] for _ in range(16)]
    for number in range(100_000):
        contents[chance.randrange(16)].append(key(number, number))
    tables = Tables(contents)
    page = pages.page_keys(source=tables, offset=80_000, size=20)
    assert page.keys == tuple(key(number, number) for number in range(19_999, 19_979, -1))
    assert tables.fetched < 20_000

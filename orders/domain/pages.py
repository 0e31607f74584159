"""Numbered pages over many tables without reading everything before the page: the pivot method.

Source: design `sharding.md` decision 7. Rows are ordered newest first by key (created_at, order_no). The key at rank
offset // tables of each table is looked up; their median is the pivot; counting the newer rows of each table gives the
pivot's exact rank, and only the keys between the pivot and the page are fetched. Exact whatever the distribution; with
numbers spread evenly the distance from pivot to page stays small however deep the page.

Each question is asked of all tables at once: what it costs is mostly the number of statements.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Key = tuple[dt.datetime, str]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many keys there are, and how many of them are newer than the one that was asked about."""

    total: int
    newer: int


@dataclass(frozen=True, kw_only=True)
class KeyPage:
    """The keys of one page, newest first, and the number of all keys."""

    keys: tuple[Key, ...]
    total: int


class KeySource(Protocol):
    """The keys of `tables` tables."""

    tables: int

    def newest(self, limit: int) -> Sequence[Key]:
        """The newest keys of all tables, newest first."""

    def keys_at(self, rank: int) -> Sequence[Key]:
        """Each table's key at that rank (0 = its newest), of those that reach so far."""

    def count(self, key: Key) -> Counts:
        """Counts over all tables."""

    def newer(self, key: Key, limit: int) -> Sequence[Key]:
        """Keys newer than `key` of all tables, the nearest (oldest) first."""

    def from_key(self, key: Key, limit: int) -> Sequence[Key]:
        """`key` itself if it is there, and older ones of all tables, newest first."""


def page_keys(*, source: KeySource, offset: int, size: int) -> KeyPage:
    """The keys at ranks offset … offset + size − 1 over all tables, newest first; fewer at the end."""
    if offset == 0:
        first = source.newest(size)
        return KeyPage(keys=tuple(first), total=source.count(first[0]).total if first else 0)
    pivot = _pivot(source, offset)
    if pivot is None:
        return KeyPage(keys=(), total=0)
    counts = source.count(pivot)
    missing = max(counts.newer - offset, 0)
    """Rows of the page, and perhaps behind it, that are newer than the pivot."""
    skip = max(offset - counts.newer, 0)
    newer = list(source.newer(pivot, missing)) if missing else []
    newer.reverse()
    wanted = skip + size - len(newer)
    following = list(source.from_key(pivot, wanted))[skip:] if wanted > 0 else []
    return KeyPage(keys=tuple([*newer, *following][:size]), total=counts.total)


def _pivot(source: KeySource, offset: int) -> Key | None:
    """The median of each table's key at its even share of the offset; None when there is nothing at all."""
    keys = sorted(source.keys_at(offset // source.tables), reverse=True)
    if not keys:
        # Every table is shorter than its share: the page lies past the end, or nearly so. Start from the newest.
        keys = list(source.newest(1))
    return keys[len(keys) // 2] if keys else None

"""Numbered pages over many tables without reading everything before the page: the pivot method.

Source: design `sharding.md` decision 7. Rows are ordered newest first by key (created_at, order_no). The key at rank
offset // tables of each table is looked up; their median is the pivot; counting the newer rows of each table gives the
pivot's exact rank, and only the keys between the pivot and the page are fetched and merged. Exact whatever the
distribution; with numbers spread evenly the distance from pivot to page stays small however deep the page.
"""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Sequence
from typing import Protocol

Key = tuple[dt.datetime, str]


class KeyTable(Protocol):
    """One table's keys, newest first."""

    def key_at(self, rank: int) -> Key | None:
        """The key at that rank, 0 = newest; None past the end."""

    def count_newer(self, key: Key) -> int:
        """How many keys are newer than `key`."""

    def newer(self, key: Key, limit: int) -> Sequence[Key]:
        """Keys newer than `key`, the nearest (oldest) first."""

    def from_key(self, key: Key, limit: int) -> Sequence[Key]:
        """`key` itself if it stands here, and older ones, newest first."""


def page_keys(*, tables: Sequence[KeyTable], offset: int, size: int) -> list[Key]:
    """The keys at ranks offset … offset + size − 1 over all tables, newest first; fewer at the end."""
    pivot = _pivot(tables, offset)
    if pivot is None:
        return []
    rank = sum(table.count_newer(pivot) for table in tables)
    missing = max(rank - offset, 0)
    """Rows of the page, and perhaps behind it, that are newer than the pivot."""
    skip = max(offset - rank, 0)
    newer: list[Key] = []
    if missing:
        nearest = heapq.merge(*(table.newer(pivot, missing) for table in tables))
        newer = [key for key, _ in zip(nearest, range(missing), strict=False)]
        newer.reverse()
    wanted = skip + size
    older = heapq.merge(*(table.from_key(pivot, wanted) for table in tables), reverse=True)
    following = [key for key, _ in zip(older, range(wanted), strict=False)][skip:]
    return [*newer, *following][:size]


def _pivot(tables: Sequence[KeyTable], offset: int) -> Key | None:
    """The median of each table's key at its even share of the offset; None when there is nothing at all."""
    found = [table.key_at(offset // len(tables)) for table in tables]
    keys = sorted((key for key in found if key is not None), reverse=True)
    if not keys:
        # Every table is shorter than its share: the page lies past the end, or nearly so. Start from the newest.
        keys = sorted((key for table in tables if (key := table.key_at(0)) is not None), reverse=True)[:1]
    return keys[len(keys) // 2] if keys else None

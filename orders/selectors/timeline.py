"""What the page of an order shows of other apps: sources registered from above, one timeline out of all of them.

Orders know neither journals nor notices. The composition root registers a source for each at start-up; a source is
given the order with the numbers it is known by and answers with entries of the timeline and tables. One that fails
costs its own section only.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog

from orders.domain.records import OrderRecord

logger = structlog.get_logger("order_timeline")


class EntryKind(StrEnum):
    ORDER = "order"
    ATTEMPT = "attempt"
    JOURNAL = "journal"
    NOTICE = "notice"
    OUTBOX = "outbox"
    RISK = "risk"
    CALL = "call"
    PAYOUT = "payout"
    CALLBACK = "callback"
    ADJUSTMENT = "adjustment"
    AUDIT = "audit"


@dataclass(frozen=True, kw_only=True)
class TimelineEntry:
    """Something that happened `at` (aware). `url` leads to its own page, "" when it has none."""

    at: dt.datetime
    kind: EntryKind
    title: str
    number: str = ""
    detail: str = ""
    amount_fen: int | None = None
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    label: str
    is_amount: bool = False


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Text, a moment or an amount in fen. `is_number`: a number that people copy."""

    text: str = ""
    url: str = ""
    at: dt.datetime | None = None
    amount_fen: int | None = None
    is_number: bool = False


@dataclass(frozen=True, kw_only=True)
class DetailTable:
    """One table of a section; the first cell of a row names it. `note`: what is left out, and why."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    url: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Findings:
    entries: tuple[TimelineEntry, ...] = ()
    tables: tuple[DetailTable, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The order with its attempts, and the numbers of the orders that point at it (refunds), at most a page."""

    order: OrderRecord
    refund_nos: tuple[str, ...] = ()

    @property
    def attempt_nos(self) -> tuple[str, ...]:
        return tuple(attempt.attempt_no for attempt in self.order.attempts)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Every number under which another app may have noted something about this order."""
        return (self.order.order_no, *self.attempt_nos, *self.refund_nos)


class Source(Protocol):
    """`name` is unique and stable, `title` heads the section, `permissions` (all of them) are needed to see it."""

    name: str
    permissions: tuple[str, ...]

    @property
    def title(self) -> str: ...

    def read(self, subject: Subject) -> Findings: ...


@dataclass(frozen=True, kw_only=True)
class Section:
    """What one source gave: its tables, or the `error` it failed with, or the permissions that are `missing`.

    `entry_count`: how much of it stands in the timeline.
    """

    name: str
    title: str
    tables: tuple[DetailTable, ...] = ()
    entry_count: int = 0
    error: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Deed:
    """What the reader may do with the order now: a page to go to, or an address to post to (`is_post`)."""

    label: str
    url: str
    is_post: bool = False


Deeds = Callable[[Subject, Callable[[str], bool]], Iterable[Deed]]
"""Gets the order and `may`; names only what is allowed and makes sense at this moment."""

_sources: dict[str, Source] = {}
_deeds: dict[str, Deeds] = {}


def register(source: Source) -> None:
    """Adds a source, once at start-up; the same name again replaces it."""
    _sources[source.name] = source


def unregister(name: str) -> None:
    """Takes a source away again (tests)."""
    _sources.pop(name, None)


def register_deeds(name: str, deeds: Deeds) -> None:
    """Adds deeds, once at start-up; the same name again replaces them."""
    _deeds[name] = deeds


def list_deeds(*, subject: Subject, may: Callable[[str], bool]) -> list[Deed]:
    """What the reader may do now. Deeds that fail to be named are left out and logged."""
    found: list[Deed] = []
    for name, deeds in _deeds.items():
        try:
            found += deeds(subject, may)
        except Exception:  # as in gather
            logger.exception("deeds not named", source=name, order_no=subject.order.order_no)
    return found


def gather(*, subject: Subject, may: Callable[[str], bool]) -> tuple[list[TimelineEntry], list[Section]]:
    """All entries oldest first, those of the order itself included, and a section for each source.

    `may` answers whether the reader has a permission.
    """
    entries = _of_order(subject.order)
    sections = []
    for source in _sources.values():
        missing = tuple(permission for permission in source.permissions if not may(permission))
        if missing:
            sections.append(Section(name=source.name, title=source.title, missing=missing))
            continue
        try:
            findings = source.read(subject)
        except Exception as error:  # whatever fails there, the order itself must stay readable
            logger.exception("timeline source failed", source=source.name, order_no=subject.order.order_no)
            sections.append(Section(name=source.name, title=source.title, error=type(error).__name__))
            continue
        entries += findings.entries
        count = len(findings.entries)
        sections.append(Section(name=source.name, title=source.title, tables=findings.tables, entry_count=count))
    return sorted(entries, key=lambda entry: (entry.at, _RANK[entry.kind])), sections


_RANK = {kind: rank for rank, kind in enumerate(EntryKind)}
"""At the same moment: first the order, then what was tried, then what followed."""


def _of_order(order: OrderRecord) -> list[TimelineEntry]:
    moments: Sequence[tuple[str, dt.datetime | None]] = (
        ("CREATED", order.created_at),
        ("PAID", order.paid_at),
        (order.state, order.closed_at if order.closed_at != order.paid_at else None),
    )
    found = [
        TimelineEntry(
            at=at,
            kind=EntryKind.ORDER,
            title=title,
            number=order.order_no,
            detail=order.subject if title == "CREATED" else "",
            amount_fen=order.amount_fen,
        )
        for title, at in moments
        if at is not None
    ]
    for attempt in order.attempts:
        said = " · ".join(filter(None, (attempt.channel, attempt.scene)))
        found.append(
            TimelineEntry(
                at=attempt.created_at,
                kind=EntryKind.ATTEMPT,
                title="CREATED",
                number=attempt.attempt_no,
                detail=said,
                amount_fen=attempt.amount_fen,
            )
        )
        if attempt.finished_at is not None:
            ended = " · ".join(filter(None, (said, attempt.provider_no, attempt.result_code)))
            found.append(
                TimelineEntry(
                    at=attempt.finished_at,
                    kind=EntryKind.ATTEMPT,
                    title=attempt.state,
                    number=attempt.attempt_no,
                    detail=ended,
                    amount_fen=attempt.amount_fen,
                )
            )
    return found

"""What people see of collecting. Everything stands on the role default; every list is read by one index."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db.models import F, Q, QuerySet, Sum

from collect.domain import rules
from collect.domain.states import BindingState
from collect.models import Binding, Code, Collection, DayFigure, Manager
from foundation import clock
from foundation.errors import NotFound

MAX_DAYS = 366
"""Of statistics: a year and a day."""
MAX_EXPORTED = 100_000
"""Rows of one export; some 20 MB."""
CHUNK = 2_000


class By(StrEnum):
    """What statistics are split by."""

    DAY = "day"
    CODE = "code"
    EMPLOYEE = "employee"
    CHANNEL = "channel"


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """Whose eyes: a manager sees his enterprise's collecting, anybody else what his own codes collect."""

    employee_id: int
    enterprise_id: int
    is_manager: bool

    def scope(self) -> dict[str, int]:
        """What narrows a query to what he may see."""
        own = {"enterprise_id": self.enterprise_id}
        return own if self.is_manager else {**own, "employee_id": self.employee_id}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Collections that were paid, what they brought, and what of it was given back; fen."""

    count: int = 0
    amount_fen: int = 0
    refunded_fen: int = 0

    @property
    def net_fen(self) -> int:
        return self.amount_fen - self.refunded_fen

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            count=self.count + other.count,
            amount_fen=self.amount_fen + other.amount_fen,
            refunded_fen=self.refunded_fen + other.refunded_fen,
        )


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a list of collections is narrowed by; times of beginning, `created_to` does not count any more."""

    state: str = ""
    channel: str = ""
    code_id: str = ""
    created_from: dt.datetime | None = None
    created_to: dt.datetime | None = None


def get_viewer(*, employee_id: int, enterprise_id: int) -> Viewer:
    """The viewer that an employee is."""
    is_manager = Manager.objects.filter(pk=employee_id).exists()
    return Viewer(employee_id=employee_id, enterprise_id=enterprise_id, is_manager=is_manager)


# --- receiving accounts, codes ----------------------------------------------------------------------------------------


def list_bindings(*, enterprise_id: int) -> list[Binding]:
    """All accounts of an enterprise, newest first; there are few."""
    return list(Binding.objects.filter(enterprise_id=enterprise_id).order_by("-created_at", "-id")[:200])


def get_receivers(*, enterprise_id: int) -> dict[str, Binding]:
    """Channel → the account in use that a collection would go to."""
    rows = Binding.objects.filter(enterprise_id=enterprise_id, state=BindingState.ACTIVE, active_mark=1)
    return {row.channel: row for row in rows}


def get_code(*, code_id: str) -> Code:
    """Any code, for whoever was shown it. Raises NotFound."""
    row = Code.objects.select_related("enterprise").filter(pk=code_id).first() if rules.is_id(code_id) else None
    if row is None:
        raise NotFound()
    return row


def get_own_code(*, code_id: str, viewer: Viewer) -> Code:
    """A code that the viewer may see. Raises NotFound."""
    row = None
    if rules.is_id(code_id):
        row = Code.objects.select_related("employee").filter(pk=code_id, **viewer.scope()).first()
    if row is None:
        raise NotFound()
    return row


def list_codes(
    *, viewer: Viewer, state: str = "", after: Sequence[str] | None, limit: int
) -> tuple[list[Code], list[str] | None]:
    """Codes, newest first, with the position that the next page starts after (None at the end)."""
    query = Code.objects.select_related("employee").filter(**viewer.scope())
    if state:
        query = query.filter(state=state)
    return _page(query, after, limit)


# --- collections ------------------------------------------------------------------------------------------------------


def get_own_collection(*, collection_id: str, viewer: Viewer) -> Collection:
    """A collection that the viewer may see. Raises NotFound."""
    row = None
    if rules.is_id(collection_id):
        query = Collection.objects.select_related("code__employee", "crm_record")
        row = query.filter(pk=collection_id, **viewer.scope()).first()
    if row is None:
        raise NotFound()
    return row


def find_code_id(*, collection_id: str) -> str:
    """The code that a collection was begun with; "" for none. For whoever knows the collection's id."""
    if not rules.is_id(collection_id):
        return ""
    return Collection.objects.filter(pk=collection_id).values_list("code_id", flat=True).first() or ""


def list_collections(
    *, viewer: Viewer, wanted: Wanted, after: Sequence[str] | None, limit: int
) -> tuple[list[Collection], list[str] | None]:
    """Collections, newest first, with the position that the next page starts after (None at the end)."""
    return _page(_collections(viewer, wanted).select_related("code__employee"), after, limit)


def export_collections(*, viewer: Viewer, wanted: Wanted) -> Iterator[Collection]:
    """The same without pages, read by portions; MAX_EXPORTED at most. Each portion is a short query of its own."""
    after: list[str] | None = None
    for _ in range(MAX_EXPORTED // CHUNK):
        rows, after = list_collections(viewer=viewer, wanted=wanted, after=after, limit=CHUNK)
        yield from rows
        if after is None:
            return


def _collections(viewer: Viewer, wanted: Wanted) -> QuerySet[Collection]:
    query = Collection.objects.filter(**viewer.scope())
    for name, value in (("state", wanted.state), ("channel", wanted.channel), ("code_id", wanted.code_id)):
        if value:
            query = query.filter(**{name: value})
    if wanted.created_from is not None:
        query = query.filter(created_at__gte=wanted.created_from)
    if wanted.created_to is not None:
        query = query.filter(created_at__lt=wanted.created_to)
    return query


def _page(query: QuerySet[Any], after: Sequence[str] | None, limit: int) -> tuple[list[Any], list[str] | None]:
    if after is not None:
        at, key = dt.datetime.fromisoformat(after[0]), after[1]
        # The first condition is implied by the second; it lets the database enter the index at the right place.
        query = query.filter(created_at__lte=at).filter(Q(created_at__lt=at) | Q(pk__lt=key))
    rows = list(query.order_by("-created_at", "-id")[: limit + 1])
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], [last.created_at.isoformat(), last.pk]


# --- statistics -------------------------------------------------------------------------------------------------------

_COLUMNS = {By.DAY: "day", By.CODE: "code_id", By.EMPLOYEE: "employee_id", By.CHANNEL: "channel"}


def get_statistics(
    *, enterprise_id: int, first: dt.date, last: dt.date, by: By, employee_id: int | None = None
) -> dict[Any, Figures]:
    """Figures of business days `first` … `last` (both count; MAX_DAYS at most), by what they are split by.

    Keys: dates, code ids ("": all codes that serve once), employee ids or channels; days and channels in order, others
    by amount, the largest first. Read from the roll-up (model DayFigure), so that the cost does not grow with the
    number of collections. Source: issue 8 (1 million collections within 300 ms).
    """
    if not 0 <= (last - first).days < MAX_DAYS:
        raise ValueError(f"at most {MAX_DAYS} days: {first} {last}")
    query = DayFigure.objects.filter(enterprise_id=enterprise_id, day__gte=first, day__lte=last)
    if employee_id is not None:
        query = query.filter(employee_id=employee_id)
    column = _COLUMNS[by]
    order = ("key",) if by in (By.DAY, By.CHANNEL) else ("-amount", "key")
    rows = (
        query.annotate(key=F(column))
        .values("key")
        .annotate(times=Sum("count"), amount=Sum("amount_fen"), refunded=Sum("refunded_fen"))
        .order_by(*order)
    )
    return {
        row["key"]: Figures(count=int(row["times"]), amount_fen=int(row["amount"]), refunded_fen=int(row["refunded"]))
        for row in rows
    }


def get_largest(*, first: dt.date, last: dt.date, limit: int) -> dict[int, Figures]:
    """Enterprise id → figures of the days: the `limit` that collected most. For staff; reads all enterprises' days."""
    rows = (
        DayFigure.objects.filter(day__gte=first, day__lte=last)
        .values("enterprise_id")
        .annotate(times=Sum("count"), amount=Sum("amount_fen"), refunded=Sum("refunded_fen"))
        .order_by("-amount", "enterprise_id")[:limit]
    )
    return {
        row["enterprise_id"]: Figures(
            count=int(row["times"]), amount_fen=int(row["amount"]), refunded_fen=int(row["refunded"])
        )
        for row in rows
    }


def count_again(*, enterprise_id: int, day: dt.date) -> Figures:
    """What the roll-up must say of a day, counted from the collections themselves: slow, for proofs and tests."""
    start, end = clock.day_start(day), clock.day_start(day + dt.timedelta(days=1))
    total = Figures()
    rows = Collection.objects.filter(enterprise_id=enterprise_id, paid_at__gte=start, paid_at__lt=end)
    for amount, refunded in rows.values_list("amount_fen", "refunded_fen").iterator(chunk_size=CHUNK):
        total += Figures(count=1, amount_fen=amount, refunded_fen=refunded)
    return total


def month_days(month: dt.date) -> tuple[dt.date, dt.date]:
    """First and last day of the month that begins on `month`."""
    following = (month.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    return month.replace(day=1), following - dt.timedelta(days=1)

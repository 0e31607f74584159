"""Statistics (统计): of an employee by month, of an enterprise by day. Amounts in fen, days of Asia/Shanghai.

Sent are packets that opened; what came back of them stands in `returned_fen` once they have closed. Received are
claims, whether or not their money has arrived yet. Every query reads a range of an index that begins with the employee
or the enterprise: one year of one person, one month of some enterprises.

`get_…` asks the database, `read_…` the cache first (foundation.caching). A packet that opens or closes forgets its
sender's, its luckiest one's and its enterprise's figures at once; a claim forgets nothing, for grabs are many: a
receiver's present year, and the enterprises' list, are up to PRESENT_SECONDS and STAFF_SECONDS old.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from foundation import caching, clock
from foundation.db import roles
from payments.domain.people import Person
from redpacket.models import RedPacket, Share

FIRST_YEAR, LAST_YEAR = 2000, 2999
MONTHS = range(1, 13)
PRESENT_SECONDS, PAST_SECONDS = 5, 3600
"""How long a person's present and former years are fresh."""
STAFF_SECONDS = 30
"""How long the pages of staff are."""
STALE_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What an employee sent and received; `best_luck_count` counts closed lucky packets whose best share is his."""

    sent_count: int = 0
    sent_fen: int = 0
    received_count: int = 0
    received_fen: int = 0
    best_luck_count: int = 0

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            sent_count=self.sent_count + other.sent_count,
            sent_fen=self.sent_fen + other.sent_fen,
            received_count=self.received_count + other.received_count,
            received_fen=self.received_fen + other.received_fen,
            best_luck_count=self.best_luck_count + other.best_luck_count,
        )


@dataclass(frozen=True, kw_only=True)
class PersonYear:
    """`months` holds the figures of January to December."""

    year: int
    total: Figures
    months: tuple[Figures, ...]


@dataclass(frozen=True, kw_only=True)
class EnterpriseFigures:
    """Packets of an enterprise that opened in a time."""

    packets: int = 0
    total_fen: int = 0
    returned_fen: int = 0

    def __add__(self, other: EnterpriseFigures) -> EnterpriseFigures:
        return EnterpriseFigures(
            packets=self.packets + other.packets,
            total_fen=self.total_fen + other.total_fen,
            returned_fen=self.returned_fen + other.returned_fen,
        )

    @property
    def kept_fen(self) -> int:
        """What has not come back: received, or still to be grabbed."""
        return self.total_fen - self.returned_fen


def get_person_year(*, person: Person, year: int) -> PersonYear:
    """The employee's year, in two queries. A best luck is counted in the month of his claim, once its packet closed."""
    sent = _by_month(
        RedPacket.objects.filter(sender_id=person.employee_id, opened_at__isnull=False),
        column="opened_at",
        year=year,
        parts={"count": (Count, "id", Q()), "fen": (Sum, "total_fen", Q())},
    )
    received = _by_month(
        Share.objects.filter(receiver_id=person.employee_id),
        column="claimed_at",
        year=year,
        parts={
            "count": (Count, "id", Q()),
            "fen": (Sum, "amount_fen", Q()),
            "best": (Count, "id", Q(packet__best_share_id=F("id"))),
        },
    )
    months = tuple(
        Figures(
            sent_count=sent[f"count_{month}"] or 0,
            sent_fen=sent[f"fen_{month}"] or 0,
            received_count=received[f"count_{month}"] or 0,
            received_fen=received[f"fen_{month}"] or 0,
            best_luck_count=received[f"best_{month}"] or 0,
        )
        for month in MONTHS
    )
    return PersonYear(year=year, total=sum(months, Figures()), months=months)


def _by_month(
    rows: QuerySet[Any], *, column: str, year: int, parts: Mapping[str, tuple[Any, str, Q]]
) -> dict[str, int | None]:
    """`<part>_<month>` → its aggregate, by comparing `column` with the months' ends."""
    starts = [*(clock.day_start(dt.date(year, month, 1)) for month in MONTHS), clock.day_start(dt.date(year + 1, 1, 1))]
    wanted = {}
    for month in MONTHS:
        within = Q(**{f"{column}__gte": starts[month - 1], f"{column}__lt": starts[month]})
        for name, (function, expression, condition) in parts.items():
            wanted[f"{name}_{month}"] = function(expression, filter=within & condition)
    in_year = rows.filter(**{f"{column}__gte": starts[0], f"{column}__lt": starts[-1]})
    found: dict[str, int | None] = in_year.aggregate(**wanted)
    return found


def get_enterprise_days(*, enterprise_id: int, month: dt.date) -> dict[dt.date, EnterpriseFigures]:
    """The days of a month (any day of it names it) on which packets of the enterprise opened, in order."""
    rows = (
        _of_month(month)
        .filter(enterprise_id=enterprise_id)
        .annotate(day=TruncDate("opened_at", tzinfo=clock.BUSINESS_ZONE))
        .values("day")
        .annotate(**_FIGURES)
        .order_by("day")
    )
    return {row["day"]: _figures(row) for row in rows}


def get_enterprise_totals(*, enterprise_ids: Sequence[int], month: dt.date) -> dict[int, EnterpriseFigures]:
    """The month of each of the enterprises; those without packets are left out."""
    rows = _of_month(month).filter(enterprise_id__in=enterprise_ids).values("enterprise_id").annotate(**_FIGURES)
    return {row["enterprise_id"]: _figures(row) for row in rows.order_by("enterprise_id")}


_FIGURES = {"packets": Count("id"), "fen": Sum("total_fen"), "returned": Sum("rest_fen")}


def _figures(row: Mapping[str, Any]) -> EnterpriseFigures:
    return EnterpriseFigures(packets=row["packets"], total_fen=row["fen"], returned_fen=row["returned"] or 0)


def _of_month(month: dt.date) -> QuerySet[RedPacket]:
    first = month.replace(day=1)
    following = (first + dt.timedelta(days=31)).replace(day=1)
    return RedPacket.objects.filter(opened_at__gte=clock.day_start(first), opened_at__lt=clock.day_start(following))


# --- Through the cache ----------------------------------------------------------------------------------------------


def _person_fresh_seconds(year: PersonYear) -> float:
    return PRESENT_SECONDS if year.year >= clock.business_date(clock.now()).year else PAST_SECONDS


def _person_load(data: Any) -> PersonYear:
    year, rows = data
    names = Figures.__dataclass_fields__
    months = tuple(Figures(**dict(zip(names, row, strict=True))) for row in rows)
    return PersonYear(year=year, total=sum(months, Figures()), months=months)


def _enterprise_load(row: Sequence[int]) -> EnterpriseFigures:
    return EnterpriseFigures(**dict(zip(EnterpriseFigures.__dataclass_fields__, row, strict=True)))


PERSON_YEAR: caching.Kind[PersonYear] = caching.Kind(
    name="redpacket.person_year",
    version=1,
    fresh_seconds=_person_fresh_seconds,
    stale_seconds=STALE_SECONDS,
    dump=lambda year: [year.year, [astuple(month) for month in year.months]],
    load=_person_load,
)
ENTERPRISE_DAYS: caching.Kind[dict[dt.date, EnterpriseFigures]] = caching.Kind(
    name="redpacket.enterprise_days",
    version=1,
    fresh_seconds=STAFF_SECONDS,
    stale_seconds=STALE_SECONDS,
    dump=lambda days: [[day.isoformat(), astuple(figures)] for day, figures in days.items()],
    load=lambda data: {dt.date.fromisoformat(day): _enterprise_load(row) for day, row in data},
)
ENTERPRISE_TOTALS: caching.Kind[dict[int, EnterpriseFigures]] = caching.Kind(
    name="redpacket.enterprise_totals",
    version=1,
    fresh_seconds=STAFF_SECONDS,
    stale_seconds=STALE_SECONDS,
    dump=lambda totals: [[enterprise_id, astuple(figures)] for enterprise_id, figures in totals.items()],
    load=lambda data: {enterprise_id: _enterprise_load(row) for enterprise_id, row in data},
)


def read_person_year(*, person: Person, year: int) -> PersonYear:
    """As `get_person_year`, up to PRESENT_SECONDS old."""
    return caching.read(
        PERSON_YEAR, person.employee_id, year, compute=lambda: get_person_year(person=person, year=year)
    )


def read_enterprise_days(*, enterprise_id: int, month: dt.date) -> dict[dt.date, EnterpriseFigures]:
    """As `get_enterprise_days`, up to STAFF_SECONDS old."""
    return caching.read(
        ENTERPRISE_DAYS,
        enterprise_id,
        month.replace(day=1),
        compute=lambda: get_enterprise_days(enterprise_id=enterprise_id, month=month),
    )


def read_enterprise_totals(*, enterprise_ids: Sequence[int], month: dt.date) -> dict[int, EnterpriseFigures]:
    """As `get_enterprise_totals`, up to STAFF_SECONDS old. The key names a list of enterprises by its digest."""
    named = hashlib.sha256(repr(sorted(enterprise_ids)).encode()).hexdigest()[:32]
    return caching.read(
        ENTERPRISE_TOTALS,
        named,
        month.replace(day=1),
        compute=lambda: get_enterprise_totals(enterprise_ids=enterprise_ids, month=month),
    )


def forget_opened(*, packet: RedPacket) -> None:
    """After the commit by which a packet opened: its sender's year and its enterprise's month."""
    if packet.opened_at is not None:
        day = clock.business_date(packet.opened_at)
        alias = roles.alias_for("redpacket")
        caching.forget_after_commit(PERSON_YEAR, packet.sender_id, day.year, using=alias)
        caching.forget_after_commit(ENTERPRISE_DAYS, packet.enterprise_id, day.replace(day=1), using=alias)


def forget_concluded(*, packet_id: str) -> None:
    """After the commit by which a packet was concluded: as `forget_opened`, and the luckiest one's year."""
    packet = RedPacket.objects.filter(pk=packet_id).first()
    if packet is None:
        return
    forget_opened(packet=packet)
    best = Share.objects.filter(pk=packet.best_share_id).first() if packet.best_share_id is not None else None
    if best is not None and best.receiver_id is not None and best.claimed_at is not None:
        year = clock.business_date(best.claimed_at).year
        caching.forget_after_commit(PERSON_YEAR, best.receiver_id, year, using=roles.alias_for("redpacket"))

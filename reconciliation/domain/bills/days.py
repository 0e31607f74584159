"""Is a file of the day it was asked for?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

from gateway.ports import BillRowKind
from reconciliation.domain.bills.values import ZONE
from reconciliation.domain.records import Event, FileProblem, TheirRow


def check_day(events: Iterable[Event], *, day: dt.date) -> Iterator[Event]:
    """The events, and `day_mismatch` at the end when there are rows and none of them is of `day` (Beijing's).

    Single rows of a neighbouring day are usual, and refunds do not count: they may stand under the time of their
    payment.
    """
    begins_at = dt.datetime.combine(day, dt.time(), ZONE)
    ends_at = begins_at + dt.timedelta(days=1)
    other_day: dt.date | None = None
    is_of_day = False
    for event in events:
        if isinstance(event, TheirRow) and event.kind is not BillRowKind.REFUND and not is_of_day:
            is_of_day = begins_at <= event.happened_at < ends_at
            if not is_of_day and other_day is None:
                other_day = event.happened_at.astimezone(ZONE).date()
        yield event
    if other_day is not None and not is_of_day:
        yield FileProblem("day_mismatch", f"asked for {day}, rows are of {other_day}")

"""What is counted: names of counters, business periods, and when a limit ends."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from risk.domain.facts import Action
from risk.domain.tables import Until


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The counters one request belongs to. `all` is sorted: the order in which they are locked."""

    day: str
    channel_day: str
    year: str
    card_day: str = ""
    card_year: str = ""

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(
            sorted(key for key in (self.day, self.channel_day, self.year, self.card_day, self.card_year) if key)
        )


def counter_keys(*, action: Action, employee_id: int, channel: str, card: str, day: dt.date) -> Keys:
    """Of one employee on one business day; `card` is a blind index or empty."""
    who, date, year = f"{action}:e{employee_id}", f"{day:%Y%m%d}", f"{day:%Y}"
    return Keys(
        day=f"{who}:{date}",
        channel_day=f"{who}:{date}:{channel}",
        year=f"{who}:{year}",
        card_day=f"{action}:c{card}:{date}" if card else "",
        card_year=f"{action}:c{card}:{year}" if card else "",
    )


def period_end(until: Until, day: dt.date) -> dt.date | None:
    """The first business day on which a refusal of `day` no longer holds; None when it has no end."""
    if until is Until.DAY:
        return day + dt.timedelta(days=1)
    if until is Until.YEAR:
        return dt.date(day.year + 1, 1, 1)
    return None

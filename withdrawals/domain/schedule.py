"""When an undecided payout is asked about again, and when payouts are sent at all. Pure.

Source: design `faults.md` 3.6 and 3.7: asked with growing intervals, for ever.
"""

from __future__ import annotations

import datetime as dt

CHECK_SECONDS = (10, 30, 60, 120, 300, 600, 1800, 3600)
RETURN_WATCH = dt.timedelta(days=3)
"""A bank may send money back for this long after the provider said "paid"."""
RETURN_CHECK_EVERY = dt.timedelta(days=1)


def next_check(*, now: dt.datetime, tries: int) -> dt.datetime:
    """The moment of the next question after `tries` of them (0 = the first)."""
    return now + dt.timedelta(seconds=CHECK_SECONDS[min(tries, len(CHECK_SECONDS) - 1)])


def is_in_window(*, local: dt.datetime, from_hour: int, to_hour: int) -> bool:
    """Whether payouts may be sent at this moment of the business zone: hours [from, to), 0 ≤ from < to ≤ 24."""
    return from_hour <= local.hour < to_hour

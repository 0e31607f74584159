"""When an undecided attempt is asked about again.

Source: design `faults.md` 3.6: 10 s, 30 s, 1, 2, 5, 10, 30 min, then each hour, for ever.
"""

from __future__ import annotations

import datetime as dt

CHECK_SECONDS = (10, 30, 60, 120, 300, 600, 1800, 3600)


def next_check(*, now: dt.datetime, tries: int) -> dt.datetime:
    """The moment of the check after `tries` checks (0 = the first)."""
    return now + dt.timedelta(seconds=CHECK_SECONDS[min(tries, len(CHECK_SECONDS) - 1)])


PROVIDER_EXPIRES_EARLIER = dt.timedelta(minutes=2)
"""The provider closes this much before our own order ends, so that "paid at the last second" still finds it open."""
MINIMUM_PROVIDER_LIFE = dt.timedelta(minutes=1)


def provider_expiry(*, now: dt.datetime, order_expires_at: dt.datetime) -> dt.datetime:
    """The time_expire given to the provider; never less than a minute ahead."""
    return max(order_expires_at - PROVIDER_EXPIRES_EARLIER, now + MINIMUM_PROVIDER_LIFE)

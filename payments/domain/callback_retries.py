"""When a callback that was not accepted is sent again, and when a receiver is left alone for a while.

Source: design api.md ("retried for at least 24 h with growing intervals; then dead letter").
"""

from __future__ import annotations

import datetime as dt

RETRY_SECONDS = (15, 30, 60, 120, 300, 600, 1200, 1800, 3600)
"""Pauses after the first, second, … failed try; the last one repeats."""
RETRY_WINDOW = dt.timedelta(hours=24)
JITTER = 0.2
"""A pause is lengthened by up to this share, so that callbacks that failed together do not come back together."""
FAILURES_TO_PAUSE = 5
PAUSE_SECONDS = (30, 60, 120, 300)
"""Pauses of a receiver after its fifth, sixth, … failure in a row; after each a single callback probes."""


def next_try(*, now: dt.datetime, tries: int, chance: float) -> dt.datetime:
    """The moment of the next try after `tries` (1 or more) failed ones; `chance` is random, 0 to 1."""
    seconds = RETRY_SECONDS[min(tries, len(RETRY_SECONDS)) - 1]
    return now + dt.timedelta(seconds=seconds * (1 + JITTER * chance))


def pause(*, failures_in_row: int) -> dt.timedelta:
    """How long the receiver is left alone after that many failures in a row; zero below FAILURES_TO_PAUSE."""
    beyond = failures_in_row - FAILURES_TO_PAUSE
    return dt.timedelta(seconds=PAUSE_SECONDS[min(beyond, len(PAUSE_SECONDS) - 1)] if beyond >= 0 else 0)

"""States of runs, differences and days, and the only moves there are; migration 0002 holds the tables to them."""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """A run is one bill of one account and day. PLANNED: nobody has asked yet. WAITING: asked, not there yet.

    FETCHED: the raw file is stored. PARSED: read to its end. MATCHED: compared with our books. REVIEWED: no difference
    is open. SIGNED_OFF: the day is closed.
    """

    PLANNED = "PLANNED"
    WAITING = "WAITING"
    FETCHED = "FETCHED"
    PARSED = "PARSED"
    MATCHED = "MATCHED"
    REVIEWED = "REVIEWED"
    SIGNED_OFF = "SIGNED_OFF"


RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.PLANNED: frozenset({RunState.WAITING, RunState.FETCHED, RunState.MATCHED}),
    RunState.WAITING: frozenset({RunState.FETCHED, RunState.MATCHED}),
    RunState.FETCHED: frozenset({RunState.PARSED, RunState.WAITING}),
    RunState.PARSED: frozenset({RunState.MATCHED, RunState.FETCHED}),
    RunState.MATCHED: frozenset({RunState.REVIEWED, RunState.FETCHED}),
    RunState.REVIEWED: frozenset({RunState.SIGNED_OFF, RunState.MATCHED, RunState.FETCHED}),
    RunState.SIGNED_OFF: frozenset({RunState.REVIEWED}),
}
"""PLANNED and WAITING go to MATCHED without a file only for a bill that does not exist, of a day without movements.
Back to FETCHED: another file of the same bill. Back to MATCHED: a difference turned up behind a review."""


class DifferenceState(StrEnum):
    """PROPOSED: somebody asked for a resolution, another person has to approve it."""

    OPEN = "OPEN"
    PROPOSED = "PROPOSED"
    RESOLVED = "RESOLVED"


class Resolution(StrEnum):
    """How a difference ends.

    REPLAY: the provider is asked and its answer handled like the notice we missed. REPAIR: the same for an order that
    is behind. REFUND: the payer gets back what he paid. ADJUST: an adjustment of the proposer's own lines.
    SUSPENSE: to or from 1910/2910. FORCE: both sides are the same thing, nothing moves. SETTLED, by the machine: its
    partner stood in the bill of another day, or a later comparison found both sides alike.
    """

    REPLAY = "REPLAY"
    REPAIR = "REPAIR"
    REFUND = "REFUND"
    ADJUST = "ADJUST"
    SUSPENSE = "SUSPENSE"
    FORCE = "FORCE"
    SETTLED = "SETTLED"


BY_JOURNAL = (Resolution.ADJUST, Resolution.SUSPENSE)
"""End in a journal: the number of their adjustment stands at the difference."""


class CarriedState(StrEnum):
    """PAIRED: the partner turned up. DIFFERENT: it turned up and says something else, or never did."""

    WAITING = "WAITING"
    PAIRED = "PAIRED"
    DIFFERENT = "DIFFERENT"


class DayState(StrEnum):
    """REOPENING: somebody asked for it; another person decides."""

    SIGNED_OFF = "SIGNED_OFF"
    REOPENING = "REOPENING"
    REOPENED = "REOPENED"

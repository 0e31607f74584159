"""What a version would have said to past requests, from the facts in the log of decisions. Writes nothing.

Each past decision is judged again with the facts it was judged with. Counts of that time are the counts of what was
let through then: with a stricter table fewer would have been counted; the page says so.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter as Tally
from dataclasses import dataclass

from foundation.errors import NotFound
from risk import selectors
from risk.domain.facts import Action
from risk.domain.tables import Outcome, compile_table
from risk.models import Decision, RuleVersion
from risk.services.versions import RulesInvalid, cell_errors

MOST_DECISIONS = 2000
MOST_SECONDS = 5.0
"""A page waits no longer; the newest come first, and the page says how many were looked at."""
SHOWN = 100


@dataclass(frozen=True, kw_only=True)
class Change:
    """One past request that would end otherwise. `hits` are the new table's."""

    decision: Decision
    before: Outcome
    after: Outcome
    hits: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Move:
    """How many requests, of what amount in all, would go from one outcome to another."""

    before: Outcome
    after: Outcome
    count: int
    total_fen: int


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """`looked_at` decisions since `since`; `is_cut` when there were more. `changes` are the first SHOWN, newest first.

    `unusable` could not be judged: a fact the table asks for was not known then. They stand among the reviews.
    """

    since: dt.datetime
    looked_at: int
    is_cut: bool
    moves: tuple[Move, ...]
    changes: tuple[Change, ...]
    changed_count: int
    changed_fen: int
    unusable: int
    row_hits: tuple[tuple[str, int], ...]


def dry_run(*, version_id: int, since: dt.datetime) -> DryRun:
    """Judges past requests anew with any version. Raises NotFound, and RulesInvalid when it does not compile."""
    version = RuleVersion.objects.select_related("rule_set").filter(pk=version_id).first()
    if version is None:
        raise NotFound({"version": version_id})
    action = Action(version.rule_set.action)
    rows, thresholds = selectors.get_content(version_id=version_id)
    wrong = cell_errors(action=action, rows=rows, thresholds=thresholds)
    if wrong:
        raise RulesInvalid({"problem": wrong[0].text_en, "cells": [item.text_en for item in wrong]})
    table = compile_table(action=action, rows=rows, thresholds=thresholds)
    decisions = selectors.list_decisions(action=action, since=since, limit=MOST_DECISIONS + 1)
    counts: Tally[tuple[Outcome, Outcome]] = Tally()
    totals: Tally[tuple[Outcome, Outcome]] = Tally()
    hits: Tally[str] = Tally()
    changes: list[Change] = []
    looked_at = unusable = 0
    ends = time.monotonic() + MOST_SECONDS
    for decision in decisions[:MOST_DECISIONS]:
        if time.monotonic() > ends:
            break
        result = table.evaluate(decision.facts)
        looked_at += 1
        before = Outcome(decision.outcome)
        counts[before, result.outcome] += 1
        totals[before, result.outcome] += decision.amount_fen
        hits.update((*result.hits, *result.shadow_hits))
        unusable += bool(result.errors)
        if result.outcome is not before and len(changes) < SHOWN:
            changes.append(
                Change(decision=decision, before=before, after=result.outcome, hits=result.hits, errors=result.errors)
            )
    moves = tuple(
        Move(before=before, after=after, count=count, total_fen=totals[before, after])
        for (before, after), count in sorted(counts.items())
    )
    changed = [move for move in moves if move.before is not move.after]
    return DryRun(
        since=since,
        looked_at=looked_at,
        is_cut=looked_at < len(decisions),
        moves=moves,
        changes=tuple(changes),
        changed_count=sum(move.count for move in changed),
        changed_fen=sum(move.total_fen for move in changed),
        unusable=unusable,
        row_hits=tuple((row.code, hits[row.code]) for row in rows),
    )

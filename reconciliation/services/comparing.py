"""Comparing a parsed bill with our books, and writing down once what does not match.

The merge runs outside of transactions; all that it found is one commit with the run's new state. Compared again, the
same differences are found again and those that are gone are settled by the machine. Memory: KEPT findings at most.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db.models import Q

from foundation import alerts
from foundation.errors import Broken
from reconciliation.domain import matching
from reconciliation.domain.carrying import Fate, Verdict, Waiting, compare_pair, judge
from reconciliation.domain.matching import Finding, Key, Kind
from reconciliation.domain.records import OurRow
from reconciliation.domain.states import CarriedState, DifferenceState, Resolution, RunState
from reconciliation.models import CarriedOver, Difference, DifferenceEvent, Run
from reconciliation.services import books, parsing, reviewing, sides, sorting, trail

logger = structlog.get_logger("reconciliation")

TOLERANCE = 500
"""Thousandths of a fen by which fees may differ: rounding."""
KEPT = 20_000
"""Findings of one run that are written down. A bill with more is not this account's day."""
BATCH = 500

Progress = Callable[[str, int], None]


class TooManyDifferences(Broken):
    """Nothing was written down: this cannot be the bill of that account and day."""

    code = "too_many_differences"


@dataclass
class _Figures:
    """What one comparison counted. `digest`: of our rows, whatever their order."""

    our_rows: int = 0
    our_total_fen: int = 0
    digest: int = 0
    matched: int = 0
    open: list[Finding] = field(default_factory=list)


def process_due(*, now: dt.datetime, limit: int = 20) -> dict[str, int]:
    """Reads and compares every fetched bill; one that fails does not stop the others and is alerted."""
    rows = Run.objects.using(trail.alias()).filter(state__in=[RunState.FETCHED, RunState.PARSED])
    report = {"compared": 0, "unusable": 0, "failed": 0}
    for run_id in rows.order_by("day", "pk").values_list("pk", flat=True)[:limit]:
        try:
            run = process(run_id=run_id, now=now)
        except Exception as error:
            logger.exception("bill not compared", run=run_id)
            report["failed"] += 1
            alerts.raise_alert(code="bill_not_compared", subject=str(run_id), message=repr(error)[:500], now=now)
            continue
        report["unusable" if run.state == RunState.WAITING else "compared"] += 1
    return report


def process(*, run_id: int, now: dt.datetime, progress: Progress | None = None) -> Run:
    """Reads the run's file and compares it; returns the run as it is then. Does nothing to a run without a new file.

    Raises storing.RawFileDamaged, parsing.UnknownFormat, TooManyDifferences, trail.AlreadyDecided: nothing is written.
    """
    run = Run.objects.using(trail.alias()).select_related("file").get(pk=run_id)
    if run.state not in (RunState.FETCHED, RunState.PARSED) or run.file is None:
        return run
    tell = progress or (lambda phase, count: None)
    parsed = parsing.parse(run=run, file=run.file, now=now, progress=lambda count: tell("read", count))
    if parsed.problems:
        _alert_problems(run, parsed, now)
    if not parsed.is_usable:
        return Run.objects.using(trail.alias()).get(pk=run_id)
    figures = _merge(run, parsed, tell)
    verdicts = _judge(run, figures.open)
    done = trail.in_transaction(lambda: _write(run, parsed, figures, verdicts, now))
    expire(run=done, now=now)
    return reviewing.review_if_done(run_id=run_id, now=now)


def expire_due(*, now: dt.datetime) -> int:
    """`expire` for every run with waiting items: a neighbouring day may have had no bill, or a process died."""
    rows = Run.objects.using(trail.alias()).filter(carried__state=CarriedState.WAITING).distinct()
    return sum(expire(run=run, now=now) for run in rows)


def our_digest(*, run: Run) -> str:
    """The digest of what our books have now for the run's day, to be compared with `Run.our_digest`."""
    figures = _Figures()
    for _ in _counted(books.iterate(run=run), figures):
        pass
    return _digest(figures)


def expire(*, run: Run, now: dt.datetime) -> int:
    """Items carried over by this run and its neighbours whose neighbouring days are all compared: differences now.

    Returns how many. Safe to repeat.
    """
    ended = 0
    for day in (run.day - dt.timedelta(days=1), run.day, run.day + dt.timedelta(days=1)):
        owner = _sister(run, day)
        if owner is None or not _is_compared(owner):
            continue
        before, after = _sister(run, day - dt.timedelta(days=1)), _sister(run, day + dt.timedelta(days=1))
        if (before is not None and not _is_compared(before)) or after is None or not _is_compared(after):
            continue
        owner_id = owner.pk
        ended += trail.in_transaction(lambda owner_id=owner_id: _expire(owner_id, now))  # type: ignore[misc]
        reviewing.review_if_done(run_id=owner_id, now=now)
    return ended


def _merge(run: Run, parsed: parsing.Parsed, tell: Progress) -> _Figures:
    figures = _Figures()
    ours = sorting.sort(_counted(books.iterate(run=run), figures, tell), matching.our_key)
    for finding in matching.match(ours, parsed.rows, fee_tolerance_milli_fen=TOLERANCE):
        if finding.kind is Kind.MATCH:
            figures.matched += 1
            if figures.matched % 10_000 == 0:
                tell("compared", figures.matched)
            continue
        figures.open.append(finding)
        if len(figures.open) > KEPT:
            raise TooManyDifferences({"run": run.pk, "more_than": KEPT})
    return figures


def _counted(rows: Iterator[OurRow], figures: _Figures, tell: Progress | None = None) -> Iterator[OurRow]:
    for row in rows:
        figures.our_rows += 1
        figures.our_total_fen += row.amount_fen if row.is_incoming else -row.amount_fen
        text = f"{row.kind}{row.number} {row.amount_fen} {row.is_incoming} {row.outcome}"
        figures.digest += int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")
        if tell is not None and figures.our_rows % 10_000 == 0:
            tell("books", figures.our_rows)
        yield row


def _digest(figures: _Figures) -> str:
    return f"{figures.our_rows}:{figures.digest % (1 << 128):032x}"


def _judge(run: Run, findings: Sequence[Finding]) -> list[Verdict]:
    start, end = books.day_bounds(run.day)
    our_pool, their_pool = _pools(run)
    theirs = [finding.theirs[0] for finding in findings if finding.kind is Kind.THEIRS_ONLY and finding.number]
    wanted = {key: row.is_incoming for row in theirs if (key := matching.their_key(row)) not in our_pool}
    return list(
        judge(
            findings,
            start=start,
            end=end,
            our_pool=our_pool,
            their_pool=their_pool,
            known=books.find(run=run, wanted=wanted),
            tolerance=TOLERANCE,
        )
    )


def _pools(run: Run) -> tuple[dict[Key, Waiting], dict[Key, Waiting]]:
    """Items of other days of this bill that wait, or that this run ended when it was compared before."""
    rows = CarriedOver.objects.using(trail.alias()).filter(
        Q(state=CarriedState.WAITING) | Q(ended_run=run),
        run__channel=run.channel,
        run__account=run.account,
        run__kind=run.kind,
    )
    pools: tuple[dict[Key, Waiting], dict[Key, Waiting]] = ({}, {})
    for row in rows.exclude(run=run).order_by("pk").iterator(chunk_size=2000):
        item = Waiting(row.pk, sides.our_row(row), sides.their_row(row))
        pools[0 if row.is_ours else 1][(row.row_kind, row.number)] = item
    return pools


def _write(run: Run, parsed: parsing.Parsed, figures: _Figures, verdicts: Sequence[Verdict], now: dt.datetime) -> Run:
    locked = trail.lock_run(run_id=run.pk)
    if locked.state != RunState.PARSED or locked.file_id != run.file_id:
        raise trail.AlreadyDecided({"state": locked.state})
    carried = _carry(locked, verdicts, now)
    found = {sides.fingerprint(one.finding): one.finding for one in verdicts if one.fate is Fate.DIFFERENT}
    found |= carried
    _add_differences(locked, list(found.values()), now)
    _settle_gone(locked, set(found), now)
    for one in verdicts:
        if one.carried_id is not None:
            _end_carried(one.carried_id, locked, is_paired=one.fate is Fate.MATCHED, now=now)
        if one.fate is Fate.MATCHED:
            _settle_elsewhere(locked, one, now)
    matched = figures.matched + sum(one.fate is Fate.MATCHED for one in verdicts)
    fields = {
        "our_rows": figures.our_rows,
        "their_rows": parsed.count,
        "matched_rows": matched,
        "our_total_fen": figures.our_total_fen,
        "their_total_fen": parsed.total_fen,
        "carried_rows": sum(one.fate is Fate.CARRIED for one in verdicts),
        "our_digest": _digest(figures),
    }
    note = f"{matched} matched, {len(found)} different, {fields['carried_rows']} carried over"
    trail.move_run(locked, state=RunState.MATCHED, code="compared", actor=trail.SYSTEM, now=now, note=note, **fields)
    return locked


def _carry(run: Run, verdicts: Sequence[Verdict], now: dt.datetime) -> dict[str, Finding]:
    """Puts items into the pool and ends those that are not carried any more; returns those that had their time before
    and are differences for good."""
    wanted: dict[str, Finding] = {}
    for one in verdicts:
        if one.fate is Fate.CARRIED:
            wanted[sides.fingerprint(one.finding)] = one.finding
        elif one.fate is Fate.MATCHED and one.is_ours_elsewhere:
            alone = Finding(
                Kind.THEIRS_ONLY, one.finding.number, (), one.finding.theirs, one.finding.theirs[0].amount_fen
            )
            wanted[sides.fingerprint(alone)] = alone
    rows = CarriedOver.objects.using(trail.alias()).filter(run=run)
    before = {row.fingerprint: row for row in rows}
    for fingerprint, row in before.items():
        if fingerprint not in wanted and row.state == CarriedState.WAITING:
            _end_carried(row.pk, run, is_paired=True, now=now)
    new = [
        CarriedOver(
            run=run,
            fingerprint=fingerprint,
            is_ours=finding.kind is Kind.OURS_ONLY,
            created_at=now,
            **sides.columns(finding),
        )
        for fingerprint, finding in wanted.items()
        if fingerprint not in before
    ]
    CarriedOver.objects.using(trail.alias()).bulk_create(new, batch_size=BATCH)
    return {
        fingerprint: finding
        for fingerprint, finding in wanted.items()
        if fingerprint in before and before[fingerprint].state == CarriedState.DIFFERENT
    }


def _end_carried(carried_id: int, run: Run, *, is_paired: bool, now: dt.datetime) -> None:
    state = CarriedState.PAIRED if is_paired else CarriedState.DIFFERENT
    rows = CarriedOver.objects.using(trail.alias()).filter(pk=carried_id, state=CarriedState.WAITING)
    rows.update(state=state.value, ended_at=now, ended_run=run)


def _add_differences(run: Run, findings: Sequence[Finding], now: dt.datetime) -> None:
    """Writes those that the run has not yet; each with its first event."""
    rows = Difference.objects.using(trail.alias())
    known = set(rows.filter(run=run).values_list("fingerprint", flat=True))
    by_fingerprint = {sides.fingerprint(finding): finding for finding in findings}
    new = [
        Difference(
            run=run,
            fingerprint=fingerprint,
            kind=finding.kind.value,
            value_fen=finding.value_fen,
            created_at=now,
            **sides.columns(finding),
        )
        for fingerprint, finding in by_fingerprint.items()
        if fingerprint not in known
    ]
    rows.bulk_create(new, batch_size=BATCH)
    made = (
        rows.filter(run=run, fingerprint__in=[row.fingerprint for row in new])
        if len(new) < BATCH
        else (rows.filter(run=run).exclude(fingerprint__in=known))
    )
    events = [
        DifferenceEvent(
            difference=row, state=row.state, code="found", actor=trail.SYSTEM, note=row.kind, happened_at=now
        )
        for row in made
    ]
    DifferenceEvent.objects.using(trail.alias()).bulk_create(events, batch_size=BATCH)


def _settle_gone(run: Run, found: set[str], now: dt.datetime) -> None:
    rows = Difference.objects.using(trail.alias()).select_for_update().filter(run=run, state=DifferenceState.OPEN)
    for row in rows:
        if row.fingerprint not in found:
            settle(row=row, note="both sides agree in a later comparison", now=now)


def _settle_elsewhere(run: Run, verdict: Verdict, now: dt.datetime) -> None:
    """The partner of a row that another day's run calls one-sided has turned up here."""
    if verdict.carried_id is None and not verdict.is_ours_elsewhere:
        return
    rows = Difference.objects.using(trail.alias()).select_for_update().filter(
        number=verdict.finding.number,
        state=DifferenceState.OPEN,
        kind__in=[Kind.OURS_ONLY, Kind.THEIRS_ONLY],
        run__channel=run.channel,
        run__account=run.account,
        run__kind=run.kind,
    )  # fmt: skip
    for row in rows.exclude(run=run):
        settle(row=row, note=f"its partner stands in the bill of {run.day}", now=now)


def settle(*, row: Difference, note: str, now: dt.datetime) -> None:
    """Ends an open difference by the machine: both sides agree. The caller holds its lock."""
    fields: dict[str, Any] = {"state": DifferenceState.RESOLVED, "resolution": Resolution.SETTLED, "resolved_at": now}
    trail.note_difference(row, code="settled", actor=trail.SYSTEM, now=now, note=note, **fields)


def _sister(run: Run, day: dt.date) -> Run | None:
    """The same bill of another day."""
    rows = Run.objects.using(trail.alias())
    return rows.filter(channel=run.channel, account=run.account, kind=run.kind, day=day).first()


def _is_compared(run: Run) -> bool:
    return run.state in (RunState.MATCHED, RunState.REVIEWED, RunState.SIGNED_OFF)


def _expire(run_id: int, now: dt.datetime) -> int:
    run = trail.lock_run(run_id=run_id)
    rows = list(CarriedOver.objects.using(trail.alias()).filter(run=run, state=CarriedState.WAITING))
    if not rows:
        return 0
    wanted = {(row.row_kind, row.number): row.is_incoming for row in rows if not row.is_ours and row.number}
    known = books.find(run=run, wanted=wanted)
    found = []
    for row in rows:
        finding = _last_look(row, known)
        is_paired = finding.kind is Kind.MATCH
        _end_carried(row.pk, run, is_paired=is_paired, now=now)
        if not is_paired:
            found.append(finding)
    if found and run.state == RunState.REVIEWED:
        trail.move_run(run, state=RunState.MATCHED, code="carried_in_vain", actor=trail.SYSTEM, now=now)
    _add_differences(run, found, now)
    return len(found)


def _last_look(row: CarriedOver, known: dict[Key, OurRow]) -> Finding:
    """Their row once more against our books of any day: it may have been booked meanwhile."""
    ours, theirs = sides.our_row(row), sides.their_row(row)
    if theirs is None:
        assert ours is not None
        return Finding(Kind.OURS_ONLY, row.number, (ours,), (), ours.amount_fen)
    present = known.get((row.row_kind, row.number))
    if present is not None:
        return compare_pair(present, theirs, tolerance=TOLERANCE)
    return Finding(Kind.THEIRS_ONLY, row.number, (), (theirs,), theirs.amount_fen)


def _alert_problems(run: Run, parsed: parsing.Parsed, now: dt.datetime) -> None:
    code = "bill_with_problems" if parsed.is_usable else "bill_unusable"
    alerts.raise_alert(
        code=code,
        subject=str(run),
        message=f"{parsed.problems} rows or totals of the bill are not right.",
        context={"run": run.pk, "problems": sorted(set(parsed.codes))[:20]},
        now=now,
    )

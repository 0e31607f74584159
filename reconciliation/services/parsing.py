"""Reading a stored bill: rows go on as a sorted stream, what makes no sense becomes RowProblem and stops nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

from gateway.ports import BillKind
from reconciliation.domain.bills import alipay, tables, wechat
from reconciliation.domain.bills.days import check_day
from reconciliation.domain.matching import their_key
from reconciliation.domain.records import Event, FileProblem, TheirRow, UnreadRow
from reconciliation.domain.states import RunState
from reconciliation.models import RawFile, RowProblem, Run
from reconciliation.services import books, sorting, storing, trail

KEPT_PROBLEMS = 10_000
"""Rows for review of one file; of a file with more the rest is counted only: it is not this bill."""
BATCH = 500
STOPPING = frozenset({"summary_missing", "day_mismatch"})
"""A cut file or one of another day is not compared: half of our rows would look missing. It is asked for again."""
ASK_AGAIN = dt.timedelta(minutes=30)

Progress = Callable[[int], None]
Reader = Callable[[IO[bytes]], Iterator[Event]]


class UnknownFormat(Exception):
    """There is no reader for this channel and kind."""


@dataclass
class Parsed:
    """`rows`: those that are compared, sorted by their key, once. The counts are complete when `rows` was asked for."""

    rows: Iterator[TheirRow]
    count: int = 0
    total_fen: int = 0
    problems: int = 0
    is_fatal: bool = False
    codes: list[str] = field(default_factory=list)

    @property
    def is_usable(self) -> bool:
        """Whether a comparison with it would mean anything."""
        return not self.is_fatal and STOPPING.isdisjoint(self.codes)


def parse(*, run: Run, file: RawFile, now: dt.datetime, progress: Progress | None = None) -> Parsed:
    """Reads the run's file to its end; the run moves to PARSED, or back to WAITING when the file is of no use.

    Safe to repeat: problems are written once a file. `progress` is told the number of rows now and then. Raises
    storing.RawFileDamaged, UnknownFormat, and trail.AlreadyDecided when the run has another file meanwhile.
    """
    parsed = Parsed(rows=iter(()))
    wanted = books.WANTED[BillKind(run.kind)]
    with storing.open_file(file=file) as stream:
        events = _events(run, stream)

        def rows() -> Iterator[TheirRow]:
            held: list[RowProblem] = []
            for event in events:
                if isinstance(event, TheirRow):
                    if event.kind not in wanted:
                        continue
                    parsed.count += 1
                    parsed.total_fen += event.amount_fen if event.is_incoming else -event.amount_fen
                    if progress is not None and parsed.count % 10_000 == 0:
                        progress(parsed.count)
                    yield event
                else:
                    _keep(parsed, held, run, file, event, now)
            _write(held)

        sorted_rows = sorting.sort(rows(), their_key)
        first = next(sorted_rows, None)  # the whole file is read here, while it is open
    if first is not None:
        parsed.rows = _chain(first, sorted_rows)
    note = f"{parsed.count} rows, {parsed.problems} problems: {', '.join(sorted(set(parsed.codes)))}"

    def move() -> Run:
        locked = trail.lock_run(run_id=run.pk)
        if locked.file_id != file.pk or locked.state not in (RunState.FETCHED, RunState.PARSED):
            raise trail.AlreadyDecided({"state": locked.state})
        if not parsed.is_usable and locked.state == RunState.FETCHED:
            waiting = {"next_fetch_at": now + ASK_AGAIN, "last_code": "bill_unusable"}
            trail.move_run(
                locked, state=RunState.WAITING, code="unusable", actor=trail.SYSTEM, now=now, note=note, **waiting
            )
        elif locked.state == RunState.FETCHED:
            trail.move_run(locked, state=RunState.PARSED, code="parsed", actor=trail.SYSTEM, now=now, note=note)
        return locked

    run.state = trail.in_transaction(move).state
    return parsed


def _chain(first: TheirRow, rest: Iterator[TheirRow]) -> Iterator[TheirRow]:
    yield first
    yield from rest


def _events(run: Run, stream: IO[bytes]) -> Iterable[Event]:
    return check_day(_reader(run)(stream), day=run.day)


def _reader(run: Run) -> Reader:
    is_flow = run.kind == BillKind.FUND_FLOW
    if run.channel in ("wechat", "wechat_legacy"):
        if is_flow:
            return wechat.read_fund_flow
        return wechat.read_trades
    if run.channel == "alipay":
        return lambda stream: (alipay.read_fund_flow if is_flow else alipay.read_trades)(stream, account=run.account)
    if run.channel == "kuaiqian" and not is_flow:
        return lambda stream: tables.read(stream, layout=tables.KUAIQIAN)
    raise UnknownFormat(f"{run.channel} {run.kind}")


def _keep(
    parsed: Parsed, held: list[RowProblem], run: Run, file: RawFile, event: UnreadRow | FileProblem, now: dt.datetime
) -> None:
    is_row = isinstance(event, UnreadRow)
    code = event.reason if isinstance(event, UnreadRow) else event.code
    parsed.problems += 1
    if len(parsed.codes) < KEPT_PROBLEMS or not is_row:
        parsed.codes.append(code)
        held.append(
            RowProblem(
                run=run,
                file=file,
                line_no=event.line_no if isinstance(event, UnreadRow) else 0,
                code=code[:64],
                text=(event.text if isinstance(event, UnreadRow) else event.detail)[:500],
                is_fatal=isinstance(event, FileProblem) and event.is_fatal,
                found_at=now,
            )
        )
    parsed.is_fatal = parsed.is_fatal or (isinstance(event, FileProblem) and event.is_fatal)
    if len(held) >= BATCH:
        _write(held)


def _write(held: list[RowProblem]) -> None:
    RowProblem.objects.using(trail.alias()).bulk_create(held, ignore_conflicts=True)
    held.clear()

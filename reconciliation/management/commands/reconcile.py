"""Plans, fetches and compares the bills of one day by hand, with a progress bar where a person is watching."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from foundation import clock
from foundation.errors import PaysysError
from gateway import registry
from gateway.ports import BillKind
from gateway.services import calls
from reconciliation.domain.states import DifferenceState, RunState
from reconciliation.models import Difference, Run
from reconciliation.services import comparing, fetching, planning, storing

WIDTH = 30
ACTOR = "command"


class Command(BaseCommand):
    help = "Reconciles a channel's bills of one day: fetches what is not there, compares, prints what differs."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--day", required=True, type=dt.date.fromisoformat, help="YYYY-MM-DD, of Shanghai")
        parser.add_argument("--channel", required=True, choices=registry.codes())
        parser.add_argument("--account", default="", help="a merchant's own account; our own without it")
        parser.add_argument("--kind", choices=[kind.value for kind in BillKind], help="one bill only")
        parser.add_argument("--file", help="a bill that was downloaded by hand; needs --kind")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["file"] and not options["kind"]:
            raise CommandError("--file needs --kind")
        try:
            for kind in self._kinds(options):
                self._reconcile(kind, options)
        except PaysysError as error:
            raise CommandError(f"{error.message('en')} {error.details or ''}".strip()) from error

    def _kinds(self, options: dict[str, Any]) -> list[BillKind]:
        if options["kind"]:
            return [BillKind(options["kind"])]
        return planning.kinds_of(calls.list_bill_kinds(channel=options["channel"]))

    def _reconcile(self, kind: BillKind, options: dict[str, Any]) -> None:
        now = clock.now()
        run, _ = planning.plan_run(
            channel=options["channel"], account=options["account"], kind=kind, day=options["day"], now=now, actor=ACTOR
        )
        if options["file"]:
            with open(options["file"], "rb") as stream:
                file = storing.store(run=run, stream=stream, name=options["file"], now=now)
            run = fetching.take_stored(run=run, file=file, actor=ACTOR, now=now)
        elif planning.is_waiting(run):
            run = fetching.fetch(run_id=run.pk, now=now, actor=ACTOR)
        bar = _Bar(self.stderr, expected=run.their_rows)
        run = comparing.process(run_id=run.pk, now=now, progress=bar.show)
        bar.show("done", run.their_rows)
        bar.end()
        self._report(run)

    def _report(self, run: Run) -> None:
        if run.state == RunState.WAITING:
            self.stdout.write(f"{run}: no bill to compare ({run.last_code}), asked again at {run.next_fetch_at:%H:%M}")
            return
        rows = Difference.objects.filter(run=run).exclude(state=DifferenceState.RESOLVED)
        self.stdout.write(
            f"{run}: {run.state} – ours {run.our_rows}, theirs {run.their_rows}, matched {run.matched_rows}, "
            f"carried over {run.carried_rows}, different {rows.count()}, problems {run.problems.count()}"
        )
        for row in rows.order_by("-value_fen", "pk")[:20]:
            self.stdout.write(f"  {row.kind} {row.number or row.provider_no} {row.value_fen} fen")


class _Bar:
    """One line on stderr, drawn only where it is a terminal. `expected` rows, 0: not known, then it counts."""

    def __init__(self, stream: Any, *, expected: int) -> None:
        self._stream = stream
        self._expected = expected
        self._is_shown = bool(stream.isatty())

    def show(self, phase: str, count: int) -> None:
        if not self._is_shown:
            return
        filled = min(WIDTH, WIDTH * count // self._expected) if self._expected else count // 10_000 % (WIDTH + 1)
        self._stream.write(f"\r{phase:<9}[{'#' * filled}{' ' * (WIDTH - filled)}] {count:>10,} rows", str, ending="")
        self._stream.flush()

    def end(self) -> None:
        if self._is_shown:
            self._stream.write("", str)

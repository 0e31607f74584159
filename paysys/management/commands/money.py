"""`manage.py money …`: prove the books, verify the chain over journals, close days, show a trial balance.

`prove` and `verify` end with status 1 when something does not hold, so that a script at night can act on it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from foundation import clock
from foundation.errors import PaysysError
from foundation.money import yuan_display
from foundation.proof import ProofLine
from funds import reports
from funds.services import closing, sealing
from paysys import proofs


class Command(BaseCommand):
    help = "Proofs and closing of the books."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        prove = actions.add_parser("prove", help="check all invariants of the ledger, the orders and the red packets")
        prove.add_argument("--chain", action="store_true", help="verify the chain over journals as well")
        verify = actions.add_parser("verify", help="verify the chain over journals: nothing was changed or removed")
        verify.add_argument("--anchor", type=_anchor, help="NUMBER:MAC of a seal noted elsewhere (it is logged)")
        for action in (prove, verify):
            action.add_argument("--json", action="store_true", help="one JSON object instead of a table")
        close = actions.add_parser("close-day", help="close every business day that is over, or up to one")
        close.add_argument("--day", type=dt.date.fromisoformat, help="YYYY-MM-DD: just this one, the next in order")
        trial = actions.add_parser("trial-balance", help="the trial balance of a closed day")
        trial.add_argument("day", type=dt.date.fromisoformat, help="YYYY-MM-DD")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, "_" + options["action"].replace("-", "_"))(options)
        except PaysysError as error:
            raise CommandError(f"{error.code}: {error.details}") from error

    def _prove(self, options: dict[str, Any]) -> None:
        lines = proofs.prove()
        if options["chain"]:
            lines.append(sealing.verify(now=clock.now()))
        self._report(lines, options, good="books balance", bad="BOOKS DO NOT BALANCE")

    def _verify(self, options: dict[str, Any]) -> None:
        progress = self._show_progress if self.stderr.isatty() else None
        line = sealing.verify(now=clock.now(), anchor=options["anchor"], progress=progress)
        newest = sealing.head()
        if newest is not None and not options["json"]:
            self.stdout.write(f"newest seal {newest[0]}:{newest[1]}")
        self._report([line], options, good="the chain is unbroken", bad="THE CHAIN IS BROKEN")

    def _close_day(self, options: dict[str, Any]) -> None:
        now = clock.now()
        if options["day"] is None:
            days = closing.close_due_days(now=now)
        else:
            days = [closing.close_day(day=options["day"], now=now).day]
        self.stdout.write("closed: " + (", ".join(day.isoformat() for day in days) or "nothing was due"))

    def _trial_balance(self, options: dict[str, Any]) -> None:
        found = reports.get_trial_balance(day=options["day"])
        self.stdout.write(f"{found.day}: {found.journal_count} journals, {found.posting_count} postings")
        self.stdout.write(f"{'code':6}{'opening':>20}{'debit':>20}{'credit':>20}{'closing':>20}  account")
        for line in found.lines:
            amounts = (line.opening_fen, line.debit_fen, line.credit_fen, line.closing_fen)
            columns = "".join(f"{yuan_display(fen):>20}" for fen in amounts)
            self.stdout.write(f"{line.code:6}{columns}  {line.name}")
        self.stdout.write(f"{'':26}{yuan_display(found.debit_fen):>20}{yuan_display(found.credit_fen):>20}")

    def _report(self, lines: list[ProofLine], options: dict[str, Any], *, good: str, bad: str) -> None:
        is_balanced = all(line.ok for line in lines)
        if options["json"]:
            self.stdout.write(json.dumps({"balanced": is_balanced, "lines": [asdict(line) for line in lines]}))
        else:
            for line in lines:
                figures = ", ".join(f"{name} {value}" for name, value in line.figures.items())
                self.stdout.write(f"{'ok    ' if line.ok else 'BROKEN'}  {line.name}  ({figures})  {line.detail}")
            self.stdout.write(good if is_balanced else bad)
        if not is_balanced:
            sys.exit(1)

    def _show_progress(self, journals: int) -> None:
        self.stderr.write(f"\r{journals:,} journals", ending="")


def _anchor(text: str) -> tuple[int, str]:
    number, _, mac = text.partition(":")
    if not number.isdigit() or len(mac) != 64:
        raise argparse.ArgumentTypeError("NUMBER:MAC, the MAC has 64 hex digits")
    return int(number), mac

"""`manage.py audit …`: verify the chain over the audit trail, or seal what has settled.

`verify` ends with status 1 when something does not hold, so that a script at night can act on it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from foundation import audit_chain, clock
from foundation.errors import PaysysError


def _anchor(text: str) -> tuple[int, str]:
    number, _, mac = text.partition(":")
    if not number.isdigit() or len(mac) != 64:
        raise argparse.ArgumentTypeError("NUMBER:MAC of a seal, as it was logged")
    return int(number), mac


class Command(BaseCommand):
    help = "The audit trail: verify its chain, or seal what has settled."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        verify = actions.add_parser("verify", help="nothing was changed or removed; names the first that was")
        verify.add_argument("--anchor", type=_anchor, help="NUMBER:MAC of a seal noted elsewhere (it is logged)")
        verify.add_argument("--json", action="store_true", help="one JSON object instead of text")
        actions.add_parser("seal", help="what the job foundation.seal_audit does every few minutes")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "seal":
            return self._seal()
        line = audit_chain.verify(now=clock.now(), anchor=options["anchor"])
        if options["json"]:
            self.stdout.write(json.dumps(asdict(line)))
        else:
            newest = audit_chain.head()
            if newest is not None:
                self.stdout.write(f"newest seal {newest[0]}:{newest[1]}")
            figures = ", ".join(f"{name} {value}" for name, value in line.figures.items())
            self.stdout.write(f"{'the chain is unbroken' if line.ok else 'THE CHAIN IS BROKEN'} ({figures})")
            if line.detail:
                self.stdout.write(line.detail)
        if not line.ok:
            sys.exit(1)
        return None

    def _seal(self) -> None:
        try:
            done = audit_chain.seal_due(now=clock.now())
        except PaysysError as error:
            raise CommandError(f"{error.code}: {error.details}") from error
        self.stdout.write(f"sealed {done.entries} entries in {done.links} links")

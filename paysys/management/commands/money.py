"""`manage.py money prove`: every invariant with its figures; exit status 1 when one does not hold."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from paysys import proofs


class Command(BaseCommand):
    help = "money prove: checks all invariants of the ledger, the orders and the red packets."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["prove"])
        parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        lines = proofs.prove()
        is_balanced = all(line.ok for line in lines)
        if options["json"]:
            self.stdout.write(json.dumps({"balanced": is_balanced, "lines": [asdict(line) for line in lines]}))
        else:
            for line in lines:
                figures = ", ".join(f"{name} {value}" for name, value in line.figures.items())
                self.stdout.write(f"{'ok    ' if line.ok else 'BROKEN'}  {line.name}  ({figures})  {line.detail}")
            self.stdout.write("books balance" if is_balanced else "BOOKS DO NOT BALANCE")
        if not is_balanced:
            sys.exit(1)

"""`manage.py move_order_tables`: moves order tables between databases; the order of steps is in docs/OPERATIONS.md."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from foundation import clock
from foundation.errors import PaysysError
from orders.domain import moving as stages
from orders.domain.moving import Move, Stage
from orders.services import moving

STEPS = ("plan", "copy", "switch", "finish", "abort")
LEFT_TO_DO = {
    Stage.OPEN: "--copy",
    Stage.CLOSED: "--copy (go on) or --abort",
    Stage.VERIFIED: "new map, then --switch; or --abort",
    Stage.SWITCHING: "--switch (go on)",
    Stage.SWITCHED: "restart everything with the new map, then --finish",
}


class Command(BaseCommand):
    help = (
        "Moves order tables (with their attempts) to the databases of --to. Run --plan, --copy, --switch, --finish in "
        "this order; each may be killed and run again. --abort takes everything back until --switch."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", required=True, help="the N aliases of the new map, e.g. orders_0,orders_1")
        steps = parser.add_mutually_exclusive_group(required=True)
        for step in STEPS:
            steps.add_argument(f"--{step}", dest="step", action="store_const", const=step)
        parser.add_argument("--drop", action="store_true", help="with --finish: drop the old tables for good")

    def handle(self, *args: Any, **options: Any) -> None:
        databases = [alias.strip() for alias in options["to"].split(",")]
        try:
            moves = moving.plan(databases=databases)
            away = [move for move in moves if move.stage is not Stage.HOME]
            if options["step"] == "plan":
                self._plan(away)
                return
            with moving.only_one():
                getattr(self, f"_{options['step']}")(away, databases, options["drop"])
        except PaysysError as error:
            raise CommandError(self._text(error)) from error

    def _plan(self, moves: list[Move]) -> None:
        rows = size = 0
        for move in moves:
            found = moving.size_of(move)
            rows, size = rows + found.rows, size + found.bytes
            self.stdout.write(
                f"table {move.table:02d}  {move.old} -> {move.new}  {found.rows} rows, {found.bytes} bytes  "
                f"{move.stage}: {LEFT_TO_DO[move.stage]}"
            )
        self.stdout.write(f"{len(moves)} of 16 tables to move, {rows} rows, {size} bytes")

    def _copy(self, moves: list[Move], databases: list[str], drop: bool) -> None:
        ready = [move for move in moves if move.stage in {Stage.OPEN, Stage.CLOSED, Stage.VERIFIED}]
        for move in ready:
            moving.prepare(move=move, now=clock.now())
            copied = moving.synchronise(move=move, report=self._progress)
            self.stdout.write(f"table {move.table:02d}: {copied.written} of {copied.seen} rows copied, still in use")
        for move in ready:
            moving.close(move=move, now=clock.now())
            self.stdout.write(f"table {move.table:02d}: closed for writes on {move.old}")
            copied = moving.synchronise(move=move)
            self.stdout.write(f"table {move.table:02d}: {copied.written} rows had changed")
            for table in moving.verify(move=move, now=clock.now()):
                self._verified(table)
        self.stdout.write(f"{len(ready)} tables copied, closed and verified. Next:")
        self.stdout.write(f"  1. in the environment of every process: PAYSYS_ORDER_DATABASES={','.join(databases)}")
        self.stdout.write("  2. with that environment: manage.py move_order_tables --switch (the same --to)")
        self.stdout.write("  3. restart every process; or --abort instead of all this")

    def _switch(self, moves: list[Move], databases: list[str], drop: bool) -> None:
        self._assert_new_map(databases)
        unready = [move for move in moves if move.stage in {Stage.OPEN, Stage.CLOSED}]
        if unready:
            raise CommandError(f"Not verified yet: tables {[move.table for move in unready]}. Run --copy.")
        for move in moves:
            if move.stage in {Stage.VERIFIED, Stage.SWITCHING}:
                for table in moving.switch(move=move, now=clock.now()):
                    self._verified(table)
                self.stdout.write(f"table {move.table:02d}: in use on {move.new}")
        self.stdout.write("Restart every process now: those with the old map are refused. Then --finish.")

    def _finish(self, moves: list[Move], databases: list[str], drop: bool) -> None:
        self._assert_new_map(databases)
        unready = [move for move in moves if move.stage is not Stage.SWITCHED]
        if unready:
            raise CommandError(f"Not switched yet: tables {[move.table for move in unready]}. Nothing was removed.")
        for move in moves:
            for table in moving.finish(move=move, drop=drop):
                self.stdout.write(f"{table.name}: all {table.rows} rows of {move.old} stand on {move.new}")
            self.stdout.write(f"table {move.table:02d}: {'dropped' if drop else 'renamed to …_moved'} on {move.old}")
        if drop:
            for alias in settings.DATABASES:
                for name in moving.drop_left(alias=alias):
                    self.stdout.write(f"{alias}: dropped {name}")
        self.stdout.write(f"{len(moves)} tables finished")

    def _abort(self, moves: list[Move], databases: list[str], drop: bool) -> None:
        late = [move for move in moves if move.stage in {Stage.SWITCHING, Stage.SWITCHED}]
        if late:
            raise CommandError(f"Too late to abort: tables {[move.table for move in late]} were switched.")
        for move in moves:
            moving.abort(move=move, now=clock.now())
            self.stdout.write(f"table {move.table:02d}: open on {move.old}, the copy is gone")
        self.stdout.write("Aborted. The map stays as it was.")

    def _assert_new_map(self, databases: list[str]) -> None:
        if list(settings.ORDER_SHARD_DATABASES) != stages.spread(databases):
            raise CommandError(
                f"The settings still name {','.join(dict.fromkeys(settings.ORDER_SHARD_DATABASES))}: set "
                f"PAYSYS_ORDER_DATABASES={','.join(databases)} for every process, and for this command, first."
            )

    def _verified(self, table: moving.Verified) -> None:
        self.stdout.write(f"{table.name}: {table.rows} rows equal on both sides, CRC-32 sum {table.checksum}")

    def _progress(self, text: str) -> None:
        self.stderr.write(text)

    @staticmethod
    def _text(error: PaysysError) -> str:
        if "rows" in error.details:
            return "The copies differ; nothing was switched.\n" + "\n".join(error.details["rows"])
        return str(error.details.get("reason", error))

"""`manage.py encryption …`: which key closed how many rows, and closing all of them with the newest one.

`rotate` can be killed and started again at any time, on any machine; SIGTERM and Ctrl-C end it after the present batch.
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from foundation import clock, crypto, encryption
from foundation.db import transactions

SAY_EVERY_SECONDS = 2.0


class _Stop:
    """Told by a signal; `pause` waits no longer than until then."""

    def __init__(self, pause_seconds: float) -> None:
        self._told = threading.Event()
        self._pause_seconds = pause_seconds

    def tell(self, _number: int, _frame: FrameType | None) -> None:
        self._told.set()

    def __call__(self) -> bool:
        return self._told.wait(self._pause_seconds) if self._pause_seconds else self._told.is_set()


class Command(BaseCommand):
    help = "Closed columns: count their rows by key, or close all of them with the newest key."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        status = actions.add_parser("status", help="rows by column and key, and which key may go")
        status.add_argument("--json", action="store_true", help="one JSON object instead of text")
        rotate = actions.add_parser("rotate", help="close every row with the newest key; may be killed and repeated")
        rotate.add_argument("--batch", type=_positive, default=encryption.BATCH_ROWS, help="rows per transaction")
        rotate.add_argument("--pause", type=float, default=0.0, help="seconds between two batches")
        for one in (status, rotate):
            one.add_argument("--table", action="append", choices=encryption.tables(), help="only this one; repeatable")

    def handle(self, *args: Any, **options: Any) -> None:
        tables: list[str] = options["table"] or encryption.tables()
        try:
            if options["action"] == "status":
                self._status(tables, is_whole=not options["table"], as_json=options["json"])
            else:
                self._rotate(tables, options["batch"], options["pause"])
        except crypto.KeysUnusable as error:
            raise CommandError(f"{error.code}: {error.details}") from error

    def _status(self, tables: list[str], *, is_whole: bool, as_json: bool) -> None:
        counts: dict[str, Counter[str]] = {}
        for table in tables:
            counts |= encryption.count_by_key(table=table)
        total: Counter[str] = sum(counts.values(), Counter())
        kept = {kid: _why_kept(kid, total) for kid in crypto.key_ring()}
        may_go = [kid for kid, why in kept.items() if not why] if is_whole else []
        guarded = _guarded(tables)
        if as_json:
            found = {"columns": counts, "newest": crypto.newest_key_id(), "may_go": may_go, "guarded_indexes": guarded}
            self.stdout.write(json.dumps(found))
            return
        for column, by_key in counts.items():
            figures = ", ".join(f"{kid}: {count}" for kid, count in sorted(by_key.items())) or "no rows"
            self.stdout.write(f"{column}  {figures}")
        for kid, why in kept.items():
            if is_whole:
                self.stdout.write(f"key {kid}: {why or 'may go (events of the push service live 24 hours longer)'}")
        if total["?"]:
            self.stdout.write(f"{total['?']} values are closed with no key of the ring")
        for table, count in guarded.items():
            self.stdout.write(f"older index keys: needed by {count} rows of {table}, whose index cannot be changed")

    def _rotate(self, tables: list[str], batch: int, pause: float) -> None:
        stop = _Stop(pause)
        before = {number: signal.signal(number, stop.tell) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._rotate_all(tables, batch, stop)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _rotate_all(self, tables: list[str], batch: int, stop: _Stop) -> None:
        troubles: list[str] = []
        for table in tables:
            try:
                say = self._progress(table, encryption.count_due(table=table))
                done = encryption.rotate(table=table, batch_rows=batch, progress=say, stop=stop)
            except DatabaseError as error:
                if transactions.is_passing(error):
                    raise
                troubles.append(f"{table}: the database refuses: {error.args[-1] if error.args else error}")
                continue
            self.stdout.write(f"{table}: {done.closed} rows closed with {crypto.newest_key_id()}")
            if done.unopened:
                troubles.append(f"{table}: {done.unopened} rows cannot be opened ({', '.join(done.examples)} …)")
            if done.is_stopped:
                raise CommandError("stopped; start it again to go on")
            if done.left:
                troubles.append(f"{table}: {done.left} rows were changed by others each time; start it again")
        troubles += [
            f"{table}: {count} rows are found by an older index key, which must stay until they run out or are replaced"
            for table, count in _guarded(tables).items()
        ]
        if troubles:
            raise CommandError("; ".join(troubles))
        self.stdout.write("nothing is left to close")

    def _progress(self, table: str, total: int) -> Callable[[int, int], None]:
        started = said = time.monotonic()

        def say(seen: int, closed: int) -> None:
            nonlocal said
            now = time.monotonic()
            if now - said >= SAY_EVERY_SECONDS:
                said, rate = now, seen / (now - started)
                self.stdout.write(
                    f"{table}: {closed} rows closed, {seen} of {total} read, {rate:.0f} a second, "
                    f"about {max(total - seen, 0) / rate:.0f} s left"
                )
                self.stdout.flush()

        return say


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError("a whole number from 1 on")
    return int(text)


def _guarded(tables: list[str]) -> dict[str, int]:
    """Table → rows that need an older index key; tables without any are left out."""
    now = clock.now()
    counts = {table: encryption.count_guarded(table=table, now=now) for table in tables}
    return {table: count for table, count in counts.items() if count}


def _why_kept(kid: str, total: Counter[str]) -> str:
    """Why a key must stay; "" when it may go."""
    if kid == crypto.newest_key_id():
        return "the newest, it closes"
    if total[kid]:
        return f"needed by {total[kid]} values"
    if not crypto.has_own_index_keys() and kid == next(iter(crypto.key_ring())):
        return "needed: blind indexes are made with it (PAYSYS_BLIND_INDEX_KEYS is not set)"
    return ""

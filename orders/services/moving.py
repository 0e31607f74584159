# ruff: noqa: S608 - names of tables and columns are our own, values are parameters
"""Moves order tables with their attempt tables from one database to another, writes stopped for those tables only.

The steps, each safe to repeat after a kill -9 at any point (docs/adr/0005, OPERATIONS "Growing the order databases"):

    copy     fills `…_incoming` tables at the new place while everything goes on, closes the tables for writes at the
             old place, copies what changed meanwhile and compares every column of every row
    switch   the old place gives the tables up, the new one takes them; only forward from here
    finish   compares once more and renames (or drops) the tables that are left at the old place
    abort    before the switch: removes the copies, opens the tables at the old place

A closed table is closed twice: by the place's row, whose shared lock every order transaction takes first (so that a
refused one has moved nothing), and by triggers that refuse every write, whatever program sends it. MariaDB only.
Copying needs no bookmark: what is equal by checksum is left alone, everything else is copied again.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import OperationalError, connections

from foundation.db import roles, transactions
from foundation.errors import Broken, Busy, Rejected
from orders.domain import moving, numbers
from orders.domain.moving import Move, Stage
from orders.models import ATTEMPT_TABLES, ORDER_TABLES, TablePlace
from orders.selectors import places

CHUNK_ROWS = 2000
"""Rows of one copied chunk: about 1 MB, a transaction of some 50 ms."""
INCOMING, LEFT = "_incoming", "_moved"
"""Suffixes of a table being filled at its new place, and of one left behind at the old place."""
DDL_WAIT_SECONDS = 3
"""How long closing may make the table's traffic wait behind a long reader before it steps back and tries again."""
DDL_TRIES = 20
SHOWN_DIFFERENCES = 20
UNCHANGING = {
    "order": ("order_no", "kind", "amount_fen", "employee_id", "enterprise_id", "created_at"),
    "attempt": ("attempt_no", "order_no", "channel", "amount_fen", "created_at"),
}
"""What no later write at the new place may have changed."""
LOCK_NAME = "paysys-move-order-tables"

Report = Callable[[str], None]


class MoveRefused(Rejected):
    """The move cannot be done, or not now; `details["reason"]` says what to do. Nothing was changed by this step."""

    code = "table_move_refused"
    http_status = 409
    message_en = "The order tables cannot be moved like that."
    message_zh = "无法这样迁移订单表。"


class CopyDiffers(Broken):
    """Rows of the new place are not those of the old one; `details["rows"]` lists the first of them."""

    code = "table_copy_differs"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One table on both sides: its name, its key column, what it is called at each end."""

    kind: str
    name: str
    key: str
    old: str
    new: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Size:
    """Counted rows, and bytes of data and indexes as the server estimates them."""

    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Copied:
    """Rows written at the new place by one pass, of how many that were looked at."""

    written: int
    seen: int


@dataclass(frozen=True, kw_only=True)
class Verified:
    """One table compared row by row: how many rows, and the sum of their CRC-32 on both servers."""

    name: str
    rows: int
    checksum: int


# --- what there is to do --------------------------------------------------------------------------------------------


def plan(*, databases: Sequence[str]) -> list[Move]:
    """One entry for each of the 16 tables, at home or on its way to the map that these N aliases give.

    Raises MoveRefused for a map that is none, an unknown alias, a database that is not MariaDB, two aliases on one
    physical database, and when the databases contradict one another. Reads only.
    """
    try:
        target = moving.spread(list(databases))
    except ValueError as error:
        raise MoveRefused({"reason": str(error)}) from error
    unknown = [alias for alias in databases if alias not in roles.all_aliases()]
    if unknown:
        raise MoveRefused({"reason": f"no such database in the settings: {', '.join(unknown)}"})
    others = [alias for alias in databases if connections[alias].vendor != "mysql"]
    if others:
        raise MoveRefused({"reason": f"only MariaDB can close one table for writes: {', '.join(others)}"})
    twice = roles.same_physical_databases(roles.all_aliases())
    if twice:
        raise MoveRefused({"reason": f"one database under two aliases: {' = '.join(twice[0])}"})
    words = {alias: places.words_of(alias=alias) for alias in roles.all_aliases()}
    try:
        return [
            moving.move_of(
                table=table,
                new=target[table],
                words={alias: found[table] for alias, found in words.items() if table in found},
            )
            for table in range(roles.ORDER_TABLES)
        ]
    except moving.UnclearPlace as error:
        raise MoveRefused({"reason": str(error)}) from error


def pairs_of(move: Move) -> tuple[Pair, Pair]:
    """The order table and its attempt table."""
    models = (("order", ORDER_TABLES[move.table]), ("attempt", ATTEMPT_TABLES[move.table]))
    orders, attempts = (
        Pair(
            kind=kind,
            name=model._meta.db_table,
            key=str(model._meta.pk.column),
            old=move.old,
            new=move.new,
            target=model._meta.db_table + INCOMING,
        )
        for kind, model in models
    )
    return orders, attempts


def size_of(move: Move) -> Size:
    """Rows and bytes of the table and its attempts where they are now."""
    rows = size = 0
    for pair in pairs_of(move):
        alias = pair.new if move.stage is Stage.SWITCHED else pair.old
        rows += int(_one(alias, f"SELECT COUNT(*) FROM {pair.name}")[0])
        size += int(
            _one(
                alias,
                "SELECT COALESCE(data_length + index_length, 0) FROM information_schema.tables "
                "WHERE table_schema = DATABASE() AND table_name = %s",
                [pair.name],
            )[0]
        )
    return Size(rows=rows, bytes=size)


@contextmanager
def only_one() -> Iterator[None]:
    """Raises MoveRefused when another move runs; the server frees the lock when its holder dies."""
    alias = roles.alias_for("default")
    if connections[alias].vendor != "mysql":
        raise MoveRefused({"reason": "only MariaDB can close one table for writes"})
    name = f"{LOCK_NAME}:{connections[alias].settings_dict['NAME']}"[:64]
    if _one(alias, "SELECT GET_LOCK(%s, 0)", [name])[0] != 1:
        raise MoveRefused({"reason": "another move is running"})
    try:
        yield
    finally:
        _one(alias, "SELECT RELEASE_LOCK(%s)", [name])


# --- copy -----------------------------------------------------------------------------------------------------------


def prepare(*, move: Move, now: dt.datetime) -> None:
    """Makes the empty `…_incoming` tables at the new place, exactly as the old ones are defined."""
    if move.stage not in {Stage.OPEN, Stage.CLOSED, Stage.VERIFIED}:
        raise MoveRefused({"reason": f"table {move.table:02d} is {move.stage}"})
    if TablePlace._meta.db_table not in _tables(move.new):
        raise MoveRefused({"reason": f"{move.new} is empty: run manage.py migrate_all first"})
    unused = [pair.name for pair in pairs_of(move) if pair.name in _tables(move.new)]
    for name in unused:
        _refuse_rows(move.new, name)
    TablePlace.objects.using(move.new).update_or_create(
        table_no=move.table,
        defaults={"state": TablePlace.State.INCOMING, "other": move.old, "verified_at": None, "changed_at": now},
    )
    if unused:
        _drop_empty(move.new, unused)
    present = _tables(move.new)
    for pair in pairs_of(move):
        if pair.target not in present:
            definition = str(_one(pair.old, f"SHOW CREATE TABLE {pair.name}")[1])
            _execute(pair.new, definition.replace(f"CREATE TABLE `{pair.name}`", f"CREATE TABLE `{pair.target}`", 1))
        if _columns(pair.new, pair.target) != _columns(pair.old, pair.name):
            reason = f"{pair.target} on {pair.new} has other columns: --abort, migrate both ends, begin again"
            raise MoveRefused({"reason": reason})


def _drop_empty(alias: str, names: Sequence[str]) -> None:
    """Drops tables of the final name that migrating under a map that named the new place too early has made."""
    with connections[alias].cursor() as cursor:
        cursor.execute("LOCK TABLES " + ", ".join(f"{name} WRITE" for name in names))
        try:
            for name in names:
                _refuse_rows(alias, name)
            cursor.execute("DROP TABLE " + ", ".join(names))
        finally:
            cursor.execute("UNLOCK TABLES")


def _refuse_rows(alias: str, name: str) -> None:
    if _all(alias, f"SELECT 1 FROM {name} LIMIT 1"):
        reason = f"{name} on {alias} has rows: --finish an earlier move first; after two maps at once a person decides"
        raise MoveRefused({"reason": reason})


def synchronise(*, move: Move, report: Report = lambda _: None) -> Copied:
    """Makes the copies equal to the tables, chunk by chunk in key order; what is equal already is only read.

    Also works while the tables are in use; then what is written behind its back waits for the next pass.
    """
    written = seen = 0
    for pair in pairs_of(move):
        last = ""
        while True:
            high, rows, there = _chunk_sums(pair, last)
            if rows[0] == 0:
                break
            if rows != there:
                written += _copy_chunk(pair, last, high)
            seen, last = seen + rows[0], high
            report(f"{pair.name}: {seen} rows looked at, {written} copied")
        with connections[pair.new].cursor() as cursor:  # rows past the last one of the old table: there are none
            cursor.execute(f"DELETE FROM {pair.target} WHERE {pair.key} > %s", [last])
    return Copied(written=written, seen=seen)


def _chunk_sums(pair: Pair, last: str) -> tuple[str, tuple[int, int], tuple[int, int]]:
    """The next chunk's highest key, and its (rows, checksum) at both ends."""
    sums = _sums(_columns(pair.old, pair.name))
    chunk = f"(SELECT * FROM {pair.name} WHERE {pair.key} > %s ORDER BY {pair.key} LIMIT {CHUNK_ROWS}) chunk"
    high, *here = _one(pair.old, f"SELECT MAX({pair.key}), {sums} FROM {chunk}", [last])
    if not here[0]:
        return last, (0, 0), (0, 0)
    there = _one(pair.new, f"SELECT {sums} FROM {pair.target} WHERE {pair.key} > %s AND {pair.key} <= %s", [last, high])
    return str(high), (int(here[0]), int(here[1])), (int(there[0]), int(there[1]))


def _sums(columns: Sequence[str]) -> str:
    """SQL for the count and the sum of each row's CRC-32; QUOTE tells NULL from '' and one column from the next."""
    return f"COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS(',', {', '.join(f'QUOTE({name})' for name in columns)}))), 0)"


def _copy_chunk(pair: Pair, last: str, high: str) -> int:
    columns = _columns(pair.old, pair.name)
    listed = ", ".join(columns)
    between = f"{pair.key} > %s AND {pair.key} <= %s"
    rows = _all(pair.old, f"SELECT {listed} FROM {pair.name} WHERE {between}", [last, high])
    marks = ", ".join(["%s"] * len(columns))

    def write() -> None:
        with connections[pair.new].cursor() as cursor:
            cursor.execute(f"DELETE FROM {pair.target} WHERE {between}", [last, high])
            cursor.executemany(f"INSERT INTO {pair.target} ({listed}) VALUES ({marks})", rows)

    transactions.run(write, using=pair.new)
    return len(rows)


def close(*, move: Move, now: dt.datetime) -> None:
    """Refuses writes to the table and its attempts at the old place from now on; reads go on.

    First the place's row, under its exclusive lock: every order transaction that had begun has ended, and new ones are
    refused before they do anything. Then the triggers, for everything that does not ask.
    """

    def mark() -> None:
        rows = TablePlace.objects.using(move.old).filter(table_no=move.table)
        rows.filter(state=TablePlace.State.OPEN).update(
            state=TablePlace.State.MOVING, other=move.new, verified_at=None, changed_at=now
        )
        rows.filter(state=TablePlace.State.MOVING).update(other=move.new)

    transactions.run(mark, using=move.old)
    for pair in pairs_of(move):
        for event in ("INSERT", "UPDATE", "DELETE"):
            _define(
                pair.old,
                f"CREATE OR REPLACE TRIGGER {_trigger(pair, event)} BEFORE {event} ON {pair.name} FOR EACH ROW "
                f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {places.READ_ONLY_MYSQL_CODE}, "
                f"MESSAGE_TEXT = '{pair.name} is being moved to another database'",
            )


def verify(*, move: Move, now: dt.datetime) -> list[Verified]:
    """Compares every column of every row of a closed table with its copy and notes that they are equal.

    Both sides are read in key order. Each number must also belong to this table (CRC-32 or gene). Raises CopyDiffers;
    then `synchronise` repairs the copy and the cause must be found.
    """
    rows = TablePlace.objects.using(move.old).filter(table_no=move.table, state=TablePlace.State.MOVING)
    if not rows.exists():
        raise MoveRefused({"reason": f"table {move.table:02d} is not closed: what is in use cannot be verified"})
    found = [_compare(pair, move.table) for pair in pairs_of(move)]
    rows.update(verified_at=now)
    return found


def _compare(pair: Pair, table: int) -> Verified:
    columns = _columns(pair.old, pair.name)
    differences: list[str] = []
    count = 0
    old, new = _stream(pair.old, pair.name, pair.key, columns), _stream(pair.new, pair.target, pair.key, columns)
    at = columns.index(pair.key)
    here, there = next(old, None), next(new, None)
    while (here is not None or there is not None) and len(differences) < SHOWN_DIFFERENCES:
        if here is not None and (there is None or here[at] < there[at]):
            differences.append(f"{pair.name} {here[at]}: missing at the new place")
            here = next(old, None)
            continue
        if there is not None and (here is None or there[at] < here[at]):
            differences.append(f"{pair.name} {there[at]}: only at the new place")
            there = next(new, None)
            continue
        assert here is not None
        assert there is not None
        if here != there:
            names = ", ".join(name for name, one, two in zip(columns, here, there, strict=True) if one != two)
            differences.append(f"{pair.name} {here[at]}: {names}")
        if any(numbers.table_of(here[columns.index(name)]) != table for name in {pair.key, "order_no"}):
            differences.append(f"{pair.name} {here[at]}: belongs to another table")
        count += 1
        here, there = next(old, None), next(new, None)
    if differences:
        raise CopyDiffers({"rows": differences})
    return _checksums(pair, count)


def _checksums(pair: Pair, rows: int | None = None) -> Verified:
    """Count and checksum of both ends by the servers themselves; raises CopyDiffers."""
    sums = _sums(_columns(pair.old, pair.name))
    ends = [
        tuple(int(value) for value in _one(alias, f"SELECT {sums} FROM {name}"))
        for alias, name in ((pair.old, pair.name), (pair.new, pair.target))
    ]
    if ends[0] != ends[1] or (rows is not None and ends[0][0] != rows):
        raise CopyDiffers({"rows": [f"{pair.name}: (rows, checksum) {ends[0]} and {ends[1]}, {rows} rows compared"]})
    return Verified(name=pair.name, rows=ends[0][0], checksum=ends[0][1])


# --- switch, finish, abort ------------------------------------------------------------------------------------------


def switch(*, move: Move, now: dt.datetime) -> list[Verified]:
    """Gives a verified table to its new place, after both servers' checksums agreed once more.

    The old place says MOVED before the new table gets its name and OPEN, so no two processes ever write to two places.
    """
    found: list[Verified] = []
    if move.stage is Stage.VERIFIED:
        found = [_checksums(pair) for pair in pairs_of(move)]
        _say(move.old, move.table, TablePlace.State.MOVED, other=move.new, now=now)
    elif move.stage is not Stage.SWITCHING:
        raise MoveRefused({"reason": f"table {move.table:02d} is {move.stage}, not verified: run --copy"})
    present = _tables(move.new)
    renames = [f"{pair.target} TO {pair.name}" for pair in pairs_of(move) if pair.target in present]
    if renames:
        _define(move.new, "RENAME TABLE " + ", ".join(renames))
    _say(move.new, move.table, TablePlace.State.OPEN, other="", now=now)
    return found


def finish(*, move: Move, drop: bool) -> list[Verified]:
    """Removes what a switched table left at its old place: renamed to `…_moved`, or dropped.

    Before, every row of it must stand at the new place with the same unchanging columns. Raises CopyDiffers.
    """
    if move.stage is not Stage.SWITCHED:
        raise MoveRefused({"reason": f"table {move.table:02d} is {move.stage}, not switched"})
    found = [_still_there(pair) for pair in pairs_of(move)]
    names = [pair.name for pair in pairs_of(move)]
    if drop:
        _define(move.old, "DROP TABLE IF EXISTS " + ", ".join(names))
    else:
        _define(move.old, "RENAME TABLE " + ", ".join(f"{name} TO {name}{LEFT}" for name in names))
    return found


def drop_left(*, alias: str) -> list[str]:
    """Drops the `…_moved` tables of one database; returns their names."""
    mine = [model._meta.db_table + LEFT for model in (*ORDER_TABLES, *ATTEMPT_TABLES)]
    left = sorted(_tables(alias) & set(mine))
    for name in left:
        _define(alias, f"DROP TABLE {name}")
    return left


def _still_there(pair: Pair) -> Verified:
    columns = UNCHANGING[pair.kind]
    missing: list[str] = []
    count = 0
    last = ""
    while len(missing) < SHOWN_DIFFERENCES:
        query = f"SELECT {', '.join(columns)} FROM {{}} WHERE {pair.key} > %s ORDER BY {pair.key} LIMIT {CHUNK_ROWS}"
        rows = _all(pair.old, query.format(pair.name), [last])
        if not rows:
            break
        marks = ", ".join(["%s"] * len(rows))
        there = _all(
            pair.new,
            f"SELECT {', '.join(columns)} FROM {pair.name} WHERE {pair.key} IN ({marks})",
            [row[0] for row in rows],
        )
        known = set(there)
        missing += [f"{pair.name} {row[0]}" for row in rows if row not in known]
        count, last = count + len(rows), str(rows[-1][0])
    if missing:
        raise CopyDiffers({"rows": missing[:SHOWN_DIFFERENCES]})
    return Verified(name=pair.name, rows=count, checksum=0)


def abort(*, move: Move, now: dt.datetime) -> None:
    """Before the switch: removes the copies and opens the table at its old place again."""
    if move.stage in {Stage.SWITCHING, Stage.SWITCHED}:
        raise MoveRefused({"reason": f"table {move.table:02d} is {move.stage}: only --switch and --finish go on"})
    present = _tables(move.new)
    for pair in pairs_of(move):
        if pair.target in present:
            _define(move.new, f"DROP TABLE {pair.target}")
    if TablePlace._meta.db_table in present:
        there = TablePlace.objects.using(move.new).filter(table_no=move.table, state=TablePlace.State.INCOMING)
        there.update(state=TablePlace.State.MOVED, other=move.old, changed_at=now)
    for pair in pairs_of(move):
        for event in ("INSERT", "UPDATE", "DELETE"):
            _define(pair.old, f"DROP TRIGGER IF EXISTS {_trigger(pair, event)}")
    _say(move.old, move.table, TablePlace.State.OPEN, other="", now=now)


def _say(alias: str, table: int, state: TablePlace.State, *, other: str, now: dt.datetime) -> None:
    TablePlace.objects.using(alias).filter(table_no=table).update(
        state=state, other=other, verified_at=None, changed_at=now
    )


# --- SQL ------------------------------------------------------------------------------------------------------------


def _trigger(pair: Pair, event: str) -> str:
    return f"{pair.name}_closed_{event.lower()}"


def _define(alias: str, statement: str) -> None:
    """One DDL statement; steps back from a long reader instead of making everybody wait behind us. Raises Busy."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SET SESSION lock_wait_timeout = %s", [DDL_WAIT_SECONDS])
        for _ in range(DDL_TRIES):
            try:
                cursor.execute(statement)
                return
            except OperationalError as error:
                if not transactions.is_retryable(error):
                    raise
                time.sleep(DDL_WAIT_SECONDS / 10)
    raise Busy({"reason": f"{alias}: a long transaction is in the way of {statement[:60]}…"})


def _execute(alias: str, statement: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)


def _one(alias: str, statement: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
    rows = _all(alias, statement, parameters)
    return rows[0]


def _all(alias: str, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def _tables(alias: str) -> set[str]:
    with connections[alias].cursor() as cursor:
        return set(connections[alias].introspection.table_names(cursor))


def _columns(alias: str, table: str) -> tuple[str, ...]:
    return tuple(row[0] for row in _all(alias, f"SHOW COLUMNS FROM {table}"))


def _stream(alias: str, table: str, key: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Every row in key order, a chunk at a time: no long cursor on a server that works."""
    at = list(columns).index(key)
    last = ""
    while True:
        rows = _all(
            alias,
            f"SELECT {', '.join(columns)} FROM {table} WHERE {key} > %s ORDER BY {key} LIMIT {CHUNK_ROWS}",
            [last],
        )
        yield from rows
        if len(rows) < CHUNK_ROWS:
            return
        last = rows[-1][at]

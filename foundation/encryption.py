"""Which columns hold values closed by foundation.crypto, and closing all of them anew when a key is changed.

Each app registers its own columns in its `AppConfig.ready`. A key is changed by adding the new one as the last of the
ring, `rotate`, and taking the old one out once `count_by_key` finds none of it (docs/SECURITY.md). `rotate` remembers
nothing but the rows: killed at any moment it goes on where work is left.

A batch is read, opened and closed here, and written by one statement. That is a CASE by primary key and not a join with
the new values: literals take the collation of the column they stand beside, columns of a derived table do not.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count, Q

from foundation import crypto
from foundation.db import roles, transactions

BATCH_ROWS = 200
"""Rows per transaction: what others may wait for is some 20 ms. The work per row grows with it (the CASE)."""
MAX_PASSES = 5
"""Over one table: what somebody changed meanwhile is left to the next pass."""
SHOWN = 10

Row = Mapping[str, Any]


def _value_itself(_row: Row, text: str) -> str:
    return text


@dataclass(frozen=True, kw_only=True)
class Index:
    """The blind index of a closed value, in the columns `fields` of its row (NULL stays NULL).

    `text` makes what is indexed of the row and the open value; it may read the row's columns `needs`.
    `guarded`: the database keeps the index as it was written, so `rotate` leaves it alone; tells which rows are looked
    up by it at a moment.
    """

    fields: tuple[str, ...]
    column: str
    needs: tuple[str, ...] = ()
    text: Callable[[Row, str], str] = _value_itself
    guarded: Callable[[dt.datetime], Q] | None = None


@dataclass(frozen=True, kw_only=True)
class Column:
    """One closed column of a table of role default; `closed_as` is the name it is authenticated with."""

    model: type[models.Model]
    field: str
    closed_as: str
    index: Index | None = None

    @property
    def name(self) -> str:
        return f"{self.model._meta.db_table}.{self.field}"


@dataclass(frozen=True, kw_only=True)
class Rotated:
    """What one `rotate` did to one table. `left`: changed by others in every pass.

    `unopened` rows no key of the ring opens; `examples` are primary keys of some of them.
    """

    table: str
    closed: int
    left: int
    unopened: int
    examples: tuple[str, ...]
    is_stopped: bool


_columns: dict[str, Column] = {}


def register(
    *, model: type[models.Model], field: str, closed_as: str | None = None, index: Index | None = None
) -> None:
    """Names a closed column; `closed_as` is "table.column" unless said otherwise. Again: the later one counts."""
    name = f"{model._meta.db_table}.{field}"
    _columns[name] = Column(model=model, field=field, closed_as=closed_as or name, index=index)


def columns() -> list[Column]:
    """All registered columns by name."""
    return [column for _, column in sorted(_columns.items())]


def column_of(*, model: type[models.Model], field: str) -> Column:
    """The registered column. Raises ValueError."""
    found = _columns.get(f"{model._meta.db_table}.{field}")
    if found is None:
        raise ValueError(f"{model._meta.label}.{field} is not registered as closed")
    return found


def tables() -> list[str]:
    """The tables that have such columns, by name."""
    return sorted({column.model._meta.db_table for column in columns()})


def count_by_key(*, table: str) -> dict[str, Counter[str]]:
    """Column name → key id → rows; "?" stands for what no key of the ring has closed. Reads the whole table once."""
    kept = _of(table)
    kids = list(crypto.key_ring())
    counts: dict[str, Any] = {}
    for at, column in enumerate(kept):
        for number, kid in enumerate(kids):
            counts[f"c{at}_{number}"] = Count("pk", filter=Q(**{f"{column.field}__startswith": _start(kid)}))
        filled = ~Q(**{column.field: ""}) & Q(**{f"{column.field}__isnull": False})
        counts[f"c{at}_all"] = Count("pk", filter=filled)
    found = _rows(kept[0].model).aggregate(**counts)
    answer: dict[str, Counter[str]] = {}
    for at, column in enumerate(kept):
        by_key = Counter({kid: found[f"c{at}_{number}"] for number, kid in enumerate(kids)})
        by_key["?"] = found[f"c{at}_all"] - by_key.total()
        answer[column.name] = +by_key
    return answer


def count_due(*, table: str) -> int:
    """Rows that `rotate` would read now: those that it must write, or all where there are two index keys."""
    return _wanted(_of(table)).count()


def count_guarded(*, table: str, now: dt.datetime) -> int:
    """Rows still looked up by a guarded index that the newest index key did not make. Opens each of them.

    While there are any the older index keys must stay. What cannot be opened counts.
    """
    count = 0
    for column in _of(table):
        index = column.index
        if index is None or index.guarded is None or len(crypto.index_ring()) == 1:
            continue
        rows = _rows(column.model).filter(index.guarded(now))
        for row in rows.values("pk", column.field, *index.fields, *index.needs).order_by("pk").iterator():
            count += not _is_newest_index(column, index, row)
    return count


def rotate(
    *,
    table: str,
    batch_rows: int = BATCH_ROWS,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Rotated:
    """Closes every value of `table` with the newest key, and writes its blind indexes with the newest index key.

    Goes through the table by primary key, `batch_rows` in one transaction; a row is written only where its columns are
    still what was read, so nobody's change is lost. `progress` hears after each batch how many rows were looked at in
    this pass, and how many were closed so far; there `stop` may end it. Rows that cannot be opened are left as they
    are and named. Safe to repeat, to kill and to run twice at once. Raises KeysUnusable, Busy.
    """
    kept = _of(table)
    closed = left = unopened = 0
    examples: list[str] = []
    is_stopped = False
    for _ in range(MAX_PASSES):
        seen = left = unopened = 0
        examples = []
        for batch in _batches(kept, batch_rows):
            done = _close(kept, batch)
            seen, closed, left = seen + len(batch), closed + done.closed, left + done.left
            unopened, examples = unopened + len(done.unopened), [*examples, *done.unopened][:SHOWN]
            if progress is not None:
                progress(seen, closed)
            is_stopped = stop is not None and stop()
            if is_stopped:
                break
        if is_stopped or left == 0:
            break
    return Rotated(
        table=table, closed=closed, left=left, unopened=unopened, examples=tuple(examples), is_stopped=is_stopped
    )


@dataclass(frozen=True, kw_only=True)
class _Done:
    closed: int
    left: int
    unopened: tuple[str, ...]


def _of(table: str) -> list[Column]:
    kept = [column for column in columns() if column.model._meta.db_table == table]
    if not kept:
        raise ValueError(f"no closed column is registered for {table!r}")
    return kept


def _rows(model: type[models.Model]) -> models.QuerySet[models.Model]:
    return model._base_manager.using(roles.alias_for("default"))


def _start(kid: str) -> str:
    return f"{crypto.VERSION}:{kid}:"


def _written_index(column: Column) -> Index | None:
    """The index of a column that has to be written anew: there are two index keys, and the database allows it."""
    index = column.index
    return index if index is not None and index.guarded is None and len(crypto.index_ring()) > 1 else None


def _wanted(kept: Sequence[Column]) -> models.QuerySet[models.Model, dict[str, Any]]:
    """Rows that may need work, by primary key. With two index keys only the values tell: then it is all rows."""
    newest = _start(crypto.newest_key_id())
    names, due = {"pk"}, Q()
    for column in kept:
        names.add(column.field)
        is_empty = Q(**{column.field: ""}) | Q(**{f"{column.field}__isnull": True})
        due |= ~(Q(**{f"{column.field}__startswith": newest}) | is_empty)
        if column.index is not None:
            names |= {*column.index.fields, *column.index.needs}
    wanted = _rows(kept[0].model).order_by("pk").values(*sorted(names))
    return wanted if any(map(_written_index, kept)) else wanted.filter(due)


def _batches(kept: Sequence[Column], batch_rows: int) -> Iterator[list[Row]]:
    wanted = _wanted(kept)
    batch: list[Row] = list(wanted[:batch_rows])
    while batch:
        yield batch
        batch = list(wanted.filter(pk__gt=batch[-1]["pk"])[:batch_rows])


def _close(kept: Sequence[Column], batch: Sequence[Row]) -> _Done:
    """One transaction. The opening is done before it, so that rows are locked for the writing only."""
    work: list[tuple[Row, dict[str, str]]] = []
    unopened = []
    indexes = [_written_index(column) for column in kept]
    for row in batch:
        try:
            fresh = _fresh(kept, indexes, row)
        except crypto.CannotDecrypt:
            unopened.append(str(row["pk"]))
            continue
        if fresh:
            work.append((row, fresh))
    if not work:
        return _Done(closed=0, left=0, unopened=tuple(unopened))
    alias = roles.alias_for("default")
    statement, values = _update(connections[alias], kept, work)

    def write() -> int:
        with connections[alias].cursor() as cursor:
            cursor.execute(statement, values)
            return int(cursor.rowcount)

    closed = transactions.run(write, using=alias)
    return _Done(closed=closed, left=len(work) - closed, unopened=tuple(unopened))


def _fresh(kept: Sequence[Column], indexes: Sequence[Index | None], row: Row) -> dict[str, str]:
    """The columns of one row that must change, with their new content. Raises CannotDecrypt."""
    fresh: dict[str, str] = {}
    for column, index in zip(kept, indexes, strict=True):
        stored = row[column.field]
        if not stored:
            continue
        closed = crypto.rotated(stored, column=column.closed_as)
        if closed != stored:
            fresh[column.field] = closed
        if index is not None:
            text = index.text(row, crypto.decrypt(stored, column=column.closed_as))
            written = crypto.blind_index(text, column=index.column)
            fresh |= {name: written for name in index.fields if row[name] is not None and row[name] != written}
    return fresh


def _is_newest_index(column: Column, index: Index, row: Row) -> bool:
    try:
        text = index.text(row, crypto.decrypt(row[column.field], column=column.closed_as))
    except crypto.CannotDecrypt:
        return False
    written = crypto.blind_index(text, column=index.column)
    return all(row[name] in (None, written) for name in index.fields)


def _update(
    connection: BaseDatabaseWrapper, kept: Sequence[Column], work: Sequence[tuple[Row, Mapping[str, str]]]
) -> tuple[str, list[Any]]:
    """The statement that writes each row of a batch if it is still what was read, with its values."""
    meta: Any = kept[0].model._meta
    quote = connection.ops.quote_name
    same = "<=>" if connection.vendor == "mysql" else "IS"
    keys = [meta.pk.get_db_prep_value(row["pk"], connection) for row, _ in work]
    table, key = quote(meta.db_table), quote(meta.pk.column)
    sets, values = [], []
    for name in sorted({name for _, fresh in work for name in fresh}):
        cases = [(at, fresh[name]) for at, (_, fresh) in zip(keys, work, strict=True) if name in fresh]
        column = quote(meta.get_field(name).column)
        sets.append(f"{column} = CASE {key}{' WHEN %s THEN %s' * len(cases)} ELSE {column} END")
        values += [value for case in cases for value in case]
    fields = [meta.get_field(name) for name in _compared(kept)]
    condition = " AND ".join(f"{quote(field.column)} {same} %s" for field in fields)
    values += keys
    for at, (row, _) in zip(keys, work, strict=True):
        values += [at, *(field.get_db_prep_value(row[field.attname], connection) for field in fields)]
    places = ", ".join(["%s"] * len(keys))
    return (
        f"UPDATE {table} SET {', '.join(sets)} WHERE {key} IN ({places})"  # noqa: S608 - names of our models
        f" AND CASE {key}{f' WHEN %s THEN {condition}' * len(keys)} END",
        values,
    )


def _compared(kept: Sequence[Column]) -> list[str]:
    """Columns that must still be what was read: of what is written and of what that was made of."""
    names = [column.field for column in kept]
    names += [name for column in kept if column.index for name in (*column.index.fields, *column.index.needs)]
    return list(dict.fromkeys(names))

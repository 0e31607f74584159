"""Which columns hold values closed by foundation.crypto, and closing all of them anew when a key is changed.

Each app registers its own columns in its `AppConfig.ready`. A key is changed by adding the new one as the last of the
ring, `rotate`, and taking the old one out once `count_by_key` finds none of it (docs/SECURITY.md). `rotate` remembers
nothing but the rows: killed at any moment it goes on where work is left.
"""

from __future__ import annotations

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
"""Rows per transaction: what others may wait for is well below a second."""
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
    """

    fields: tuple[str, ...]
    column: str
    needs: tuple[str, ...] = ()
    text: Callable[[Row, str], str] = _value_itself


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


def rotate(
    *,
    table: str,
    batch_rows: int = BATCH_ROWS,
    progress: Callable[[int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Rotated:
    """Closes every value of `table` with the newest key, and writes its blind indexes with the newest index key.

    Goes through the table by primary key, `batch_rows` in one transaction; a row is written only where its columns are
    still what was read, so nobody's change is lost. `progress` hears the rows closed so far after each batch, where
    `stop` may end it. Rows that cannot be opened are left as they are and named. Safe to repeat, to kill and to run
    twice at once. Raises KeysUnusable, Busy.
    """
    kept = _of(table)
    closed = left = unopened = 0
    examples: list[str] = []
    is_stopped = False
    for _ in range(MAX_PASSES):
        left = unopened = 0
        examples = []
        for batch in _batches(kept, batch_rows):
            done = _close(kept, batch)
            closed, left, unopened = closed + done.closed, left + done.left, unopened + len(done.unopened)
            examples = [*examples, *done.unopened][:SHOWN]
            if progress is not None:
                progress(closed)
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


def _batches(kept: Sequence[Column], batch_rows: int) -> Iterator[list[Row]]:
    """Rows that may need work, by primary key. With two index keys only the values tell: then it is all rows."""
    model = kept[0].model
    names = {"pk"}
    due = Q()
    for column in kept:
        names.add(column.field)
        newest = Q(**{f"{column.field}__startswith": _start(crypto.newest_key_id())})
        is_empty = Q(**{column.field: ""}) | Q(**{f"{column.field}__isnull": True})
        due |= ~(newest | is_empty)
        if column.index is not None:
            names |= {*column.index.fields, *column.index.needs}
    wanted = _rows(model).order_by("pk").values(*sorted(names))
    has_indexes = any(column.index is not None for column in kept)
    if not has_indexes or len(crypto.index_ring()) == 1:
        wanted = wanted.filter(due)
    batch: list[Row] = list(wanted[:batch_rows])
    while batch:
        yield batch
        batch = list(wanted.filter(pk__gt=batch[-1]["pk"])[:batch_rows])


def _close(kept: Sequence[Column], batch: Sequence[Row]) -> _Done:
    """One transaction. The opening is done before it, so that rows are locked for the writing only."""
    work: list[tuple[Row, dict[str, str]]] = []
    unopened = []
    for row in batch:
        try:
            fresh = _fresh(kept, row)
        except crypto.CannotDecrypt:
            unopened.append(str(row["pk"]))
            continue
        if fresh:
            work.append((row, fresh))

    def write() -> int:
        connection, changed = connections[roles.alias_for("default")], 0
        with connection.cursor() as cursor:
            for row, fresh in work:
                cursor.execute(*_update(connection, kept, row, fresh))
                changed += cursor.rowcount
        return changed

    closed = transactions.run(write, using=roles.alias_for("default")) if work else 0
    return _Done(closed=closed, left=len(work) - closed, unopened=tuple(unopened))


def _fresh(kept: Sequence[Column], row: Row) -> dict[str, str]:
    """The columns of one row that must change, with their new content. Raises CannotDecrypt."""
    fresh: dict[str, str] = {}
    for column in kept:
        stored = row[column.field]
        if not stored:
            continue
        closed = crypto.rotated(stored, column=column.closed_as)
        if closed != stored:
            fresh[column.field] = closed
        index = column.index
        if index is not None and len(crypto.index_ring()) > 1:
            text = index.text(row, crypto.decrypt(stored, column=column.closed_as))
            written = crypto.blind_index(text, column=index.column)
            fresh |= {name: written for name in index.fields if row[name] is not None and row[name] != written}
    return fresh


def _update(
    connection: BaseDatabaseWrapper, kept: Sequence[Column], row: Row, fresh: Mapping[str, str]
) -> tuple[str, list[Any]]:
    """The statement that writes one row if it is still what was read. Literal: a million rows go through it."""
    meta: Any = kept[0].model._meta
    names = [column.field for column in kept]
    names += [name for column in kept if column.index for name in (*column.index.fields, *column.index.needs)]
    same = "<=>" if connection.vendor == "mysql" else "IS"
    quote = connection.ops.quote_name
    sets = ", ".join(f"{quote(_stored(meta, name))} = %s" for name in fresh)
    conditions = "".join(f" AND {quote(_stored(meta, name))} {same} %s" for name in names)
    values = [*fresh.values(), meta.pk.get_db_prep_value(row["pk"], connection)]
    values += [meta.get_field(name).get_db_prep_value(row[name], connection) for name in names]
    table, key = quote(meta.db_table), quote(meta.pk.column)
    return f"UPDATE {table} SET {sets} WHERE {key} = %s{conditions}", values  # noqa: S608 - names of our models


def _stored(meta: Any, name: str) -> str:
    return str(meta.get_field(name).column)

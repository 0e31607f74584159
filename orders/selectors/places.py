"""Where the databases themselves say that the order tables are, and the checks that compare it with the settings.

The settings are read once by each process; a process that was started before a move still has the old map. The word of
the database (orders.models.TablePlace) is what stops it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.db import OperationalError, connections
from django.db.migrations.recorder import MigrationRecorder

from foundation.db import roles
from foundation.errors import Busy
from orders.domain.moving import Word
from orders.models import ATTEMPT_TABLES, ORDER_TABLES, TablePlace

Function = TypeVar("Function", bound=Callable[..., Any])

READ_ONLY_MYSQL_CODE = 1290
"""What a read-only server answers; the triggers of a closed table signal it (orders.services.moving)."""
RETRY_SECONDS = 5
"""A closed table opens again after minutes, a process with an old map ends sooner."""


def assert_open(*, table: int) -> None:
    """Raises Busy unless this table takes writes where our map says; call it first in a transaction on its database.

    Takes the shared lock of the place's row, so that a move which closes the table waits for the caller's commit, and
    nothing was done yet when it is closed.
    """
    alias = roles.orders_alias(table)
    connection = connections[alias]
    lock = " LOCK IN SHARE MODE" if connection.vendor == "mysql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT state FROM orders_tableplace WHERE table_no = %s{lock}", [table])  # noqa: S608 - constants
        row = cursor.fetchone()
    if row is None or row[0] != TablePlace.State.OPEN:
        raise _moving()


def refusal_is_busy(function: Function) -> Function:
    """Decorator of writers: the refusal of a closed table's trigger reaches the caller as Busy."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except OperationalError as error:
            if error.args and error.args[0] == READ_ONLY_MYSQL_CODE:
                raise _moving() from error
            raise

    return guarded  # type: ignore[return-value]


def _moving() -> Busy:
    return Busy({"reason": "these orders are being moved"}, retry_after_seconds=RETRY_SECONDS)


def open_tables() -> list[int]:
    """The tables that take writes where our map says; sweeps leave the others for later."""
    found: list[int] = []
    for alias in roles.order_aliases():
        here = TablePlace.objects.using(alias).filter(state=TablePlace.State.OPEN).values_list("table_no", flat=True)
        found += [table for table in here if roles.orders_alias(table) == alias]
    return sorted(found)


def words_of(*, alias: str) -> dict[int, Word]:
    """What one database says about each table it has or had; nothing when it was never migrated."""
    tables = set(_table_names(alias))
    if TablePlace._meta.db_table not in tables:
        return {}
    return {
        row.table_no: Word(
            state=row.state,
            other=row.other,
            is_verified=row.verified_at is not None,
            has_table=ORDER_TABLES[row.table_no]._meta.db_table in tables,
        )
        for row in TablePlace.objects.using(alias)
    }


def words_about(*, table: int) -> dict[str, Word]:
    """What every database says about one table, by alias."""
    found = {alias: words_of(alias=alias).get(table) for alias in roles.all_aliases()}
    return {alias: word for alias, word in found.items() if word is not None}


def check_places(app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Refuses a map that disagrees with where the tables and their rows are. Registered under Tags.database."""
    if not databases or len(settings.ORDER_SHARD_DATABASES) != roles.ORDER_TABLES:
        return []  # a map of another length is check_role_map's
    aliases = roles.all_aliases()
    words = {alias: words_of(alias=alias) for alias in aliases}
    tables = {alias: set(_table_names(alias)) for alias in aliases}
    migrated = {alias: _has_orders_schema(alias, tables[alias]) for alias in roles.order_aliases()}
    problems: list[CheckMessage] = []
    for table in range(roles.ORDER_TABLES):
        mapped = roles.orders_alias(table)
        name = ORDER_TABLES[table]._meta.db_table
        for alias in aliases:
            word = words[alias].get(table)
            if alias != mapped and word is not None and word.state in {"OPEN", "MOVING"}:
                problems.append(_wrong(f"{name} lives on {alias}, the map says {mapped}.", "paysys.E021"))
            if alias != mapped and word is None and _has_rows(alias, table, tables[alias]):
                problems.append(_wrong(f"{name} has rows on {alias}, the map says {mapped}.", "paysys.E022"))
        word = words[mapped].get(table)
        if word is not None and word.state in {"INCOMING", "MOVED"}:
            text = f"{mapped} says that {name} is {word.state} ({word.other}), the map says it is in use there."
            problems.append(_wrong(text, "paysys.E023"))
        elif migrated[mapped] and not {name, ATTEMPT_TABLES[table]._meta.db_table} <= tables[mapped]:
            text = f"{name} or its attempts are missing on {mapped}, whose migrations are all applied."
            problems.append(_wrong(text, "paysys.E024"))
    return problems


def _wrong(text: str, code: str) -> Error:
    return Error(
        text,
        hint="Correct PAYSYS_ORDER_DATABASES, or bring the table there with move_order_tables (docs/OPERATIONS.md).",
        id=code,
    )


def _table_names(alias: str) -> list[str]:
    with connections[alias].cursor() as cursor:
        return connections[alias].introspection.table_names(cursor)


def _has_orders_schema(alias: str, tables: set[str]) -> bool:
    if MigrationRecorder.Migration._meta.db_table not in tables:
        return False
    return ("orders", "0001_initial") in MigrationRecorder(connections[alias]).applied_migrations()


def _has_rows(alias: str, table: int, tables: set[str]) -> bool:
    models = [model for model in (ORDER_TABLES[table], ATTEMPT_TABLES[table]) if model._meta.db_table in tables]
    return any(model._base_manager.using(alias).exists() for model in models)

"""Triggers that refuse: written once for MariaDB and SQLite, for migrations.

MariaDB commits each DDL statement by itself, so such a migration runs without a transaction (`atomic=False`) and its
statements may be run again after a half-done one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.db.backends.base.schema import BaseDatabaseSchemaEditor


class Refusal(NamedTuple):
    """`event` is as "UPDATE ON table"; a row for which `condition` (SQL about OLD and NEW) is true is refused."""

    name: str
    event: str
    condition: str
    message: str


def add(schema_editor: BaseDatabaseSchemaEditor, refusals: Iterable[Refusal]) -> None:
    """Creates the triggers that are not there yet; a trigger of the same name stays as it is."""
    for name, event, condition, message in refusals:
        if schema_editor.connection.vendor == "mysql":
            signal = f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{message}'"
            body = f"FOR EACH ROW BEGIN IF {condition} THEN {signal}; END IF; END"
        else:
            body = f"WHEN {condition} BEGIN SELECT RAISE(ABORT, '{message}'); END"
        schema_editor.execute(f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {event} {body}")


def drop(schema_editor: BaseDatabaseSchemaEditor, refusals: Iterable[Refusal]) -> None:
    for refusal in refusals:
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {refusal.name}")


def insert_only(table: str) -> list[Refusal]:
    """Nothing of the table is changed or deleted."""
    return [
        Refusal(f"{table}_no_{action.lower()}", f"{action} ON {table}", "1 = 1", f"{table} is insert-only")
        for action in ("UPDATE", "DELETE")
    ]

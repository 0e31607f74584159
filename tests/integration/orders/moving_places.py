"""Four databases of a test's own to move order tables between, beside those of the session.

Their tables are made from the session's, so no migration runs; half of them stand on the second server when there is
one (tests/provision.py).
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connections

from foundation.db import roles
from orders.domain import moving as rules
from orders.models import ATTEMPT_TABLES, ORDER_TABLES, TablePlace

NOW = dt.datetime(2026, 11, 22, 2, 0, tzinfo=dt.UTC)
OLD = ["move_0", "move_1"]
NEW = ["move_0", "move_1", "move_2", "move_3"]


def execute(alias: str, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall()) if cursor.description else []


def second_port() -> int | None:
    """The port of the second MariaDB server, where one was started."""
    services = json.loads(os.environ.get("PAYSYS_TEST_SERVICES", "{}"))
    return services["mariadb-2"]["port"] if "mariadb-2" in services else None


@contextmanager
def four_databases(monkeypatch: Any) -> Iterator[None]:
    """move_0 … move_3 in the settings, the map on the first two, the 32 tables there and places in all four."""
    base = copy.deepcopy(connections["orders_0"].settings_dict)
    schema = f"test_move_{uuid.uuid4().hex[:10]}"
    source = {table: definition(model) for table, model in enumerate(ORDER_TABLES)}
    attempts = {table: definition(model) for table, model in enumerate(ATTEMPT_TABLES)}
    shared = [model for model in apps.get_models() if getattr(model, "paysys_everywhere", False)]
    everywhere = [execute("orders_0", f"SHOW CREATE TABLE {model._meta.db_table}")[0][1] for model in shared]
    for number, alias in enumerate(NEW):
        config = copy.deepcopy(base) | {"NAME": f"{schema}_{number}"}
        if number % 2 and second_port():
            config["PORT"] = str(second_port())
        monkeypatch.setitem(settings.DATABASES, alias, config)  # the dictionary that `connections` reads, too
        _create(alias, config["NAME"])
        for statement in everywhere:
            execute(alias, statement)
    for alias in roles.order_aliases():  # the session's own tables are another installation
        monkeypatch.delitem(settings.DATABASES, alias)
    monkeypatch.setattr(settings, "ORDER_SHARD_DATABASES", rules.spread(OLD))
    for table in range(16):
        alias = OLD[table % 2]
        execute(alias, source[table])
        execute(alias, attempts[table])
        TablePlace.objects.using(alias).create(table_no=table, state="OPEN", changed_at=NOW)
    for model in (*ORDER_TABLES, *ATTEMPT_TABLES):
        monkeypatch.setattr(model, "django_sharding__database", OLD[model.table % 2])
    try:
        yield
    finally:
        for alias in NEW:
            execute(alias, f"DROP DATABASE IF EXISTS {connections[alias].settings_dict['NAME']}")
            connections[alias].close()
            del connections[alias]


def definition(model: Any) -> str:
    return execute(model.objects.db, f"SHOW CREATE TABLE {model._meta.db_table}")[0][1]


def _create(alias: str, name: str) -> None:
    connection = connections[alias]
    connection.settings_dict["NAME"] = None
    execute(alias, f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci")
    connection.close()
    connection.settings_dict["NAME"] = name


def use_new_map(monkeypatch: Any) -> None:
    """What a restart with the new configuration does to a process."""
    monkeypatch.setattr(settings, "ORDER_SHARD_DATABASES", rules.spread(NEW))
    for model in (*ORDER_TABLES, *ATTEMPT_TABLES):
        monkeypatch.setattr(model, "django_sharding__database", NEW[model.table % 4])

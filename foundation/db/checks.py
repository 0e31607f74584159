"""System checks that ask the servers: settings without which money is not safe, and the role map.

Source: design `faults.md` 3.1 and `sharding.md` 3. Run by `manage.py check --database default …` and by `migrate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

from foundation.db import roles

MINIMUM_MARIADB = (10, 6)


@register(Tags.compatibility)
def check_role_map(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The map of 16 order tables names existing aliases and spreads evenly over 1, 2, 4, 8 or 16 databases."""
    shards = list(settings.ORDER_SHARD_DATABASES)
    used = list(dict.fromkeys(shards))
    problems: list[CheckMessage] = []
    if len(shards) != roles.ORDER_TABLES:
        problems.append(Error(f"ORDER_SHARD_DATABASES has {len(shards)} entries, not 16.", id="paysys.E001"))
    if settings.ORDER_NUMBER_VERSION not in {"1", "2"}:
        problems.append(Error("ORDER_NUMBER_VERSION must be 1 or 2.", id="paysys.E004"))
    unknown = [alias for alias in [*used, *settings.DATABASE_ROLES.values()] if alias not in settings.DATABASES]
    if unknown:
        problems.append(Error(f"Roles name databases that do not exist: {unknown}.", id="paysys.E002"))
    if len(used) not in {1, 2, 4, 8, 16} or shards != [used[i % len(used)] for i in range(len(shards))]:
        problems.append(
            Error("Order table i must live on database i mod N, N one of 1, 2, 4, 8, 16.", id="paysys.E003")
        )
    places: dict[tuple[str, ...], str] = {}
    for alias in roles.all_aliases():
        config = settings.DATABASES[alias]
        place = tuple(str(config.get(name, "")) for name in ("ENGINE", "HOST", "PORT", "NAME"))
        if config.get("NAME") and place in places:
            problems.append(Error(f"{places[place]} and {alias} are one database: use one alias.", id="paysys.E005"))
        places.setdefault(place, alias)
    return problems


@register(Tags.database)
def check_servers(app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Each MariaDB server is asked for the settings that durability and correctness need."""
    problems: list[CheckMessage] = []
    for alias in databases or []:
        connection = connections[alias]
        if connection.vendor == "mysql":
            problems += _check_mariadb(alias)
    asked = set(databases or [])
    for first, second in roles.same_physical_databases(roles.all_aliases()) if asked else []:
        if {first, second} & asked:
            problems.append(Error(f"{first} and {second} are one database: use one alias.", id="paysys.E015"))
    return problems


def _check_mariadb(alias: str) -> list[CheckMessage]:
    wanted = {
        "innodb_flush_log_at_trx_commit": (
            "1",
            "paysys.E011",
            "an acknowledged commit must survive a power cut",
        ),
        "innodb_rollback_on_timeout": (
            "1",
            "paysys.E012",
            "a lock wait time-out must roll the whole transaction back",
        ),
    }
    problems: list[CheckMessage] = []
    with connections[alias].cursor() as cursor:
        for name, (value, code, why) in wanted.items():
            cursor.execute(f"SELECT @@{name}")
            if str(cursor.fetchone()[0]) != value:
                problems.append(Error(f"{alias}: {name} must be {value}: {why}.", id=code))
        cursor.execute("SELECT CONVERT_TZ('2026-01-01 00:00:00', 'UTC', 'Asia/Shanghai')")
        if cursor.fetchone()[0] is None:
            problems.append(
                Error(
                    f"{alias}: the server has no time-zone tables, date drill-downs would fail.",
                    hint="mariadb-tzinfo-to-sql /usr/share/zoneinfo | mariadb mysql",
                    id="paysys.E013",
                )
            )
        version = connections[alias].mysql_version  # type: ignore[attr-defined]
        if not connections[alias].mysql_is_mariadb or version < MINIMUM_MARIADB:  # type: ignore[attr-defined]
            problems.append(Error(f"{alias}: MariaDB 10.6 or later is needed, found {version}.", id="paysys.E014"))
    return problems

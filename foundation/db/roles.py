"""Which database alias plays which role.

Roles: `default` (identity, gateway, jobs, admin), `funds`, `redpacket`, and `orders` table 0 … 15. A small set-up has
one database for everything: then every role names the alias `default`. One alias per physical database. Source:
design `sharding.md`, decision 3.
"""

from __future__ import annotations

import itertools
import secrets

from django.conf import settings
from django.db import connections

ORDER_TABLES = 16
"""Number of order tables, for ever; how many databases they are spread over is configuration."""


def alias_for(role: str) -> str:
    """The alias of role "default", "funds" or "redpacket"."""
    return settings.DATABASE_ROLES[role]


def orders_alias(table: int) -> str:
    """The alias that holds order table `table` (0 to 15)."""
    return settings.ORDER_SHARD_DATABASES[table]


def all_aliases() -> list[str]:
    """Every alias in use once, in settings order (replicas are not listed)."""
    return [alias for alias, config in settings.DATABASES.items() if not config.get("PRIMARY")]


def order_aliases() -> list[str]:
    """Every alias that holds an order table, once, in table order."""
    return list(dict.fromkeys(settings.ORDER_SHARD_DATABASES))


def replica_of(alias: str) -> str | None:
    """The alias of the read-only copy of `alias` (the entry that names it as its PRIMARY), None without one."""
    for name, config in settings.DATABASES.items():
        if config.get("PRIMARY") == alias:
            return name
    return None


def same_physical_databases(aliases: list[str]) -> list[tuple[str, str]]:
    """Pairs of aliases that lead to one database of one server, under whatever host name; asks the servers.

    A named lock taken through one alias is seen through the other only on the same server.
    """
    found = []
    for first, second in itertools.combinations(aliases, 2):
        one, two = connections[first], connections[second]
        if one.vendor != two.vendor or str(one.settings_dict["NAME"]) != str(two.settings_dict["NAME"]):
            continue
        if one.vendor != "mysql" or _on_one_server(first, second):
            found.append((first, second))
    return found


def _on_one_server(first: str, second: str) -> bool:
    name = f"paysys-same-server-{secrets.token_hex(8)}"
    with connections[first].cursor() as holder, connections[second].cursor() as observer:
        holder.execute("SELECT GET_LOCK(%s, 0)", [name])
        try:
            observer.execute("SELECT IS_USED_LOCK(%s)", [name])
            return observer.fetchone()[0] is not None
        finally:
            holder.execute("SELECT RELEASE_LOCK(%s)", [name])

"""Which database alias plays which role.

Roles: `default` (identity, gateway, jobs, admin), `funds`, `redpacket`, and `orders` table 0 … 15. A small set-up has
one database for everything: then every role names the alias `default`. One alias per physical database. Source:
design `sharding.md`, decision 3.
"""

from __future__ import annotations

from django.conf import settings

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

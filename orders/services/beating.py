"""Tells replicas how old they are: one row, written on the primary, read on the replica (orders.selectors.sources)."""

from __future__ import annotations

from foundation.db import roles, transactions
from orders.models import ReplicaBeat

BEAT_SECONDS = 5
"""How often the job runs: a third of what a replica may lag (orders.selectors.sources.MAX_AGE)."""


def beat() -> list[str]:
    """Writes the primary's own clock on each order database that has a replica; returns their aliases.

    One row a database, whatever stood there: repeating it only makes it newer.
    """
    written = [alias for alias in roles.order_aliases() if roles.replica_of(alias) is not None]
    for alias in written:
        moment = transactions.database_now(using=alias)
        ReplicaBeat.objects.using(alias).update_or_create(pk=1, defaults={"beat_at": moment})
    return written

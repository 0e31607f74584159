"""Transactions that are tried again, and the database's own clock.

Source: design `faults.md` 2.2 and 3.1. A deadlock victim (1213), a lock wait time-out (1205), a snapshot conflict
(1020) and a lost connection (2006, 2013) must leave the whole block and run it again from the start. Every block of
ours is safe to repeat because money and events carry unique references, also when the lost answer was COMMIT's.
"""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from django.db import Error as DatabaseProblem
from django.db import InterfaceError, OperationalError, connections, transaction

from foundation import alerts
from foundation.errors import Busy

logger = structlog.get_logger("transactions")

Result = TypeVar("Result")

MAX_TRIES = 5
"""Tries of one block, the first included; after that the caller is told to come back."""
BACK_OFF_SECONDS = 0.02
"""First pause; doubled each time, with jitter so that two victims do not meet again."""
RETRIED_MYSQL_CODES = frozenset({1213, 1205, 1020, 2006, 2013})
AWAY_MYSQL_CODES = frozenset({1040, 1053, 1203, 1226, 1927, 2002, 2003, 2006, 2013})
"""The server is full, shutting down, not there, or hung up."""


def is_retryable(error: OperationalError) -> bool:
    """True when running the whole block again is right (see the module's source)."""
    code = error.args[0] if error.args else None
    return code in RETRIED_MYSQL_CODES or "database is locked" in str(error)


def is_passing(error: DatabaseProblem) -> bool:
    """True when nothing is wrong with the statement: the server is away or overloaded, a later try may succeed."""
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError):
        return False
    return is_retryable(error) or (bool(error.args) and error.args[0] in AWAY_MYSQL_CODES)


def run(work: Callable[[], Result], *, using: str) -> Result:
    """Runs `work` in one transaction on alias `using` and commits it before returning.

    Outermost: tried up to MAX_TRIES times, then `Busy`. Inside another transaction of the same alias it is a savepoint
    without retry: the outermost block decides. `work` must not call anything outside of the databases.
    """
    connection = connections[using]
    if connection.in_atomic_block:
        with transaction.atomic(using=using):
            return work()
    for attempt in range(1, MAX_TRIES + 1):
        try:
            with transaction.atomic(using=using, durable=True):
                return work()
        except OperationalError as error:
            if not is_retryable(error):
                raise
            if attempt == MAX_TRIES:
                _alert(using, error)
                raise Busy({"reason": "database contention"}) from error
            connection.close_if_unusable_or_obsolete()
            time.sleep(BACK_OFF_SECONDS * 2**attempt * (0.5 + random.random()))  # noqa: S311 - jitter, no secret
    raise AssertionError("unreachable")


def _alert(using: str, error: OperationalError) -> None:
    """A block that lost every race: a person must look, the caller comes back. Never hides the loss itself."""
    connections[using].close_if_unusable_or_obsolete()
    try:
        alerts.raise_alert(
            code="transaction_gave_up",
            subject=using,
            severity="WARNING",
            message=f"A transaction was tried {MAX_TRIES} times in vain: {error!r}",
        )
    except DatabaseProblem:
        logger.exception("alert not stored", database=using)


def assert_in_transaction(*, using: str) -> None:
    """Inner services call this: the outer one must have opened the transaction."""
    if not connections[using].in_atomic_block:
        raise RuntimeError(f"a transaction on {using!r} must be open")


def database_now(*, using: str) -> dt.datetime:
    """The database server's clock, aware, in UTC: what decides about expiry when application nodes differ."""
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SELECT UTC_TIMESTAMP(6)")
            return cursor.fetchone()[0].replace(tzinfo=dt.UTC)
        cursor.execute("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')")
        return dt.datetime.strptime(cursor.fetchone()[0], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=dt.UTC)

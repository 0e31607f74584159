"""Which database a list of orders is read from, and for how long at most.

Lists, pages and searches may be read on a replica (settings: an entry of DATABASES with PRIMARY) while it is tolerably
fresh; nothing that decides about money ever is. How old a replica is follows from a row that a timed job writes on the
primary (orders.services.beating) and that is read on the replica: that measures the whole way, also of a replica that
believes itself up to date while its connection hangs. Dead, stale or without the row: the primary.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from django.db import Error as DatabaseProblem
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from foundation.db import roles, transactions
from foundation.errors import Busy
from orders.models import ReplicaBeat

logger = structlog.get_logger("orders")

MAX_SECONDS = 5
"""A list that needs longer is refused: it would hold a connection that payments are waiting for."""
STATEMENT_TIMEOUT_MYSQL_CODE = 1969
MAX_AGE = dt.timedelta(seconds=15)
"""Three beats. Somebody who misses an order in the list for so long asks for it by its number and has it."""
MAX_AHEAD = dt.timedelta(seconds=2)
"""A beat from the future by more than this: the two clocks differ, the age cannot be told."""
RECHECK_SECONDS = 1.0
DEAD_SECONDS = 15.0
"""A replica that did not answer is left alone for so long: asking a dead host costs a connection time-out."""

_verdicts: dict[str, tuple[float, bool]] = {}
"""Of this process: replica → (asked again after, on the monotonic clock; whether it may be read)."""

Row = Sequence[Any]
Question = tuple[str, Sequence[Any]]
"""A statement and its parameters."""


def forget() -> None:
    """Forgets what this process knows about replicas (tests)."""
    _verdicts.clear()


def fetch(alias: str, statement: str, parameters: Sequence[Any]) -> Sequence[Row]:
    """All rows of a statement on exactly this database, without a limit of time."""
    connection = connections[alias]
    if connection.vendor != "mysql":
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()
    driver = _driver(connection)
    with connection.wrap_database_errors:
        driver.query(_text(driver, statement, parameters))
        return driver.store_result().fetch_row(0)


def _driver(connection: BaseDatabaseWrapper) -> Any:
    """mysqlclient's own connection, after the checks that Django's cursors make.

    Django's cursor and mysqlclient's above it cost a look-up as much as the server does (wrappers, descriptions of
    columns that nobody reads), and they cannot send a statement without waiting for its answer.
    """
    connection.validate_thread_sharing()
    connection.validate_no_broken_transaction()
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    return connection.connection


def _text(driver: Any, statement: str, parameters: Sequence[Any]) -> bytes:
    """The statement with its parameters as mysqlclient's cursor would send it."""
    return statement.encode() % tuple(driver.literal(parameter) for parameter in parameters)


class Reader:
    """The databases that one list is read from: chosen at the first use, so that its statements agree.

    A replica that fails in the middle is left for the primary, which has every row that the replica had.
    """

    def __init__(self) -> None:
        self._chosen: dict[str, str] = {}

    def fetch(self, primary: str, statement: str, parameters: Sequence[Any]) -> Sequence[Row]:
        """All rows; raises Busy when the database needs longer than MAX_SECONDS (MariaDB only)."""
        return self.fetch_each({primary: (statement, parameters)})[0]

    def fetch_each(self, questions: Mapping[str, Question]) -> list[Sequence[Row]]:
        """All rows of one statement a database, asked at the same time; the answers in the order of the questions.

        Raises Busy when one of them needs longer than MAX_SECONDS.
        """
        for primary in questions:
            if primary not in self._chosen:
                self._chosen[primary] = _choose(primary)
        answers = _ask_all([(self._chosen[primary], *question) for primary, question in questions.items()])
        found: list[Sequence[Row]] = []
        for (primary, question), given in zip(questions.items(), answers, strict=True):
            answer = given
            if isinstance(answer, DatabaseProblem) and self._chosen[primary] != primary and not _is_too_slow(answer):
                _distrust(self._chosen[primary], answer)
                self._chosen[primary] = primary
                answer = _ask_all([(primary, *question)])[0]
            if isinstance(answer, DatabaseProblem):
                if _is_too_slow(answer):
                    details = {"reason": "list_takes_too_long", "use": "narrower filters"}
                    raise Busy(details, retry_after_seconds=5) from answer
                raise answer
            found.append(answer)
        return found


def _is_too_slow(error: DatabaseProblem) -> bool:
    return bool(error.args) and error.args[0] == STATEMENT_TIMEOUT_MYSQL_CODE


def _ask_all(questions: Sequence[tuple[str, str, Sequence[Any]]]) -> list[Sequence[Row] | DatabaseProblem]:
    """Each database's rows or its error. MariaDB servers work at the same time: all are sent their statement before
    any answer is read, which Django's cursors cannot; every answer is read, so that no connection is left in between.
    """
    answers: list[Sequence[Row] | DatabaseProblem] = [()] * len(questions)
    sent: list[tuple[int, BaseDatabaseWrapper]] = []
    try:
        for index, (alias, statement, parameters) in enumerate(questions):
            connection = connections[alias]
            try:
                if connection.vendor != "mysql":
                    answers[index] = fetch(alias, statement, parameters)
                    continue
                driver = _driver(connection)
                limited = f"SET STATEMENT max_statement_time={MAX_SECONDS} FOR {statement}"
                with connection.wrap_database_errors:
                    driver.send_query(_text(driver, limited, parameters))
                sent.append((index, connection))
            except DatabaseProblem as error:
                answers[index] = error
        while sent:
            index, connection = sent[0]
            try:
                with connection.wrap_database_errors:
                    connection.connection.read_query_result()
                    answers[index] = connection.connection.store_result().fetch_row(0)
            except DatabaseProblem as error:
                answers[index] = error
            del sent[0]
    finally:
        for _, connection in sent:  # stopped in the middle (a time limit of the process): never to be read
            connection.close()
    return answers


def _choose(primary: str) -> str:
    """The replica if there is a fresh one; inside a transaction the primary, which alone shows its own writes."""
    replica = roles.replica_of(primary)
    if replica is None or connections[primary].in_atomic_block:
        return primary
    asked_again, is_fresh = _verdicts.get(replica, (0.0, False))
    if time.monotonic() >= asked_again:
        is_fresh = _ask(replica)
    return replica if is_fresh else primary


def _ask(replica: str) -> bool:
    try:
        beat = ReplicaBeat.objects.using(replica).filter(pk=1).first()
        present = transactions.database_now(using=replica)
    except DatabaseProblem as error:
        _distrust(replica, error)
        return False
    is_fresh = beat is not None and -MAX_AHEAD <= present - beat.beat_at <= MAX_AGE
    _verdicts[replica] = (time.monotonic() + RECHECK_SECONDS, is_fresh)
    return is_fresh


def _distrust(replica: str, error: DatabaseProblem) -> None:
    logger.warning("replica not usable", database=replica, error=repr(error))
    connections[replica].close()
    _verdicts[replica] = (time.monotonic() + DEAD_SECONDS, False)

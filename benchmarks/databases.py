"""Databases of a run's own, beside the configured ones: same server, same name with `_bench` behind."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

SUFFIX = "_bench"
LOCK_NAME = "paysys_bench"
"""A second benchmark on the same server would drop the first one's databases."""


class CannotRun(Exception):
    """The environment names no MariaDB, or another benchmark is running there."""


def bench_urls(environment: Mapping[str, str]) -> dict[str, str]:
    """The database variables with every name changed to its bench name; raises CannotRun for anything but MariaDB."""
    found = {}
    for variable, url in environment.items():
        if not re.fullmatch(r"(\w+_)?DATABASE_URL", variable) or not url:
            continue
        parts = urlsplit(url)
        name = parts.path.lstrip("/")
        if parts.scheme not in ("mysql", "mariadb") or not re.fullmatch(r"\w+", name):
            raise CannotRun(f"{variable} names no MariaDB database")
        found[variable] = urlunsplit(parts._replace(path=f"/{name}{SUFFIX}"))
    if "DATABASE_URL" not in found:
        raise CannotRun("DATABASE_URL is not set: start with `python3 -m tests.provision run -- …`")
    return found


def connect(parts: SplitResult, **options: object):  # type: ignore[no-untyped-def]  # mysqlclient has no types
    """A connection to a URL's server, without a database unless `database` is given."""
    import MySQLdb

    return MySQLdb.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        charset="utf8mb4",
        **options,
    )


@contextmanager
def bench_databases(*, settings: str = "paysys.settings.test") -> Iterator[None]:
    """Makes and migrates the bench databases, sets Django up on them, drops them at the end. Raises CannotRun."""
    urls = bench_urls(os.environ)
    os.environ.update(urls)
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    with ExitStack() as stack:
        for url in dict.fromkeys(urls.values()):
            _own_database(stack, urlsplit(url))
        import django
        from django.core.management import call_command
        from django.db import connections

        stack.callback(connections.close_all)
        django.setup()
        print("migrating the bench databases", file=sys.stderr, flush=True)
        call_command("migrate_all", stdout=io.StringIO())
        yield


def _own_database(stack: ExitStack, parts: SplitResult) -> None:
    """One fresh database; what a killed run left under the name is dropped. The lock ends with its connection."""
    name = parts.path.lstrip("/")
    if not name.endswith(SUFFIX):
        raise CannotRun(f"{name} is not a bench database")
    keeper = connect(parts, autocommit=True)
    stack.callback(keeper.close)
    cursor = keeper.cursor()
    cursor.execute("SELECT GET_LOCK(%s, 0)", [f"{LOCK_NAME}:{name}"])
    if cursor.fetchone() != (1,):
        raise CannotRun(f"another benchmark is using {name}")
    cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
    cursor.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci")
    stack.callback(_drop, parts, name)


def _drop(parts: SplitResult, name: str) -> None:
    """On a new connection: the keeper's may have been idle for longer than the server keeps it."""
    connection = connect(parts, autocommit=True)
    try:
        connection.cursor().execute(f"DROP DATABASE IF EXISTS `{name}`")
    finally:
        connection.close()

"""Fixtures for all tests.

`committed_db` lets a test commit for real (threads, processes, crash tests). Nothing is flushed afterwards: the ledger
is insert-only, so each test uses fresh owners, and when the session ends the books of everything that all tests left
behind must balance.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections
from django.test.utils import setup_databases, teardown_databases
from pytest_django import DjangoDbBlocker

from tests.books import assert_books_balance


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest,
    django_test_environment: None,
    django_db_blocker: DjangoDbBlocker,
    django_db_keepdb: bool,
    django_db_createdb: bool,
    django_db_modify_db_settings: None,
) -> Iterator[None]:
    """Every test database, whichever tests run.

    pytest-django's own makes only those that a `django_db` mark names, so that a run of `committed_db` tests alone
    would have worked on the databases of the settings themselves.
    """
    verbosity = request.config.option.verbose
    with django_db_blocker.unblock():
        made = setup_databases(
            verbosity=verbosity,
            interactive=False,
            keepdb=django_db_keepdb and not django_db_createdb,
            serialized_aliases=(),
        )
    yield
    if not django_db_keepdb:
        with django_db_blocker.unblock():
            teardown_databases(made, verbosity=verbosity)


@pytest.fixture(scope="session")
def _books_of_the_session(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    yield
    with django_db_blocker.unblock():
        assert_books_balance()
        connections.close_all()


@pytest.fixture
def committed_db(_books_of_the_session: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Database access with real commits and without any clean-up."""
    with django_db_blocker.unblock():
        yield
        connections.close_all()

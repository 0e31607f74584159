"""Fixtures for all tests.

`committed_db` lets a test commit for real (threads, processes, crash tests). Nothing is flushed afterwards: the ledger
is insert-only, so each test uses fresh owners, and when the session ends the books of everything that all tests left
behind must balance.

PAYSYS_NIGHTLY=1 (`make test-nightly`) makes the random tests long: the fixture `nightly` tells them, and Hypothesis
tries ten times its usual number of examples. A failure prints what repeats it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest
from django.db import connections
from django.test.utils import setup_databases, teardown_databases
from pytest_django import DjangoDbBlocker

from tests.books import assert_books_balance
from tests.provision import ROOT_MARK

NIGHTLY = os.environ.get("PAYSYS_NIGHTLY") == "1"
hypothesis.settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
if NIGHTLY:
    hypothesis.settings.load_profile("nightly")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what kills a server, unless the servers were started for this run alone (`provision run`)."""
    if ROOT_MARK in os.environ:
        return
    killers = [item for item in items if item.get_closest_marker("kills_services")]
    config.hook.pytest_deselected(items=killers)
    items[:] = [item for item in items if item not in killers]


@pytest.fixture(scope="session")
def nightly() -> bool:
    """Whether the random tests may take minutes."""
    return NIGHTLY


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

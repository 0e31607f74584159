"""Fixtures for all tests.

`committed_db` lets a test commit for real (threads, processes, crash tests). Nothing is flushed afterwards: the ledger
is insert-only, so each test uses fresh owners, and when the session ends the books of everything that all tests left
behind must balance.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from tests.books import assert_books_balance


@pytest.fixture(scope="session")
def _books_of_the_session(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    yield
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        assert_books_balance()
        connections.close_all()


@pytest.fixture
def committed_db(_books_of_the_session: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """Database access with real commits and without any clean-up."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        yield
        connections.close_all()

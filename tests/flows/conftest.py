"""Systems of real processes for the flow tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import DjangoDbBlocker

from tests.system import System


@pytest.fixture(scope="module")
def system(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[System]:
    """Web, worker, relay and simulator on the test databases, for one module of tests."""
    directory: Path = tmp_path_factory.mktemp("system")
    with django_db_blocker.unblock():
        call_command("sync_schedule", verbosity=0)
        running = System(directory)
        try:
            yield running.start("simulator", "web", "worker", "relay")
        finally:
            running.stop()

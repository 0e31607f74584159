"""Other tests commit for real and leave their rows: here each test starts with empty tables of the foundation."""

from __future__ import annotations

import pytest

from foundation.db import roles
from foundation.models import Alert, IdempotencyRecord, JobLock, JobRun, OutboxEvent


@pytest.fixture(autouse=True)
def _empty_tables(db: None) -> None:
    """Deletes inside the test's own transaction, so that everything is back afterwards."""
    for model in (Alert, IdempotencyRecord, JobLock, JobRun):
        model.objects.all().delete()
    for alias in roles.all_aliases():
        OutboxEvent.objects.using(alias).all().delete()

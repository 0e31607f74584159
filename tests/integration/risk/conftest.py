"""Rolled-back tests must not leave their versions in the process's cache of tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from risk.services import tables


@pytest.fixture(autouse=True)
def _fresh_tables() -> Iterator[None]:
    tables.forget()
    yield
    tables.forget()

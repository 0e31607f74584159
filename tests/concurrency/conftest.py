"""What tests with many threads need before the first of them starts."""

from __future__ import annotations

import pytest
from django.test.client import ClientHandler


@pytest.fixture(scope="session", autouse=True)
def middleware_is_loaded() -> None:
    """django-prometheus makes its metrics when middleware is first loaded; two threads at once would make them twice.

    A web process loads it once, before it serves; the test client loads it with each client's first request.
    """
    ClientHandler().load_middleware()

"""A map of roles that would lose or split tables is refused before anything starts."""

from __future__ import annotations

import pytest
from django.conf import settings as configured
from pytest_django import Settings

from foundation.db import checks


def problems() -> list[str]:
    return [str(problem.id) for problem in checks.check_role_map(None)]


@pytest.fixture
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Databases d0 … d15, by name only."""
    for number in range(16):
        monkeypatch.setitem(configured.DATABASES, f"d{number}", {})


@pytest.mark.usefixtures("sixteen")
@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
def test_an_even_map_is_taken(settings: Settings, count: int) -> None:
    settings.ORDER_SHARD_DATABASES = [f"d{table % count}" for table in range(16)]
    assert problems() == []


def test_the_map_of_the_settings_is_right() -> None:
    assert problems() == []
    assert configured.ORDER_SHARD_DATABASES == ["orders_0", "orders_1"] * 8


@pytest.mark.usefixtures("sixteen")
@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["d0"] * 15, ["paysys.E001"]),
        (["d0"] * 17, ["paysys.E001"]),
        ([], ["paysys.E001", "paysys.E003"]),
        (["d0", "absent"] * 8, ["paysys.E002"]),
        ([f"d{table % 3}" for table in range(16)], ["paysys.E003"]),
        (["d0"] * 8 + ["d1"] * 8, ["paysys.E003"]),
        (["d0"] * 15 + ["d1"], ["paysys.E003"]),
    ],
    ids=["15 tables", "17 tables", "none", "no such database", "three databases", "halves", "one astray"],
)
def test_a_wrong_map_is_refused(settings: Settings, entries: list[str], expected: list[str]) -> None:
    settings.ORDER_SHARD_DATABASES = entries
    assert problems() == expected


def test_a_role_on_a_database_that_does_not_exist_is_refused(settings: Settings) -> None:
    settings.DATABASE_ROLES = {**configured.DATABASE_ROLES, "funds": "fundz"}
    assert problems() == ["paysys.E002"]

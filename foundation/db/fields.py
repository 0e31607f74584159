"""Column types shared by the apps."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class AsciiCharField(models.CharField):
    """Short machine text (numbers, keys, codes): ascii with binary collation on MariaDB.

    A quarter of utf8mb4's index size, and "A" ≠ "a" in unique keys. SQLite compares bytes anyway.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = "ascii_bin"
        return parameters

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        column = super().db_type(connection)
        return f"{column} CHARACTER SET ascii" if connection.vendor == "mysql" else column


class FenField(models.BigIntegerField):
    """An amount in integer fen."""

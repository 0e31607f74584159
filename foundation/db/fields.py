"""Column types shared by the apps."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import EmptyResultSet
from django.core.validators import RegexValidator
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import lookups


class AsciiCharField(models.CharField):
    """Short machine text (numbers, keys, codes): ascii with binary collation on MariaDB.

    A quarter of utf8mb4's index size, and "A" ≠ "a" in unique keys. SQLite compares bytes anyway. Looking for text that
    is not ascii finds nothing; MariaDB itself would refuse the comparison (1267, illegal mix of collations).
    """

    default_validators = [RegexValidator(r"\A[\x20-\x7e]*\Z", "Only ASCII characters.", code="not_ascii")]

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


class _FindsAsciiOnly:
    """Text outside of ascii is in no such column: the answer is "nothing", not the server's error."""

    rhs: Any

    def as_sql(self, compiler: Any, connection: BaseDatabaseWrapper) -> Any:
        if isinstance(self.rhs, str) and not self.rhs.isascii():
            raise EmptyResultSet
        return super().as_sql(compiler, connection)  # type: ignore[misc]


class _InAscii(lookups.In):
    def get_prep_lookup(self) -> Any:
        values = super().get_prep_lookup()
        if not self.rhs_is_direct_value():
            return values
        return [value for value in values if not isinstance(value, str) or value.isascii()]


for _lookup in (
    lookups.Exact,
    lookups.IExact,
    lookups.Contains,
    lookups.IContains,
    lookups.StartsWith,
    lookups.IStartsWith,
    lookups.EndsWith,
    lookups.IEndsWith,
):
    AsciiCharField.register_lookup(type(f"Ascii{_lookup.__name__}", (_FindsAsciiOnly, _lookup), {}))
AsciiCharField.register_lookup(_InAscii)

"""Who pays or receives, as the two ids that all databases share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Person:
    """An employee and his enterprise (primary keys of identity)."""

    employee_id: int
    enterprise_id: int

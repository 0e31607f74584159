"""Employees and enterprises for foundation.flags, which must not know who they are."""

from __future__ import annotations

from collections.abc import Sequence

from foundation import flags
from foundation.flags import Enterprise, Person
from identity import selectors as identity
from identity.models import Employee
from identity.models import Enterprise as EnterpriseRow


class Directory:
    """Looked up in `identity`."""

    def find_person(self, *, employee_id: int) -> Person | None:
        """None for a number that is no employee's."""
        found = identity.get_employees(employee_ids=[employee_id]).get(employee_id)
        if found is None:
            return None
        return Person(
            employee_id=found.pk,
            employee_code=found.code,
            enterprise_id=found.enterprise_id,
            enterprise_code=found.enterprise.code,
        )

    def list_enterprises(self, *, limit: int) -> Sequence[Enterprise]:
        """The first `limit` by code, each with the numbers of its active employees."""
        rows = list(EnterpriseRow.objects.order_by("code")[:limit])
        members: dict[int, list[int]] = {row.pk: [] for row in rows}
        people = Employee.objects.filter(enterprise_id__in=members, is_active=True).order_by("pk")
        for employee_id, enterprise_id in people.values_list("pk", "enterprise_id"):
            members[enterprise_id].append(employee_id)
        return [
            Enterprise(id=row.pk, code=row.code, name=row.name, employee_ids=tuple(members[row.pk])) for row in rows
        ]


flags.use_directory(Directory())

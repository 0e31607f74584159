"""Reads of enterprises, employees and groups."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Prefetch, prefetch_related_objects

from foundation.errors import NotFound
from identity.models import Employee, Enterprise, Group, GroupMember


def get_employee(*, employee_id: int) -> Employee:
    """The employee with his enterprise; NotFound when there is none."""
    found = Employee.objects.select_related("enterprise").filter(pk=employee_id).first()
    if found is None:
        raise NotFound({"employee": employee_id})
    return found


def get_employees(*, employee_ids: Sequence[int]) -> dict[int, Employee]:
    """Employees by id; unknown ids are left out."""
    return Employee.objects.select_related("enterprise").in_bulk(list(employee_ids))


def list_enterprise_names(*, enterprise_ids: Sequence[int]) -> dict[int, str]:
    """Names of the enterprises that exist among these."""
    return dict(Enterprise.objects.filter(pk__in=enterprise_ids).values_list("pk", "name"))


def find_employee(*, enterprise_id: int, code: str) -> Employee:
    """The employee of that code in one enterprise; NotFound when there is none."""
    found = None
    if code.isascii():  # MariaDB refuses to compare anything else with an ascii column
        found = Employee.objects.filter(enterprise_id=enterprise_id, code=code, is_active=True).first()
    if found is None:
        raise NotFound({"employee": code[:32]})
    return found


def get_group(*, group_id: str, enterprise_id: int) -> Group:
    """A group of the enterprise; NotFound also for another enterprise's."""
    found = None
    if group_id.isascii():  # MariaDB refuses to compare anything else with an ascii column
        found = Group.objects.filter(pk=group_id, enterprise_id=enterprise_id).first()
    if found is None:
        raise NotFound({"group": group_id[:32]})
    return found


def list_group_member_ids(*, group_id: str) -> list[int]:
    """Ids of the members, in the order of their joining."""
    return list(GroupMember.objects.filter(group_id=group_id).order_by("id").values_list("employee_id", flat=True))


def is_group_member(*, group_id: str, employee_id: int) -> bool:
    return GroupMember.objects.filter(group_id=group_id, employee_id=employee_id).exists()


def list_groups(*, employee: Employee) -> list[Group]:
    """The groups an employee is in, oldest first, members loaded."""
    groups = list(Group.objects.filter(members__employee=employee).order_by("id"))
    load_members(groups=groups)
    return groups


def load_members(*, groups: Sequence[Group]) -> None:
    """Fills `members` of all groups with their employees, in the order of joining, in one query."""
    rows = GroupMember.objects.select_related("employee").order_by("id")
    prefetch_related_objects(groups, Prefetch("members", queryset=rows))


def push_owner(*, employee_id: int) -> str:
    """The label under which foundation.push knows an employee's channel."""
    return f"employee:{employee_id}"

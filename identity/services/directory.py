"""Creates enterprises, employees and groups."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from foundation import crypto
from foundation.db import roles, transactions
from foundation.errors import InvalidRequest
from identity.models import PHONE_COLUMN, Employee, Enterprise, Group, GroupMember

GROUP_MAX_MEMBERS = 20_000
NAME_MAX_LENGTH = 60


def create_enterprise(*, code: str, name: str) -> Enterprise:
    """A new enterprise; IntegrityError when the code is taken."""
    return Enterprise.objects.create(code=code, name=name)


def create_employee(*, enterprise_id: int, code: str, name: str, password: str, phone: str = "") -> Employee:
    """A new employee who can log in with `password`; codes go to `phone` (stored closed)."""
    closed = crypto.encrypt(phone, column=PHONE_COLUMN) if phone else ""
    employee = Employee(enterprise_id=enterprise_id, code=code, name=name, phone=closed)
    employee.set_password(password)
    employee.save()
    return employee


def create_group(*, enterprise_id: int, name: str, employee_ids: Sequence[int], now: dt.datetime) -> Group:
    """A new group of employees of one enterprise, in one commit. Raises InvalidRequest for anybody else's employees."""
    wanted = list(dict.fromkeys(employee_ids))
    if not wanted or len(wanted) > GROUP_MAX_MEMBERS:
        raise InvalidRequest({"employees": [f"1 to {GROUP_MAX_MEMBERS} members"]})
    known = Employee.objects.filter(pk__in=wanted, enterprise_id=enterprise_id).count()
    if known != len(wanted):
        raise InvalidRequest({"employees": ["only employees of the own enterprise"]})

    def work() -> Group:
        group = Group.objects.create(enterprise_id=enterprise_id, name=name, created_at=now)
        GroupMember.objects.bulk_create(
            [GroupMember(group=group, employee_id=employee_id) for employee_id in wanted], batch_size=1000
        )
        return group

    return transactions.run(work, using=roles.alias_for("default"))


def create_group_of(*, creator: Employee, name: str, employee_codes: Sequence[str], now: dt.datetime) -> Group:
    """A group by an employee: the named colleagues and himself. Raises InvalidRequest naming unknown codes."""
    clean = name.strip()
    if not clean or len(clean) > NAME_MAX_LENGTH or not clean.isprintable():
        raise InvalidRequest({"name": [f"1 to {NAME_MAX_LENGTH} printable characters"]})
    codes = set(employee_codes)
    found = dict(
        Employee.objects.filter(
            enterprise_id=creator.enterprise_id,
            code__in=[code for code in codes if code.isascii()],  # MariaDB refuses to compare others with ascii
            is_active=True,
        ).values_list("code", "pk")
    )
    unknown = sorted(codes - set(found))
    if unknown:
        raise InvalidRequest({"employees": [f"unknown: {', '.join(unknown[:10])}"]})
    return create_group(
        enterprise_id=creator.enterprise_id, name=clean, employee_ids=[creator.pk, *sorted(found.values())], now=now
    )

"""Enterprises that bind receiving accounts, and staff who look at them."""

from __future__ import annotations

import datetime as dt
import uuid

from django.contrib.auth.models import User

from collect.models import Binding
from collect.services import binding
from collect.services.binding import Maker
from identity.models import Employee
from tests import worlds

NOW = dt.datetime(2026, 11, 23, 2, 0, tzinfo=dt.UTC)
EVIDENCE = "Looked up at the provider, name and licence agree"


def staff(name: str = "staff") -> User:
    return User.objects.create_user(f"{name}-{uuid.uuid4().hex[:8]}", is_staff=True, is_superuser=True)


def merchant() -> Employee:
    return worlds.make_world(1).employees[0]


def wechat_number() -> str:
    return f"{uuid.uuid4().int % 9 + 1}{uuid.uuid4().int % 10**9:09d}"


def draft(employee: Employee, *, channel: str = "wechat", number: str = "", name: str = "Corner shop") -> Binding:
    return binding.propose(
        enterprise_id=employee.enterprise_id,
        channel=channel,
        sub_merchant_no=number or wechat_number(),
        display_name=name,
        maker=Maker(employee_id=employee.pk),
        now=NOW,
    )


def approved(employee: Employee) -> Binding:
    row, first, second = draft(employee), staff("verifier"), staff("approver")
    binding.verify(binding_id=row.pk, user_id=first.pk, evidence=EVIDENCE, now=NOW)
    return binding.approve(binding_id=row.pk, user_id=second.pk, now=NOW)


def active(employee: Employee) -> Binding:
    return binding.activate(binding_id=approved(employee).pk, actor=f"employee:{employee.pk}", now=NOW)

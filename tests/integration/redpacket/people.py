"""Employees, groups and money for the tests of red packets: fresh ones for each test, so nothing needs flushing."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from foundation import clock
from funds import selectors as funds
from funds.domain import movements
from funds.domain.entries import employee_account
from funds.services import ledger
from identity.models import Employee, Enterprise, Group, GroupMember
from payments.domain.people import Person
from payments.services import numbers


@dataclass(frozen=True, kw_only=True)
class People:
    """One enterprise; the first of `members` sends. All of them are in the group."""

    enterprise_id: int
    group_id: str
    members: tuple[Person, ...]

    @property
    def sender(self) -> Person:
        return self.members[0]


def make_people(*, count: int) -> People:
    """An enterprise with `count` employees, all in one group."""
    mark = secrets.token_hex(6)
    enterprise = Enterprise.objects.create(code=f"e{mark}", name=f"Enterprise {mark}")
    Employee.objects.bulk_create(
        Employee(enterprise=enterprise, code=f"p{number}", name=f"Person {number}", password="!")
        for number in range(count)
    )
    employees = list(Employee.objects.filter(enterprise=enterprise).order_by("pk"))
    group = Group.objects.create(enterprise=enterprise, name=f"Group {mark}")
    GroupMember.objects.bulk_create(GroupMember(group=group, employee=employee) for employee in employees)
    members = tuple(Person(employee_id=employee.pk, enterprise_id=enterprise.pk) for employee in employees)
    return People(enterprise_id=enterprise.pk, group_id=group.pk, members=members)


def code_of(person: Person) -> str:
    """The employee's code, by which the API names him."""
    return Employee.objects.get(pk=person.employee_id).code


def give_money(person: Person, *, amount_fen: int) -> None:
    """Puts money into the wallet as a recharge does."""
    order_no = numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=person.employee_id)
    entry = movements.recharge(
        order_no=order_no,
        attempt_no=order_no,
        channel="wechat",
        owner=employee_account(person.employee_id, person.enterprise_id),
        amount_fen=amount_fen,
    )
    ledger.in_transaction(lambda: ledger.post(entry=entry, now=clock.now()))


def wallet(person: Person) -> tuple[int, int]:
    """(available, frozen) in fen."""
    found = funds.get_wallet(account=employee_account(person.employee_id, person.enterprise_id))
    return found.available_fen, found.frozen_fen

"""Employees and their wallets as red packets name them: by their two ids. Fresh ones for each test."""

from __future__ import annotations

from dataclasses import dataclass

from identity.models import Employee
from payments.domain.people import Person
from tests import worlds


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
    world = worlds.make_world(count)
    members = tuple(Person(employee_id=employee.pk, enterprise_id=world.enterprise.pk) for employee in world.employees)
    return People(enterprise_id=world.enterprise.pk, group_id=world.group.pk, members=members)


def employee_of(person: Person) -> Employee:
    return Employee.objects.select_related("enterprise").get(pk=person.employee_id)


def code_of(person: Person) -> str:
    """The employee's code, by which the API names him."""
    return employee_of(person).code


def give_money(person: Person, *, amount_fen: int) -> None:
    """Puts money into the wallet as a recharge does."""
    worlds.give_money(employee_of(person), amount_fen)


def wallet(person: Person) -> tuple[int, int]:
    """(available, frozen) in fen."""
    return worlds.wallet_of(employee_of(person))

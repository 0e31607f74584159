"""Small worlds for tests: fresh enterprises and employees, log-ins, money to start with."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from foundation import clock
from funds.domain import movements
from funds.domain.entries import employee_account
from funds.selectors import get_wallet
from funds.services import ledger
from identity.models import Employee, Enterprise, Group
from identity.services import directory, login
from orders.domain.records import NewOrder
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.services import advancing, numbers, opening

PASSWORD = "correct-horse-battery"
NOW = dt.datetime(2026, 11, 22, 2, 0, tzinfo=dt.UTC)
"""10:00 in Shanghai."""


@dataclass(frozen=True)
class World:
    """One enterprise with its employees and a group of all of them."""

    enterprise: Enterprise
    employees: list[Employee]
    group: Group


def make_world(size: int) -> World:
    """A fresh enterprise with `size` employees who are all in one group; names never repeat."""
    code = f"t{uuid.uuid4().hex[:12]}"
    enterprise = directory.create_enterprise(code=code, name=f"Test {code}")
    first = directory.create_employee(enterprise_id=enterprise.pk, code="e0001", name="First", password=PASSWORD)
    rest = [
        Employee(enterprise=enterprise, code=f"e{number:04d}", name=f"Person {number}", password=first.password)
        for number in range(2, size + 1)
    ]
    Employee.objects.bulk_create(rest)
    employees = list(Employee.objects.filter(enterprise=enterprise).order_by("code"))
    group = directory.create_group(
        enterprise_id=enterprise.pk, name="All", employee_ids=[person.pk for person in employees], now=NOW
    )
    return World(enterprise=enterprise, employees=employees, group=group)


def token_of(employee: Employee) -> str:
    """An access token by a real log-in."""
    issued = login.log_in(
        enterprise_code=employee.enterprise.code, employee_code=employee.code, password=PASSWORD, now=clock.now()
    )
    return issued.access_token


def give_money(employee: Employee, amount_fen: int) -> str:
    """A finished recharge with order, attempt and journal; returns the order number."""
    order_no = numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=employee.pk)
    attempt_no = numbers.issue_attempt(order_no=order_no)
    now = clock.now()
    new = NewOrder(
        order_no=order_no,
        kind=OrderKind.RECHARGE,
        amount_fen=amount_fen,
        employee_id=employee.pk,
        enterprise_id=employee.enterprise_id,
        subject="Starting money",
    )
    opening.open_order(new=new, now=now)
    opening.open_attempt(
        order_no=order_no, attempt_no=attempt_no, channel="wechat", scene="native", amount_fen=amount_fen, now=now
    )
    entry = movements.recharge(
        order_no=order_no,
        attempt_no=attempt_no,
        channel="wechat",
        owner=employee_account(employee.pk, employee.enterprise_id),
        amount_fen=amount_fen,
    )
    ledger.in_transaction(lambda: ledger.post(entry=entry, now=now))
    advancing.advance_attempt(
        attempt_no=attempt_no, target=AttemptState.SUCCESS, fields={"effective": 1, "finished_at": now}
    )
    advancing.advance_order(
        order_no=order_no,
        target=OrderState.SUCCESS,
        fields={"paid_at": now, "effective_attempt_no": attempt_no},
    )
    return order_no


def wallet_of(employee: Employee) -> tuple[int, int]:
    """(available, frozen) in fen."""
    wallet = get_wallet(account=employee_account(employee.pk, employee.enterprise_id))
    return wallet.available_fen, wallet.frozen_fen

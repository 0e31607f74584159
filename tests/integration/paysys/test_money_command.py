"""`manage.py money prove`: figures, and exit status 1 when a single fen is wrong."""

from __future__ import annotations

import datetime as dt
import io
import json

import pytest
from django.core.management import call_command

from foundation import clock
from foundation.models import Alert
from funds.models import Account
from orders.domain import numbers
from orders.domain.states import OrderState
from orders.models import ORDER_TABLES
from paysys import proofs
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")


def prove(*options: str) -> str:
    output = io.StringIO()
    call_command("money", "prove", *options, stdout=output)
    return output.getvalue()


def test_balanced_books_are_said_to_balance() -> None:
    worlds.give_money(worlds.make_world(1).employees[0], 500)
    text = prove()
    assert text.endswith("books balance\n")
    assert "BROKEN" not in text
    assert json.loads(prove("--json"))["balanced"] is True


def test_one_fen_moved_by_sql_is_found_and_named() -> None:
    employee = worlds.make_world(1).employees[0]
    worlds.give_money(employee, 500)
    row = Account.objects.get(owner_id=str(employee.pk), code="2010")
    Account.objects.filter(pk=row.pk).update(available_fen=501)
    output = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("money", "prove", stdout=output)
    assert ended.value.code == 1
    assert "BROKEN  customer balances equal their postings" in output.getvalue()
    assert f"{row.pk} (501)" in output.getvalue()


def test_an_order_behind_its_journal_is_found() -> None:
    order_no = worlds.give_money(worlds.make_world(1).employees[0], 500)
    ORDER_TABLES[numbers.table_of(order_no)].objects.filter(pk=order_no).update(state=OrderState.PENDING)
    output = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("money", "prove", stdout=output)
    assert "BROKEN  every payment journal has its successful order" in output.getvalue()
    assert order_no in output.getvalue()


def test_the_hourly_job_waits_for_orders_in_flight_and_alerts_about_older_ones() -> None:
    order_no = worlds.give_money(worlds.make_world(1).employees[0], 500)
    ORDER_TABLES[numbers.table_of(order_no)].objects.filter(pk=order_no).update(state=OrderState.PENDING)
    name = "every payment journal has its successful order"
    assert name not in proofs.ProveBooks().run(now=clock.now())["broken"]
    assert name in proofs.ProveBooks().run(now=clock.now() + dt.timedelta(minutes=6))["broken"]
    assert order_no in Alert.objects.get(code="books_do_not_balance", subject=name).message


def test_a_successful_order_without_a_journal_is_found() -> None:
    from orders.domain.records import NewOrder
    from orders.domain.states import OrderKind
    from orders.services import numbers as issuing
    from orders.services import opening

    order_no = issuing.issue(prefix=numbers.Prefix.RECHARGE, account_id=1)
    new = NewOrder(order_no=order_no, kind=OrderKind.RECHARGE, amount_fen=5, employee_id=1, enterprise_id=1)
    opening.open_order(new=new, state=OrderState.SUCCESS, now=worlds.NOW)
    output = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("money", "prove", stdout=output)
    assert "BROKEN  every successful order has its journal" in output.getvalue()

"""A verified notice of another kind never books as a payment, whatever number it names."""

from __future__ import annotations

import pytest

from foundation import clock
from foundation.errors import NotFound
from gateway.ports import NoticeFact, NoticeKind, Outcome, Result
from orders import selectors as orders
from orders.domain.records import NewOrder
from orders.domain.states import AttemptState, OrderKind
from orders.services import numbers, opening
from payments.services import notices
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")


def test_a_payout_notice_that_names_an_attempt_credits_nothing() -> None:
    employee = worlds.make_world(1).employees[0]
    order_no = numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=employee.pk)
    attempt_no = numbers.issue_attempt(order_no=order_no)
    new = NewOrder(
        order_no=order_no,
        kind=OrderKind.RECHARGE,
        amount_fen=100,
        employee_id=employee.pk,
        enterprise_id=employee.enterprise_id,
        subject="x",
    )
    opening.open_order(new=new, now=clock.now())
    opening.open_attempt(
        order_no=order_no, attempt_no=attempt_no, channel="wechat", scene="", amount_fen=100, now=clock.now()
    )
    fact = NoticeFact(
        event_id="e1",
        kind=NoticeKind.PAYOUT,
        number=attempt_no,
        result=Result(outcome=Outcome.SUCCESS, amount_fen=100),
    )
    with pytest.raises(NotFound):
        notices._act("wechat", fact, clock.now())
    assert worlds.wallet_of(employee) == (0, 0)
    assert orders.get_attempt(attempt_no=attempt_no).state is AttemptState.CREATED

"""Orders of fresh employees for the tests of this folder."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid

from orders.domain.numbers import Prefix
from orders.domain.records import NewAttempt, NewOrder, OrderRecord
from orders.domain.states import OrderKind
from orders.services import numbers, opening
from tests import worlds

NOW = worlds.NOW
ids = itertools.count(uuid.uuid4().int % 10**9 + 10**9)


def new_order(employee_id: int, **more: object) -> NewOrder:
    values: dict = {"kind": OrderKind.RECHARGE, "amount_fen": 100, "enterprise_id": 1, **more}
    return NewOrder(
        order_no=numbers.issue(prefix=Prefix.RECHARGE, account_id=employee_id), employee_id=employee_id, **values
    )


def open_order(employee_id: int, *, at: dt.datetime = NOW, **more: object) -> OrderRecord:
    return opening.open_order(new=new_order(employee_id, **more), now=at)


def new_attempt(order_no: str, *, channel: str = "wechat", amount_fen: int = 100) -> NewAttempt:
    return NewAttempt(
        attempt_no=numbers.issue_attempt(order_no=order_no), channel=channel, scene="native", amount_fen=amount_fen
    )


def open_paid_by(employee_id: int, channel: str, *, at: dt.datetime = NOW, **more: object) -> OrderRecord:
    new = new_order(employee_id, **more)
    return opening.open_with_attempt(new=new, attempt=new_attempt(new.order_no, channel=channel), now=at)

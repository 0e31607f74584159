"""Recharges and the channel they take: named, left open, switched off; what a refusal leaves behind."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from foundation import clock
from foundation.errors import Busy
from gateway import registry, selectors
from gateway.models import ChannelSetting, ClientGrade, RoutingDecision
from gateway.ports import Outcome, PrepayRequest, Result
from gateway.services import calls
from identity.models import Employee
from orders import selectors as orders
from orders.domain.records import NewOrder
from orders.domain.states import OrderKind
from orders.services import numbers, opening
from payments.domain.channels import AUTO
from payments.domain.people import Person
from payments.services import purchase, recharging
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")
CODE = {"kind": "code_url", "code_url": "weixin://pay/1"}


@pytest.fixture(autouse=True)
def set_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "adapter", lambda channel: object())
    monkeypatch.setattr(registry, "payment_channels", lambda: ("alipay", "wechat"))
    selectors.forget()
    yield
    selectors.forget()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(channel, attempt number) of each prepay that reached a provider."""
    seen: list[tuple[str, str]] = []

    def prepay(*, channel: str, request: PrepayRequest) -> Result:
        seen.append((channel, request.attempt_no))
        return Result(outcome=Outcome.SUCCESS, payment=CODE)

    monkeypatch.setattr(calls, "prepay", prepay)
    return seen


@pytest.fixture
def employee() -> Employee:
    return worlds.make_world(1).employees[0]


def setting(code: str, **values: object) -> None:
    ChannelSetting.objects.create(code=code, **values)
    selectors.forget()


def number(employee: Employee) -> str:
    return numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=employee.pk)


def recharge(employee: Employee, channel: str, order_no: str = "", amount_fen: int = 300) -> purchase.Purchase:
    return recharging.recharge(
        order_no=order_no or number(employee),
        payer=Person(employee_id=employee.pk, enterprise_id=employee.enterprise_id),
        amount_fen=amount_fen,
        channel=channel,
        scene="native",
        now=clock.now(),
    )


def decisions(order_no: str) -> list[tuple[str, str, str, bool, int]]:
    found = RoutingDecision.objects.filter(order_no=order_no).order_by("id")
    return list(found.values_list("chosen", "kind", "client_class", "is_named", "amount_fen"))


def test_a_named_channel_is_used(sent: list, employee: Employee) -> None:
    bought = recharge(employee, "wechat")
    assert sent == [("wechat", bought.order.attempts[0].attempt_no)]
    assert decisions(bought.order.order_no) == [("wechat", "recharge", "ORDINARY", True, 300)]


def test_a_channel_that_is_switched_off_opens_nothing_and_traffic_moves(sent: list, employee: Employee) -> None:
    setting("wechat", is_enabled=False)
    order_no = number(employee)
    with pytest.raises(registry.ChannelUnavailable) as caught:
        recharge(employee, "wechat", order_no)
    assert caught.value.details == {"channel": "wechat", "reason": "disabled"}
    assert orders.list_orders(employee_id=employee.pk, limit=5).items == ()
    assert decisions(order_no) == [("", "recharge", "ORDINARY", True, 300)]
    assert sent == []
    bought = [recharge(employee, AUTO) for _ in range(5)]
    assert [one.order.attempts[0].channel for one in bought] == ["alipay"] * 5


def test_a_retry_of_an_open_choice_keeps_channel_and_attempt(
    sent: list, employee: Employee, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = calls.prepay
    monkeypatch.setattr(calls, "prepay", lambda **_: Result(outcome=Outcome.UNKNOWN, code="timeout"))
    order_no = number(employee)
    with pytest.raises(Busy):
        recharge(employee, AUTO, order_no)
    first = orders.get_order(order_no=order_no).attempts
    other = "alipay" if first[0].channel == "wechat" else "wechat"
    setting(first[0].channel, weight=0)
    setting(other, weight=10_000)
    monkeypatch.setattr(calls, "prepay", working)
    bought = recharge(employee, AUTO, order_no)
    assert [(row.channel, row.attempt_no) for row in bought.order.attempts] == [(first[0].channel, first[0].attempt_no)]
    assert sent == [(first[0].channel, first[0].attempt_no)]
    assert decisions(order_no) == [(first[0].channel, "recharge", "ORDINARY", False, 300)]


def test_a_graded_enterprise_goes_its_own_way(sent: list, employee: Employee) -> None:
    setting("wechat", client_classes=["VIP"])
    with pytest.raises(registry.ChannelUnavailable) as caught:
        recharge(employee, "wechat")
    assert caught.value.details["reason"] == "client_class"
    ClientGrade.objects.create(enterprise_id=employee.enterprise_id, client_class="VIP")
    bought = recharge(employee, "wechat")
    assert decisions(bought.order.order_no) == [("wechat", "recharge", "VIP", True, 300)]


def test_the_amount_decides(sent: list, employee: Employee) -> None:
    setting("wechat", max_fen=1000)
    setting("alipay", min_fen=1001)
    bought = [recharge(employee, AUTO, amount_fen=amount_fen) for amount_fen in (1000, 1001)]
    assert [one.order.attempts[0].channel for one in bought] == ["wechat", "alipay"]


def test_a_further_attempt_is_judged_and_an_order_that_ended_is_not(sent: list, employee: Employee) -> None:
    bought = recharge(employee, "wechat")
    order_no = bought.order.order_no
    setting("alipay", kinds=["redpacket"])
    with pytest.raises(registry.ChannelUnavailable) as caught:
        purchase.try_channel(order_no=order_no, channel="alipay", scene="native", now=clock.now())
    assert caught.value.details == {"channel": "alipay", "reason": "kind"}
    assert len(orders.get_order(order_no=order_no).attempts) == 1
    again = purchase.try_channel(order_no=order_no, channel="wechat", scene="native", now=clock.now())
    assert again.payment == CODE
    assert len(sent) == 1
    paid = worlds.give_money(employee, 100)
    assert purchase.try_channel(order_no=paid, channel="wechat", scene="native", now=clock.now()).payment == {
        "kind": "none"
    }
    assert decisions(paid) == []


def test_an_order_that_no_channel_pays_takes_no_attempt(sent: list, employee: Employee) -> None:
    order_no = numbers.issue(prefix=numbers.Prefix.TRANSFER, account_id=employee.pk)
    new = NewOrder(
        order_no=order_no,
        kind=OrderKind.TRANSFER,
        amount_fen=300,
        employee_id=employee.pk,
        enterprise_id=employee.enterprise_id,
        subject="x",
    )
    opening.open_order(new=new, now=clock.now())
    with pytest.raises(purchase.OrderNotPayable):
        purchase.try_channel(order_no=order_no, channel="wechat", scene="native", now=clock.now())
    assert (orders.get_order(order_no=order_no).attempts, decisions(order_no), sent) == ((), [], [])


def post(employee: Employee, path: str, body: dict[str, object], key: str) -> Any:
    headers = {"Authorization": f"Bearer {worlds.token_of(employee)}", "Idempotency-Key": key}
    return Client().post(f"/api/v1/{path}", data=body, content_type="application/json", headers=headers)


def test_auto_over_the_api_is_recorded_and_a_repeated_request_keeps_it(
    sent: list, employee: Employee, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = calls.prepay
    monkeypatch.setattr(calls, "prepay", lambda **_: Result(outcome=Outcome.UNKNOWN, code="timeout"))
    body = {"amount_fen": 300, "channel": "auto", "scene": "native"}
    key = uuid.uuid4().hex
    assert post(employee, "recharges", body, key).status_code == 503
    (first,) = orders.list_orders(employee_id=employee.pk, limit=5).items
    chosen = first.attempts[0].channel
    setting(chosen, weight=0)
    monkeypatch.setattr(calls, "prepay", working)
    answer = post(employee, "recharges", body, key)
    assert answer.status_code == 201, answer.content
    order = answer.json()["order"]
    assert order["order_no"] == first.order_no
    assert [row["channel"] for row in order["attempts"]] == [chosen]
    assert decisions(first.order_no) == [(chosen, "recharge", "ORDINARY", False, 300)]
    assert sent == [(chosen, first.attempts[0].attempt_no)]


def test_auto_for_a_further_attempt_needs_a_scene(sent: list, employee: Employee) -> None:
    setting("alipay", is_enabled=False)
    order_no = recharge(employee, "wechat").order.order_no
    setting("wechat", is_enabled=False)
    ChannelSetting.objects.filter(code="alipay").update(is_enabled=True)
    selectors.forget()
    path = f"orders/{order_no}/attempts"
    refused = post(employee, path, {"channel": "auto"}, uuid.uuid4().hex)
    assert (refused.status_code, refused.json()["error"]["details"]) == (400, {"scene": ["needed for a channel"]})
    assert [channel for channel, _ in sent] == ["wechat"]
    answer = post(employee, path, {"channel": "auto", "scene": "native"}, uuid.uuid4().hex)
    assert answer.status_code == 201, answer.content
    assert [channel for channel, _ in sent] == ["wechat", "alipay"]
    assert decisions(order_no)[-1] == ("alipay", "recharge", "ORDINARY", False, 300)

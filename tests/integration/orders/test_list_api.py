"""`GET orders` and `GET orders/pages` with filters: what is shown, and what is refused per field."""

from __future__ import annotations

import datetime as dt

import pytest
from django.test import Client

from identity.models import Employee
from orders import selectors
from orders.domain.states import OrderKind, OrderState
from orders.services import advancing
from tests import worlds
from tests.integration.orders.samples import NOW, open_paid_by

database = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def employee() -> Employee:
    return worlds.make_world(1).employees[0]


def ask(employee: Employee, path: str, **query: str) -> tuple[int, dict]:
    answer = Client().get(f"/api/v1/{path}", query, headers={"Authorization": f"Bearer {worlds.token_of(employee)}"})
    return answer.status_code, answer.json()


@database
@pytest.mark.parametrize("path", ["orders", "orders/pages"])
def test_filters_of_both_lists(employee: Employee, path: str) -> None:
    made = []
    for index, channel in enumerate(("wechat", "alipay", "wallet", "wechat", "alipay", "wallet")):
        kind = OrderKind.PAYMENT if index < 3 else OrderKind.RECHARGE
        order = open_paid_by(employee.pk, channel, at=NOW + dt.timedelta(hours=index), kind=kind)
        if index % 2:
            advancing.advance_order(order_no=order.order_no, target=OrderState.CLOSED)
        made.append(order.order_no)
    more = {"as_of": "2030-01-01T00:00:00Z"} if path == "orders/pages" else {}
    for query, expected in (
        ({}, [5, 4, 3, 2, 1, 0]),
        ({"channel": "wechat"}, [3, 0]),
        ({"kind": "PAYMENT", "state": "CLOSED"}, [1]),
        ({"from": "2026-11-22T11:00:00+08:00"}, [5, 4, 3, 2, 1]),
        ({"to": "2026-11-22T11:00:00+08:00"}, [0]),
        ({"from": "2026-11-22T03:00:00Z", "to": "2026-11-22T05:00:00Z", "channel": "wallet"}, [2]),
        ({"channel": "kuaiqian"}, []),
    ):
        status, answer = ask(employee, path, **query, **more)
        assert status == 200, answer
        assert [row["order_no"] for row in answer["items"]] == [made[index] for index in expected], query
        if more:
            assert answer["total"] == len(expected)


@database
def test_the_cursor_goes_on_within_the_filter(employee: Employee) -> None:
    made = [
        open_paid_by(employee.pk, ("wechat", "alipay")[index % 2], at=NOW + dt.timedelta(seconds=index)).order_no
        for index in range(10)
    ]
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        status, answer = ask(employee, "orders", channel="wechat", limit="2", cursor=cursor)
        assert status == 200, answer
        seen += [row["order_no"] for row in answer["items"]]
        cursor = answer["next_cursor"]
    assert seen == made[8::-2]


@database
@pytest.mark.parametrize("path", ["orders", "orders/pages"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"channel": "paypal"}, "channel"),
        ({"kind": "recharge"}, "kind"),
        ({"state": "PAID"}, "state"),
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-13-01T00:00:00Z"}, "to"),
        ({"from": "9999-12-31T23:59:59Z"}, "from"),
        ({"from": "2026-11-22T00:00:00Z", "to": "2026-11-22T00:00:00Z"}, "to"),
        ({"created_from": "2026-11-22T00:00:00Z"}, "created_from"),
    ],
)
def test_a_bad_filter_is_refused_with_its_field(employee: Employee, path: str, query: dict, field: str) -> None:
    status, answer = ask(employee, path, **query)
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    assert list(answer["error"]["details"]) == [field]


@database
def test_a_list_that_takes_too_long_is_busy(employee: Employee, monkeypatch: pytest.MonkeyPatch) -> None:
    from foundation.errors import Busy

    def slow(**_: object) -> None:
        raise Busy({"reason": "list_takes_too_long", "use": "narrower filters"}, retry_after_seconds=5)

    monkeypatch.setattr(selectors, "list_orders", slow)
    status, answer = ask(employee, "orders")
    assert (status, answer["error"]["code"]) == (503, "busy")
    assert answer["error"]["details"]["use"] == "narrower filters"


def test_the_schema_names_the_filters() -> None:
    schema = Client().get("/api/schema/", headers={"Accept": "application/json"}).json()
    for path in ("/api/v1/orders", "/api/v1/orders/pages"):
        names = {parameter["name"] for parameter in schema["paths"][path]["get"]["parameters"]}
        assert names >= {"kind", "state", "channel", "from", "to"}
        channel = next(each for each in schema["paths"][path]["get"]["parameters"] if each["name"] == "channel")
        assert set(channel["schema"]["enum"]) == {"wechat", "alipay", "kuaiqian", "wallet"}

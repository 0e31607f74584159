"""Signed requests and payments of business backends: who gets in, whose order it is, whose money it becomes."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from foundation import clock
from foundation import redis as shared_redis
from foundation.api import idempotency
from foundation.errors import InvalidRequest, NotFound
from foundation.models import IdempotencyRecord
from funds.domain.entries import enterprise_account
from funds.selectors import get_wallet
from funds.services.ledger import InsufficientFunds
from orders import selectors as orders
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.services import numbers, opening
from payments.domain.people import Person
from payments.models import BusinessApp, BusinessOrder
from payments.services import business_payments, businesses, outcomes
from payments.services.businesses import ProductIdTaken
from payments.services.purchase import OrderNotPayable
from tests import worlds
from tests.books import assert_books_balance
from tests.integration.payments.business import Shop, open_shop

pytestmark = pytest.mark.usefixtures("committed_db")
INVALID = (401, "signature_invalid", {})


@pytest.fixture
def world() -> worlds.World:
    return worlds.make_world(2)


@pytest.fixture
def shop(world: worlds.World) -> Shop:
    return open_shop(world.enterprise.pk)


def wanted(**more: Any) -> dict[str, Any]:
    return {"business_order_no": f"B-{uuid.uuid4().hex}", "amount_fen": 1_250, "subject": "Two coffees", **more}


def said(answer: Any) -> tuple[int, str, dict[str, Any]]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["details"]


def ask(shop: Shop, **more: Any) -> str:
    answer = shop.post(wanted(**more), key=uuid.uuid4().hex)
    assert answer.status_code == 201, answer.content
    return str(answer.json()["order"]["order_no"])


def person(employee: Any) -> Person:
    return Person(employee_id=employee.pk, enterprise_id=employee.enterprise_id)


def enterprise_fen(world: worlds.World) -> int:
    return get_wallet(account=enterprise_account(world.enterprise.pk)).available_fen


def rows_of(shop: Shop) -> int:
    return BusinessOrder.objects.filter(app=shop.app).count()


# --- Signatures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"app": "nobody"},
        {"app": ""},
        {"app": "ü"},
        {"signature": "0" * 64},
        {"signature": "ü"},
        {"nonce": "short"},
        {"timestamp": "1"},
        {"timestamp": "soon"},
    ],
)
def test_any_flaw_is_the_same_refusal(shop: Shop, changed: dict[str, str]) -> None:
    assert said(shop.post(wanted(), key="k1", **changed)) == INVALID
    assert rows_of(shop) == 0


def test_a_request_outside_of_the_window_is_refused(shop: Shop) -> None:
    for seconds in (-305, 305):
        timestamp = str(int(clock.now().timestamp()) + seconds)
        assert said(shop.post(wanted(), key="k1", timestamp=timestamp)) == INVALID
    assert rows_of(shop) == 0


def test_a_nonce_serves_once_and_only_its_owner_uses_it_up(shop: Shop, world: worlds.World) -> None:
    nonce = uuid.uuid4().hex
    assert said(shop.post(wanted(), key="k1", nonce=nonce, signature="0" * 64)) == INVALID
    other = open_shop(world.enterprise.pk)
    assert other.post(wanted(), key="k1", nonce=nonce).status_code == 201
    assert shop.post(wanted(), key="k1", nonce=nonce).status_code == 201
    assert said(shop.post(wanted(), key="k2", nonce=nonce)) == INVALID
    assert rows_of(shop) == 1


def test_another_path_query_or_body_is_refused(shop: Shop) -> None:
    headers = shop.headers("GET", "/api/v1/orders/x")
    for path in ("/api/v1/orders/y", "/api/v1/orders/x?a=1"):
        assert said(Client().get(path, headers=headers)) == INVALID
    headers = {**shop.headers("POST", "/api/v1/payments", b"{}"), "Idempotency-Key": "k"}
    answer = Client().post("/api/v1/payments", data=b"{ }", content_type="application/json", headers=headers)
    assert said(answer) == INVALID


def test_the_query_is_signed(shop: Shop) -> None:
    order_no = ask(shop)
    assert shop.get(f"/api/v1/orders/{order_no}?a=%20b&c=1").status_code == 200


def test_nothing_passes_while_redis_is_away(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    away = redis.Redis(host="127.0.0.1", port=9, socket_connect_timeout=0.2)
    monkeypatch.setattr(shared_redis, "client", lambda: away)
    answer = shop.post(wanted(), key="k1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
    assert rows_of(shop) == 0


def test_a_switched_off_app_is_refused(shop: Shop) -> None:
    businesses.change(product_id=shop.app.pk, name="Shop", callback_url=shop.app.callback_url, is_active=False)
    assert said(shop.post(wanted(), key="k1")) == INVALID
    businesses.change(product_id=shop.app.pk, name="Shop", callback_url=shop.app.callback_url, is_active=True)
    assert shop.post(wanted(), key="k1").status_code == 201


def test_the_previous_secret_is_good_until_its_moment(shop: Shop) -> None:
    now = clock.now()
    made = businesses.rotate_secret(product_id=shop.app.pk, now=now)
    assert made.secret != shop.secret
    assert shop.post(wanted(), key="k1").status_code == 201
    assert Shop(app=made.app, secret=made.secret).post(wanted(), key="k2").status_code == 201
    app = BusinessApp.objects.get(pk=shop.app.pk)
    assert businesses.valid_secrets(app, now=now + dt.timedelta(hours=24)) == [made.secret]
    assert businesses.valid_secrets(app, now=now + dt.timedelta(hours=23)) == [made.secret, shop.secret]


def test_a_stolen_secret_ends_at_once(shop: Shop) -> None:
    businesses.rotate_secret(product_id=shop.app.pk, now=clock.now(), overlap=dt.timedelta(0))
    assert said(shop.post(wanted(), key="k1")) == INVALID


def test_secrets_are_stored_encrypted(shop: Shop) -> None:
    stored = BusinessApp.objects.values_list("secret", flat=True).get(pk=shop.app.pk)
    assert stored.startswith("v1:")
    assert shop.secret not in stored


def test_each_kind_of_caller_keeps_to_its_own_endpoints(shop: Shop, world: worlds.World) -> None:
    token = worlds.token_of(world.employees[0])
    bearer = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k"}
    asked = Client().post("/api/v1/payments", data=wanted(), content_type="application/json", headers=bearer)
    assert said(asked) == (401, "not_authenticated", {})
    assert said(shop.get("/api/v1/wallet")) == (401, "not_authenticated", {})
    assert said(Client().get("/api/v1/orders/x")) == (401, "not_authenticated", {})


# --- Registration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"product_id": "9shop"},
        {"product_id": "a b"},
        {"product_id": ""},
        {"callback_url": "ftp://x/"},
        {"callback_url": "https://u@x/"},
        {"enterprise_id": 0},
        {"name": ""},
    ],
)
def test_bad_registrations_are_refused(world: worlds.World, changed: dict[str, Any]) -> None:
    right = {
        "product_id": f"p{uuid.uuid4().hex[:8]}",
        "name": "n",
        "enterprise_id": world.enterprise.pk,
        "callback_url": "https://x/",
    }
    with pytest.raises(InvalidRequest):
        businesses.register(**{**right, **changed}, now=clock.now())
    assert not BusinessApp.objects.filter(enterprise=world.enterprise).exists()


def test_http_is_refused_where_it_is_not_allowed(world: worlds.World, settings: Any) -> None:
    settings.CALLBACK_HTTP_ALLOWED = False
    with pytest.raises(InvalidRequest):
        open_shop(world.enterprise.pk, "http://shop.example/cb")


def test_a_product_id_is_taken_once(shop: Shop, world: worlds.World) -> None:
    with pytest.raises(ProductIdTaken):
        businesses.register(
            product_id=shop.app.pk,
            name="n",
            enterprise_id=world.enterprise.pk,
            callback_url="https://x/",
            now=clock.now(),
        )
    assert shop.post(wanted(), key="k1").status_code == 201


# --- Asking for payments --------------------------------------------------------------------------------------------


def test_an_order_is_opened_to_be_paid(shop: Shop, world: worlds.World) -> None:
    body = wanted(employee=world.employees[0].code, expires_in_seconds=600)
    answer = shop.post(body, key="k1")
    assert answer.status_code == 201
    order = answer.json()["order"]
    stored = orders.get_order(order_no=order["order_no"])
    assert order["order_no"].startswith("PM")
    assert order == {
        "order_no": order["order_no"],
        "kind": "PAYMENT",
        "state": "PENDING",
        "amount_fen": 1_250,
        "refunded_fen": 0,
        "subject": "Two coffees",
        "created_at": order["created_at"],
        "paid_at": None,
        "attempts": [],
    }
    assert (stored.employee_id, stored.enterprise_id) == (world.employees[0].pk, world.enterprise.pk)
    assert (stored.kind, stored.business_no) == (OrderKind.PAYMENT, body["business_order_no"])
    assert stored.expires_at == stored.created_at + dt.timedelta(seconds=600)
    assert shop.get(f"/api/v1/orders/{order['order_no']}").json()["order"] == order


def test_the_same_key_gives_the_first_answer_and_another_body_is_refused(shop: Shop) -> None:
    body = wanted()
    first, again = shop.post(body, key="k1"), shop.post(body, key="k1")
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert said(shop.post({**body, "amount_fen": 1_251}, key="k1"))[:2] == (422, "idempotency_key_reused")
    assert said(shop.post(body))[:2] == (400, "idempotency_key_required")
    assert rows_of(shop) == 1


def test_a_business_order_number_is_one_order_whatever_the_key(shop: Shop, world: worlds.World) -> None:
    body = wanted()
    first, again = shop.post(body, key="k1"), shop.post(body, key="k2")
    assert again.status_code == 201
    assert again.json()["order"] == first.json()["order"]
    for changed in ({"amount_fen": 1_251}, {"subject": "Tea"}, {"employee": world.employees[0].code}):
        assert said(shop.post({**body, **changed}, key=uuid.uuid4().hex))[:2] == (409, "business_order_no_used")
    other = open_shop(world.enterprise.pk).post(body, key="k1")
    assert other.json()["order"]["order_no"] != first.json()["order"]["order_no"]
    assert rows_of(shop) == 1


def test_a_repeat_after_a_crash_goes_on_with_the_same_number(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    class Crash(BaseException):
        pass

    def dies(**_: Any) -> None:
        raise Crash

    body = wanted()
    with monkeypatch.context() as patched, pytest.raises(Crash):
        patched.setattr(opening, "open_order", dies)
        shop.post(body, key="k1")
    row = BusinessOrder.objects.get(app=shop.app)
    assert orders.find_order(order_no=row.order_no) is None
    assert shop.post(body, key="k2").json()["order"]["order_no"] == row.order_no
    assert orders.get_order(order_no=row.order_no).state is OrderState.PENDING


@pytest.mark.parametrize(
    "changed",
    [
        {"amount_fen": 0},
        {"amount_fen": -1},
        {"amount_fen": "10"},
        {"amount_fen": 1.5},
        {"amount_fen": True},
        {"business_order_no": ""},
        {"business_order_no": "a b"},
        {"business_order_no": "x" * 65},
        {"business_order_no": "ü"},
        {"subject": ""},
        {"subject": "x" * 61},
        {"expires_in_seconds": 59},
        {"expires_in_seconds": 86_401},
        {"unknown": 1},
    ],
)
def test_malformed_requests_are_refused(shop: Shop, changed: dict[str, Any]) -> None:
    assert said(shop.post(wanted(**changed), key="k1"))[:2] == (400, "invalid_request")
    assert rows_of(shop) == 0


def test_only_employees_of_the_apps_enterprise_are_named(shop: Shop) -> None:
    stranger = worlds.make_world(3).employees[2]
    assert said(shop.post(wanted(employee=stranger.code), key="k1"))[:2] == (404, "not_found")
    assert rows_of(shop) == 0


def test_orders_of_others_are_not_found(shop: Shop, world: worlds.World) -> None:
    order_no = ask(open_shop(world.enterprise.pk))
    private = worlds.give_money(world.employees[0], 100)
    for number in (order_no, private, "PM" + "0" * 30, "nonsense"):
        assert said(shop.get(f"/api/v1/orders/{number}"))[:2] == (404, "not_found")


# --- Paying them ----------------------------------------------------------------------------------------------------


def pay(world: worlds.World, employee: int, order_no: str, body: dict[str, Any]) -> Any:
    headers = {
        "Authorization": f"Bearer {worlds.token_of(world.employees[employee])}",
        "Idempotency-Key": uuid.uuid4().hex,
    }
    path = f"/api/v1/orders/{order_no}/attempts"
    return Client().post(path, data=body, content_type="application/json", headers=headers)


def test_anyone_of_the_enterprise_pays_an_open_order_from_the_wallet(shop: Shop, world: worlds.World) -> None:
    worlds.give_money(world.employees[1], 2_000)
    order_no = ask(shop)
    paid = business_payments.pay_from_wallet(order_no=order_no, payer=person(world.employees[1]), now=clock.now())
    assert paid.state is OrderState.SUCCESS
    assert [(row.channel, row.state, row.is_effective) for row in paid.attempts] == [
        ("wallet", AttemptState.SUCCESS, True)
    ]
    assert worlds.wallet_of(world.employees[1]) == (750, 0)
    assert enterprise_fen(world) == 1_250
    again = business_payments.pay_from_wallet(order_no=order_no, payer=person(world.employees[0]), now=clock.now())
    assert again == paid
    assert enterprise_fen(world) == 1_250
    assert_books_balance()


def test_a_named_employee_pays_alone(shop: Shop, world: worlds.World) -> None:
    for employee in world.employees:
        worlds.give_money(employee, 2_000)
    order_no = ask(shop, employee=world.employees[0].code)
    with pytest.raises(NotFound):
        business_payments.pay_from_wallet(order_no=order_no, payer=person(world.employees[1]), now=clock.now())
    assert worlds.wallet_of(world.employees[1]) == (2_000, 0)
    business_payments.pay_from_wallet(order_no=order_no, payer=person(world.employees[0]), now=clock.now())
    assert (worlds.wallet_of(world.employees[0]), enterprise_fen(world)) == ((750, 0), 1_250)


def test_strangers_neither_see_nor_pay_an_open_order(shop: Shop) -> None:
    order_no = ask(shop)
    stranger = worlds.make_world(1)
    worlds.give_money(stranger.employees[0], 2_000)
    assert said(pay(stranger, 0, order_no, {"channel": "wechat", "scene": "native"}))[:2] == (404, "not_found")
    bearer = {"Authorization": f"Bearer {worlds.token_of(stranger.employees[0])}"}
    assert said(Client().get(f"/api/v1/orders/{order_no}", headers=bearer))[:2] == (404, "not_found")
    assert worlds.wallet_of(stranger.employees[0]) == (2_000, 0)


def test_an_uncovered_try_leaves_the_order_open(shop: Shop, world: worlds.World) -> None:
    worlds.give_money(world.employees[0], 1_249)
    order_no = ask(shop)
    with pytest.raises(InsufficientFunds):
        business_payments.pay_from_wallet(order_no=order_no, payer=person(world.employees[0]), now=clock.now())
    order = orders.get_order(order_no=order_no)
    assert order.state is OrderState.PENDING
    assert [(row.state, row.result_code) for row in order.attempts] == [(AttemptState.FAILED, "insufficient_funds")]
    assert (worlds.wallet_of(world.employees[0]), enterprise_fen(world)) == ((1_249, 0), 0)
    worlds.give_money(world.employees[0], 1)
    business_payments.pay_from_wallet(order_no=order_no, payer=person(world.employees[0]), now=clock.now())
    assert (worlds.wallet_of(world.employees[0]), enterprise_fen(world)) == ((0, 0), 1_250)
    assert_books_balance()


def test_an_expired_order_and_another_kind_are_not_paid(shop: Shop, world: worlds.World) -> None:
    worlds.give_money(world.employees[0], 2_000)
    order_no = ask(shop, expires_in_seconds=60)
    later = clock.now() + dt.timedelta(seconds=61)
    with pytest.raises(OrderNotPayable):
        business_payments.pay_from_wallet(order_no=order_no, payer=person(world.employees[0]), now=later)
    assert (worlds.wallet_of(world.employees[0]), enterprise_fen(world)) == ((2_000, 0), 0)


def test_a_channel_payment_becomes_the_enterprises_money(shop: Shop, world: worlds.World) -> None:
    order_no = ask(shop)
    attempt_no = numbers.issue_attempt(order_no=order_no)
    now = clock.now()
    opening.open_attempt(
        order_no=order_no, attempt_no=attempt_no, channel="wechat", scene="native", amount_fen=1_250, now=now
    )
    success = outcomes.Success(attempt_no=attempt_no, amount_fen=1_250, provider_no="P1", paid_at=now)
    assert outcomes.record_success(success=success, now=now) is outcomes.Booking.EFFECTIVE
    assert outcomes.record_success(success=success, now=now) is outcomes.Booking.REPEATED
    assert enterprise_fen(world) == 1_250
    assert [worlds.wallet_of(employee) for employee in world.employees] == [(0, 0), (0, 0)]
    assert_books_balance()


def test_wallet_and_channel_never_both_pay_one_order(
    shop: Shop, world: worlds.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wallet's journal is committed and its process dies; then the provider says paid, too: that goes back."""

    class Crash(BaseException):
        pass

    def dies(**_: Any) -> None:
        raise Crash

    worlds.give_money(world.employees[0], 2_000)
    order_no = ask(shop)
    attempt_no = numbers.issue_attempt(order_no=order_no)
    now = clock.now()
    opening.open_attempt(
        order_no=order_no, attempt_no=attempt_no, channel="wechat", scene="native", amount_fen=1_250, now=now
    )
    with monkeypatch.context() as patched, pytest.raises(Crash):
        patched.setattr(outcomes, "complete_order", dies)
        business_payments.pay_from_wallet(order_no=order_no, payer=person(world.employees[0]), now=now)
    assert orders.get_order(order_no=order_no).state is OrderState.PENDING
    success = outcomes.Success(attempt_no=attempt_no, amount_fen=1_250, provider_no="P1", paid_at=now)
    assert outcomes.record_success(success=success, now=now) is outcomes.Booking.TO_RETURN
    paid = business_payments.pay_from_wallet(order_no=order_no, payer=person(world.employees[1]), now=now)
    assert paid.state is OrderState.SUCCESS
    assert (worlds.wallet_of(world.employees[0]), worlds.wallet_of(world.employees[1])) == ((750, 0), (0, 0))
    assert enterprise_fen(world) == 1_250
    assert_books_balance()


def test_a_channel_needs_its_scene(shop: Shop, world: worlds.World) -> None:
    order_no = ask(shop)
    assert said(pay(world, 0, order_no, {"channel": "wechat"}))[:2] == (400, "invalid_request")
    assert orders.get_order(order_no=order_no).attempts == ()


def at_once(count: int, work: Callable[[], Any]) -> list[Any]:
    """What `count` threads got that began together."""
    gate = threading.Barrier(count)

    def one(_: int) -> Any:
        gate.wait()
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_a_business_order_number_asked_for_at_the_same_moment_is_one_order(shop: Shop) -> None:
    body = wanted()
    answers = at_once(6, lambda: shop.post(body, key=uuid.uuid4().hex))
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.json()["order"]["order_no"] for answer in answers}) == 1
    assert rows_of(shop) == 1


def test_one_nonce_at_the_same_moment_serves_once(shop: Shop) -> None:
    nonce = uuid.uuid4().hex
    answers = at_once(6, lambda: shop.post(wanted(), key=uuid.uuid4().hex, nonce=nonce))
    assert sorted(answer.status_code for answer in answers) == [201, *[401] * 5]
    assert rows_of(shop) == 1


def test_colleagues_who_pay_at_the_same_moment_pay_once(shop: Shop, world: worlds.World) -> None:
    for employee in world.employees:
        worlds.give_money(employee, 2_000)
    order_no = ask(shop)
    payers = iter([*world.employees, *world.employees])
    lock = threading.Lock()

    def work() -> OrderState:
        with lock:
            payer = person(next(payers))
        return business_payments.pay_from_wallet(order_no=order_no, payer=payer, now=clock.now()).state

    assert at_once(4, work) == [OrderState.SUCCESS] * 4
    assert sorted(worlds.wallet_of(employee)[0] for employee in world.employees) == [750, 2_000]
    assert enterprise_fen(world) == 1_250
    order = orders.get_order(order_no=order_no)
    assert [row.is_open for row in order.attempts].count(True) == 0
    assert_books_balance()


def test_staff_sees_an_order_that_anyone_may_pay(shop: Shop) -> None:
    client = Client()
    user = User.objects.create_superuser(username=f"s{uuid.uuid4().hex[:10]}", password=worlds.PASSWORD)
    client.force_login(user)
    order_no = ask(shop)
    page = client.get(f"/admin/orders/orderindex/{order_no}/change/")
    assert page.status_code == 200
    assert order_no in page.content.decode()
    found = client.get("/admin/payments/businessorder/", {"q": order_no})
    assert order_no in found.content.decode()


def test_keys_of_a_business_and_of_an_employee_never_meet(shop: Shop, world: worlds.World) -> None:
    key = uuid.uuid4().hex
    assert shop.post(wanted(), key=key).status_code == 201
    employee = world.employees[0]
    worlds.give_money(employee, 100)
    answer = Client().post(
        "/api/v1/transfers",
        data={"to_employee": world.employees[1].code, "amount_fen": 100},
        content_type="application/json",
        headers={"Authorization": f"Bearer {worlds.token_of(employee)}", "Idempotency-Key": key},
    )
    assert answer.status_code == 201, answer.content
    assert "Idempotent-Replayed" not in answer.headers
    callers = IdempotencyRecord.objects.filter(key=key).values_list("caller", flat=True)
    assert sorted(callers) == [f"business:{shop.app.pk}", f"employee:{employee.pk}"]


def test_a_caller_of_no_known_kind_has_no_label() -> None:
    assert idempotency.caller_of(BusinessApp(product_id="shop")) == "business:shop"
    with pytest.raises(KeyError):
        idempotency.caller_of(User(pk=1))

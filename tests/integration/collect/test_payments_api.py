"""The payers' endpoints and refunds: begun once, told apart, refused clearly; hostile input creates nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from django.test import Client

from collect.models import Code, Collection
from collect.services import codes
from foundation import clock, ids
from gateway import registry
from gateway.ports import Outcome, Result
from gateway.services import calls
from tests import worlds
from tests.integration.collect.codes_and_collections import Shop, code_of, paid, shop
from tests.integration.collect.test_api import post

pytestmark = pytest.mark.django_db(databases="__all__")
PAYMENTS: Mapping[str, dict[str, str]] = {
    "native": {"kind": "code_url", "code_url": "weixin://wxpay/bizpayurl?pr=x"},
    "h5": {"kind": "redirect", "url": "https://pay.example.com/1"},
}


@pytest.fixture
def here() -> Shop:
    return shop()


@pytest.fixture(autouse=True)
def _provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every payment is prepared; nothing is known of one that is asked for."""
    monkeypatch.setattr(
        calls,
        "prepay",
        lambda *, request, **_: Result(outcome=Outcome.SUCCESS, payment=PAYMENTS[str(request.scene)]),
    )
    monkeypatch.setattr(registry, "adapter", lambda channel: object())
    monkeypatch.setattr(calls, "query", lambda **_: Result(outcome=Outcome.PENDING))


def start(code: Code, body: Any, key: str = "", client: Client | None = None) -> Any:
    headers = {"idempotency-key": key or ids.new_id(), "accept-language": "en"}
    return post(client or Client(), f"collect/codes/{code.pk}/payments", body, **headers)


def test_a_payer_begins_a_payment_once_for_his_key(here: Shop) -> None:
    code = code_of(here.manager, subject="Tea")
    made = start(code, {"amount_fen": 500, "channel": "wechat"}, "k1")
    assert made.status_code == 201, made.content
    body = made.json()
    assert (body["state"], body["amount_fen"], body["payment"]) == ("OPEN", 500, PAYMENTS["native"])
    again = start(code, {"channel": "wechat", "amount_fen": 500}, "k1")
    assert (again.status_code, again["Idempotent-Replayed"]) == (201, "true")
    assert again.json()["payment_no"] == body["payment_no"]
    other = start(code, {"amount_fen": 501, "channel": "wechat"}, "k1")
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert start(code, {"amount_fen": 500, "channel": "wechat"}, "k2").json()["payment_no"] != body["payment_no"]
    assert Collection.objects.filter(code=code).count() == 2
    seen = Client().get(f"/api/v1/collect/payments/{body['payment_no']}").json()
    assert (seen["merchant"], seen["subject"], seen["amount_fen"], seen["state"]) == ("Corner shop", "Tea", 500, "OPEN")
    assert "order_no" not in seen


@pytest.mark.parametrize(
    "amount",
    [None, 0, -1, 5_000_001, 2**63, -(2**63), 10**30, 1.0, 0.1, "1", "1e2", True, [], {}, "NaN", "１"],
)
def test_a_hostile_amount_is_refused_and_nothing_is_created(here: Shop, amount: Any) -> None:
    code = code_of(here.manager)
    refused = start(code, {"amount_fen": amount, "channel": "wechat"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request"), refused.content
    assert list(refused.json()["error"]["details"]) == ["amount_fen"]
    assert not Collection.objects.filter(code=code).exists()


def test_other_nonsense_of_payers_is_refused_and_nothing_is_created(here: Shop) -> None:
    code, fixed = code_of(here.manager), code_of(here.manager, amount_fen=800)
    good = {"amount_fen": 500, "channel": "wechat"}
    refusals = [
        (start(code, {**good, "channel": "kuaiqian"}), 400),
        (start(code, {**good, "scene": "page"}), 400),
        (start(code, {**good, "tip_fen": 1}), 400),
        (start(code, "[" * 5_000), 400),
        (start(code, '{"amount_fen": 500, "channel": "\\ud800"}'), 400),
        (start(code, b"\xff"), 400),
        (start(code, [good]), 400),
        (start(fixed, {"amount_fen": 799, "channel": "wechat"}), 400),
        (post(Client(), f"collect/codes/{code.pk}/payments", good), 400),
        (start(code, good, "k" * 65), 400),
        (start(code, good, "é"), 400),
    ]
    for answer, status in refusals:
        assert answer.status_code == status, answer.content
    unknown = post(Client(), f"collect/codes/{codes.issue_id()}/payments", good, **{"idempotency-key": "k"})
    assert unknown.status_code == 404
    for path in ("%00", "..%2f..", "a" * 500, "'%20OR%201=1", "收款码"):
        assert post(Client(), f"collect/codes/{path}/payments", good, **{"idempotency-key": "k"}).status_code == 404
        assert Client().get(f"/api/v1/collect/payments/{path}").status_code == 404
    assert not Collection.objects.filter(code__in=[code, fixed]).exists()


def test_an_ended_code_and_a_shop_without_account_take_nothing(here: Shop) -> None:
    code = code_of(here.manager)
    codes.disable_code(code_id=code.pk, enterprise_id=code.enterprise_id, now=clock.now())
    gone = start(code, {"amount_fen": 500, "channel": "wechat"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "expired")
    poor = code_of(worlds.make_world(1).employees[0])
    missing = start(poor, {"amount_fen": 500, "channel": "wechat"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (409, "receiver_missing")
    assert not Collection.objects.filter(code__in=[code, poor]).exists()


def test_payers_of_one_address_are_counted(here: Shop, settings: Any) -> None:
    settings.TRUSTED_PROXIES, settings.COLLECT_STARTS_PER_MINUTE = 1, 2
    address = f"203.0.113.{int(ids.new_id()[-2:], 16)}"
    client = Client(headers={"x-forwarded-for": address})
    code = code_of(here.manager)
    answers = [start(code, {"amount_fen": 500, "channel": "wechat"}, client=client) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert answers[2].json()["error"]["code"] == "rate_limited"
    assert 1 <= int(answers[2]["Retry-After"]) <= 120
    assert Collection.objects.filter(code=code).count() == 2
    elsewhere = Client(headers={"x-forwarded-for": "198.51.100.9"})
    assert start(code, {"amount_fen": 500, "channel": "wechat"}, client=elsewhere).status_code == 201


# --- refunds ----------------------------------------------------------------------------------------------------------


def test_nobody_else_gives_a_collection_back(here: Shop) -> None:
    row = paid(code_of(here.manager), here.wechat)
    for client in (here.client(here.cashier), shop().client()):
        for body in ({"amount_fen": 1, "reason": "x"}, {"amount_fen": 10**9, "reason": "x"}):
            key = {"idempotency-key": ids.new_id()}
            answer = post(client, f"collect/collections/{row.pk}/refunds", body, **key)
            assert answer.status_code in (400, 404), answer.content
    row.refresh_from_db()
    assert row.refunded_fen == 0


@pytest.mark.parametrize("body", [{}, {"amount_fen": 0, "reason": "x"}, {"amount_fen": 1.5, "reason": "x"}])
def test_a_refund_of_nonsense_is_refused(here: Shop, body: dict[str, Any]) -> None:
    row = paid(code_of(here.manager), here.wechat)
    path = f"collect/collections/{row.pk}/refunds"
    assert post(here.client(), path, body, **{"idempotency-key": ids.new_id()}).status_code == 400
    assert post(here.client(), path, {"amount_fen": 1, "reason": "x"}).status_code == 400  # without a key
    row.refresh_from_db()
    assert row.refunded_fen == 0

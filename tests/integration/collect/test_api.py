"""The merchants' endpoints: what they answer, to whom, and what hostile input leaves behind: nothing."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from typing import Any

import pytest
from django.test import Client

from collect.models import Binding, Code
from collect.services import codes
from tests.integration.collect import merchants
from tests.integration.collect.codes_and_collections import Shop, code_of, give_back, opened, paid, shop

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def here() -> Shop:
    return shop()


def post(client: Client, path: str, body: Any, **headers: str) -> Any:
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    return client.post(f"/api/v1/{path}", content, content_type="application/json", headers=headers)


# --- receiving accounts -----------------------------------------------------------------------------------------------


def test_a_manager_binds_and_sees_accounts_and_nobody_else_does(here: Shop) -> None:
    body = {"channel": "wechat", "sub_merchant_no": merchants.wechat_number(), "display_name": "Second shop"}
    made = post(here.client(), "collect/merchants", body)
    assert made.status_code == 201, made.content
    merchant = made.json()["merchant"]
    assert (merchant["state"], merchant["display_name"], merchant["approved_at"]) == ("DRAFT", "Second shop", None)
    assert post(here.client(), "collect/merchants", body).json()["merchant"]["id"] == merchant["id"]
    listed = here.client().get("/api/v1/collect/merchants").json()["items"]
    assert {row["state"] for row in listed} == {"DRAFT", "ACTIVE"}
    assert len(listed) == 3
    before = Binding.objects.count()
    for answer in (
        post(here.client(here.cashier), "collect/merchants", {**body, "sub_merchant_no": merchants.wechat_number()}),
        here.client(here.cashier).get("/api/v1/collect/merchants"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")
    other = post(shop().client(), "collect/merchants", body)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "binding_exists")
    assert Binding.objects.filter(sub_merchant_no=body["sub_merchant_no"]).count() == 1
    assert Binding.objects.count() == before + 2  # those of the other shop


# --- codes ------------------------------------------------------------------------------------------------------------


def test_a_code_is_made_shown_listed_and_ended(here: Shop) -> None:
    client = here.client(here.cashier)
    body = {"kind": "order", "amount_fen": 12_345, "subject": "Two chairs", "crm_order_no": "SO-7"}
    made = post(client, "collect/codes", body)
    assert made.status_code == 201, made.content
    code = made.json()["code"]
    assert made.json()["url"].endswith(f"/c/{code['id']}")
    assert (code["is_once"], code["is_payable"], code["collector"]["employee"]) == (True, True, here.cashier.code)
    assert client.get(f"/api/v1/collect/codes/{code['id']}").json() == made.json()
    assert here.client().get(f"/api/v1/collect/codes/{code['id']}").status_code == 200  # the manager
    ended = client.post(f"/api/v1/collect/codes/{code['id']}/disable")
    assert (ended.status_code, ended.json()["code"]["state"]) == (200, "DISABLED")
    assert ended.json()["code"]["is_payable"] is False


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "plain", "amount_fen": 0}, "amount_fen"),
        ({"kind": "plain", "amount_fen": -1}, "amount_fen"),
        ({"kind": "plain", "amount_fen": 1.5}, "amount_fen"),
        ({"kind": "plain", "amount_fen": "10"}, "amount_fen"),
        ({"kind": "plain", "amount_fen": True}, "amount_fen"),
        ({"kind": "plain", "amount_fen": 5_000_001}, "amount_fen"),
        ({"kind": "plain", "amount_fen": 2**80}, "amount_fen"),
        ({"kind": "order", "amount_fen": 1, "subject": "x"}, "crm_order_no"),
        ({"kind": "plain", "crm_order_no": "SO-1"}, "crm_order_no"),
        ({"kind": "plain", "subject": "a\u0000b"}, "subject"),
        ({"kind": "plain", "expires_in_seconds": 59}, "expires_in_seconds"),
        ({"kind": "gift"}, "kind"),
        ({"kind": "plain", "enterprise_id": 1}, "enterprise_id"),
    ],
)
def test_a_code_of_nonsense_is_refused_by_its_field(here: Shop, body: dict[str, Any], field: str) -> None:
    refused = post(here.client(), "collect/codes", body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")
    assert list(refused.json()["error"]["details"]) == [field]
    assert not Code.objects.filter(enterprise_id=here.manager.enterprise_id).exists()


def test_lists_have_pages_and_a_cashier_sees_his_own(here: Shop) -> None:
    mine = [code_of(here.cashier).pk for _ in range(3)]
    code_of(here.manager)
    client = here.client(here.cashier)
    first = client.get("/api/v1/collect/codes?limit=2").json()
    second = client.get(f"/api/v1/collect/codes?limit=2&cursor={first['next_cursor']}").json()
    assert [row["id"] for row in [*first["items"], *second["items"]]] == mine[::-1]
    assert second["next_cursor"] is None
    assert len(here.client().get("/api/v1/collect/codes").json()["items"]) == 4
    assert client.get("/api/v1/collect/codes?cursor=bm9uc2Vuc2U").status_code == 400


def test_pictures_are_for_whoever_has_the_code(here: Shop) -> None:
    code = code_of(here.manager)
    svg = Client().get(f"/api/v1/collect/codes/{code.pk}.svg", headers={"accept": "image/avif,image/webp"})
    assert (svg.status_code, svg["Content-Type"], svg.content[:4]) == (200, "image/svg+xml", b"<svg")
    png = Client().get(f"/api/v1/collect/codes/{code.pk}.png")
    assert (png["Content-Type"], png.content[:8]) == ("image/png", b"\x89PNG\r\n\x1a\n")
    gone = Client().get(f"/api/v1/collect/codes/{codes.issue_id()}.svg", headers={"accept": "image/*"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")


# --- the merchant's collections ---------------------------------------------------------------------------------------


def test_collections_are_listed_narrowed_and_shown(here: Shop) -> None:
    till, stand = code_of(here.cashier, subject="Till"), code_of(here.manager)
    rows = [paid(till, here.wechat, amount_fen=100 + index) for index in range(3)]
    waiting = opened(till, here.alipay)
    paid(stand, here.alipay)
    client = here.client(here.cashier)
    first = client.get("/api/v1/collect/collections?limit=3").json()
    second = client.get(f"/api/v1/collect/collections?limit=3&cursor={first['next_cursor']}").json()
    shown = [row["id"] for row in [*first["items"], *second["items"]]]
    assert shown == [waiting.pk, *[row.pk for row in rows[::-1]]]
    open_ones = client.get("/api/v1/collect/collections?state=OPEN").json()["items"]
    assert [row["id"] for row in open_ones] == [waiting.pk]
    all_of_shop = here.client().get(f"/api/v1/collect/collections?code={stand.pk}&channel=alipay").json()["items"]
    assert [row["collector"]["employee"] for row in all_of_shop] == [here.manager.code]
    one = client.get(f"/api/v1/collect/collections/{rows[0].pk}").json()["collection"]
    assert (one["amount_fen"], one["subject"], one["state"], one["crm_state"]) == (100, "Till", "PAID", None)
    assert client.get(f"/api/v1/collect/collections?code={'x' * 20}").status_code == 400


def test_a_cashier_and_another_shop_find_nothing_of_the_managers(here: Shop) -> None:
    code = code_of(here.manager)
    row = paid(code, here.wechat)
    for client in (here.client(here.cashier), shop().client()):
        for path in (f"collect/codes/{code.pk}", f"collect/collections/{row.pk}"):
            assert client.get(f"/api/v1/{path}").status_code == 404
        assert client.post(f"/api/v1/collect/codes/{code.pk}/disable").status_code == 404
        assert client.get("/api/v1/collect/collections").json()["items"] == []
        assert client.get("/api/v1/collect/statistics").json()["total"]["count"] == 0
    row.refresh_from_db()
    code.refresh_from_db()
    assert (row.refunded_fen, code.state) == (0, "ACTIVE")


def test_statistics_statement_and_tables_say_the_same(here: Shop) -> None:
    at = dt.datetime(2026, 11, 22, 4, tzinfo=dt.UTC)
    code = code_of(here.cashier, subject="=2+3")
    row = paid(code, here.wechat, amount_fen=1_050, at=at)
    paid(code, here.alipay, amount_fen=200, at=at)
    give_back(row, 50)
    client = here.client()
    query = "from=2026-11-01&to=2026-11-30"
    days = client.get(f"/api/v1/collect/statistics?{query}").json()
    assert days["total"] == {"count": 2, "amount_fen": 1_250, "refunded_fen": 50, "net_fen": 1_200}
    assert [(line["key"], line["net_fen"]) for line in days["items"]] == [("2026-11-22", 1_200)]
    people = client.get(f"/api/v1/collect/statistics?{query}&by=employee").json()["items"]
    assert [(line["key"], line["name"]) for line in people] == [(here.cashier.code, here.cashier.name)]
    by_code = client.get(f"/api/v1/collect/statistics?{query}&by=code").json()["items"]
    assert [(line["key"], line["name"]) for line in by_code] == [(code.pk, "=2+3")]
    statement = client.get("/api/v1/collect/statement?month=2026-11").json()
    assert statement["total"] == days["total"]
    assert [line["key"] for line in statement["channels"]] == ["alipay", "wechat"]

    table = client.get("/api/v1/collect/statement.csv?month=2026-11", headers={"accept": "text/csv"})
    assert table["Content-Type"] == "text/csv; charset=utf-8"
    lines = list(csv.reader(io.StringIO(b"".join(table.streaming_content).decode("utf-8-sig"))))  # type: ignore[attr-defined]
    assert lines[1] == ["2026-11-22", "", "2", "12.50", "0.50", "12.00"]
    assert lines[-1] == ["合计 Total", "", "2", "12.50", "0.50", "12.00"]
    table = client.get("/api/v1/collect/collections.csv")
    lines = list(csv.reader(io.StringIO(b"".join(table.streaming_content).decode("utf-8-sig"))))  # type: ignore[attr-defined]
    assert len(lines) == 3
    assert {line[6] for line in lines[1:]} == {"'=2+3"}  # no formula
    for bad in ("from=2026-11-02&to=2026-11-01", "from=2024-01-01&to=2026-11-01", "by=year", "from=1000-01-01"):
        assert client.get(f"/api/v1/collect/statistics?{bad}").status_code == 400
    assert client.get("/api/v1/collect/statement?month=2026-13").status_code == 400

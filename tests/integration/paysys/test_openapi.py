"""The OpenAPI page: valid, complete for what the contract names today, and usable without internet."""

from __future__ import annotations

import re

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.test import Client

CONTRACT = {
    "/api/v1/auth/login": {"post"},
    "/api/v1/wallet": {"get"},
    "/api/v1/wallet/entries": {"get"},
    "/api/v1/recharges": {"post"},
    "/api/v1/payments": {"post"},
    "/api/v1/transfers": {"post"},
    "/api/v1/orders": {"get"},
    "/api/v1/orders/pages": {"get"},
    "/api/v1/orders/{order_no}": {"get"},
    "/api/v1/orders/{order_no}/attempts": {"post"},
    "/api/v1/orders/{order_no}/close": {"post"},
    "/api/v1/redpackets": {"get", "post"},
    "/api/v1/redpackets/{packet_id}": {"get"},
    "/api/v1/redpackets/{packet_id}/grab": {"post"},
    "/api/v1/redpackets/{packet_id}/claims": {"get"},
    "/api/v1/redpackets/{packet_id}/reading": {"post"},
    "/api/v1/redpackets/statistics": {"get"},
    "/api/v1/groups": {"get", "post"},
    "/api/v1/validator/tokens": {"post"},
    "/api/v1/auth/phone-codes": {"post"},
    "/api/v1/auth/password": {"put"},
    "/api/v1/bank-cards": {"get", "post"},
    "/api/v1/collect/codes": {"get", "post"},
    "/api/v1/collect/codes/{code_id}": {"get"},
    "/api/v1/collect/codes/{code_id}.png": {"get"},
    "/api/v1/collect/codes/{code_id}.svg": {"get"},
    "/api/v1/collect/codes/{code_id}/disable": {"post"},
    "/api/v1/collect/codes/{code_id}/payments": {"post"},
    "/api/v1/collect/collections": {"get"},
    "/api/v1/collect/collections.csv": {"get"},
    "/api/v1/collect/collections/{collection_id}": {"get"},
    "/api/v1/collect/collections/{collection_id}/refunds": {"post"},
    "/api/v1/collect/payments/{payment_no}": {"get"},
    "/api/v1/collect/merchants": {"get", "post"},
    "/api/v1/collect/statement": {"get"},
    "/api/v1/collect/statement.csv": {"get"},
    "/api/v1/collect/statistics": {"get"},
    "/api/v1/bank-cards/{card_id}": {"delete"},
    "/api/v1/refunds": {"post"},
    "/api/v1/refunds/{refund_no}": {"get"},
    "/api/v1/wechat-account": {"put"},
    "/api/v1/withdrawals": {"get", "post"},
    "/api/v1/withdrawals/{order_no}": {"get"},
    "/api/v1/withdrawals/{order_no}/cancel": {"post"},
    "/notify/alipay": {"post"},
    "/notify/kuaiqian": {"get"},
    "/notify/kuaiqian/payout": {"post"},
    "/notify/wechat": {"post"},
    "/notify/wechat/refund": {"post"},
}
EMPLOYEE, BUSINESS = {"employeeToken": []}, {"signedRequest": []}
CALLERS = {
    "/api/v1/payments": [BUSINESS],
    "/api/v1/refunds": [BUSINESS],
    "/api/v1/refunds/{refund_no}": [BUSINESS],
    "/api/v1/orders/{order_no}": [EMPLOYEE, BUSINESS],
}
"""Who calls what is not for employees alone."""
OPEN = {
    "/api/v1/auth/login",
    "/api/v1/collect/codes/{code_id}.png",
    "/api/v1/collect/codes/{code_id}.svg",
    "/api/v1/collect/codes/{code_id}/payments",
    "/api/v1/collect/payments/{payment_no}",
}
"""Without a log-in: to log in, and what payers do with an id that nobody guesses."""


@pytest.fixture
def schema(client: Client, db: None) -> dict:
    answer = client.get("/api/schema/")
    assert answer.status_code == 200
    return yaml.safe_load(answer.content)


def test_schema_names_every_endpoint_of_the_contract(schema: dict) -> None:
    assert schema["openapi"].startswith("3.1")
    found = {path: {method for method in item if method != "parameters"} for path, item in schema["paths"].items()}
    assert found == CONTRACT


def test_every_operation_has_an_error_shape_a_summary_and_a_security_scheme(schema: dict) -> None:
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            assert operation.get("description"), f"{method} {path} says nothing"
            errors = [code for code in operation["responses"] if code >= "400"]
            assert errors, f"{method} {path} names no error"
            if path.startswith("/notify/"):  # the provider's own texts, and its signature is the log-in
                assert "security" not in operation
                continue
            for code in errors:
                content = operation["responses"][code]["content"]["application/json"]
                assert content["schema"] == {"$ref": "#/components/schemas/Error"}
            if path in OPEN:
                assert "security" not in operation
            else:
                assert operation["security"] == CALLERS.get(path, [EMPLOYEE])


def test_amounts_are_integers_everywhere(schema: dict) -> None:
    for name, component in schema["components"]["schemas"].items():
        for field, shape in component.get("properties", {}).items():
            if field.endswith("_fen"):
                kind = shape.get("type") or [option.get("type") for option in shape.get("oneOf", [])]
                assert kind in ("integer", ["integer", "null"]), f"{name}.{field}: {shape}"


def test_page_loads_nothing_from_elsewhere(client: Client, db: None) -> None:
    page = client.get("/api/docs/").content.decode()
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sources
    assert [source for source in sources if not source.startswith("/")] == []
    assets = [source.removeprefix("/static/") for source in sources if source.startswith("/static/")]
    assert len(assets) >= 3
    assert [asset for asset in assets if finders.find(asset) is None] == []


def test_the_token_headers_stand_where_a_number_is_consumed(schema: dict) -> None:
    found = {}
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            names = {one["name"]: one.get("required", False) for one in operation.get("parameters", [])}
            if "X-Pay-Token" in names or "X-Pay-Seq" in names:
                found[f"{method} {path.removeprefix('/api/v1')}"] = (names["X-Pay-Token"], names["X-Pay-Seq"])
    always, sometimes = (True, True), (False, False)
    assert found == {
        "post /transfers": always,
        "post /withdrawals": always,
        "post /redpackets": always,
        "post /redpackets/{packet_id}/grab": always,
        "post /collect/collections/{collection_id}/refunds": always,
        "post /orders/{order_no}/attempts": sometimes,
    }

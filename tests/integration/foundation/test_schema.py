"""The OpenAPI document agrees with api.md, and its page needs nothing from the internet."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client

pytestmark = [pytest.mark.django_db(databases="__all__"), pytest.mark.filterwarnings("ignore:No directory at")]

ERROR_REF = {"$ref": "#/components/schemas/Error"}


@pytest.fixture
def schema(client: Client) -> dict[str, Any]:
    response = client.get("/api/schema/")
    assert response.status_code == 200
    return yaml.safe_load(response.content)


def operations(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_is_valid_and_complete() -> None:
    out = io.StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)
    assert yaml.safe_load(out.getvalue())["openapi"] == "3.1.0"


PAYERS = (
    "GET /api/v1/collect/codes/{code_id}.png",
    "GET /api/v1/collect/codes/{code_id}.svg",
    "POST /api/v1/collect/codes/{code_id}/payments",
    "GET /api/v1/collect/payments/{payment_no}",
)
"""What payers do, who have no log-in."""


def test_the_contracts_addresses_are_there(schema: dict[str, Any]) -> None:
    assert set(operations(schema)) >= {
        "POST /api/v1/auth/login",
        "GET /api/v1/groups",
        "POST /api/v1/groups",
        "GET /api/v1/wallet",
        "GET /api/v1/wallet/entries",
        "POST /api/v1/recharges",
        "GET /api/v1/orders",
        "GET /api/v1/orders/{order_no}",
        "POST /api/v1/orders/{order_no}/attempts",
        "POST /api/v1/orders/{order_no}/close",
        "POST /api/v1/redpackets",
        "GET /api/v1/redpackets",
        "GET /api/v1/redpackets/{packet_id}",
        "POST /api/v1/redpackets/{packet_id}/grab",
    }


def test_who_must_log_in_and_how(schema: dict[str, Any]) -> None:
    scheme = schema["components"]["securitySchemes"]["employeeToken"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    employee, business = {"employeeToken": []}, {"signedRequest": []}
    others = {
        "POST /api/v1/auth/login": [],
        "POST /api/v1/payments": [business],
        "POST /api/v1/refunds": [business],
        "GET /api/v1/refunds/{refund_no}": [business],
        "GET /api/v1/orders/{order_no}": [employee, business],
        **{name: [] for name in PAYERS},
    }
    for name, operation in operations(schema).items():
        expected = [] if "/notify/" in name else others.get(name, [employee])
        assert operation.get("security", []) == expected, name


def test_every_operation_documents_its_errors_in_the_one_shape(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema).items():
        refusals = {status: answer for status, answer in operation["responses"].items() if status[0] in "45"}
        assert "401" in refusals or name in PAYERS, name
        if "/notify/" in name:  # refused in the provider's own words; before it is read, in the one shape
            assert refusals["503"]["content"]["application/json"]["schema"] == ERROR_REF, name
            continue
        for status, answer in refusals.items():
            assert answer["content"]["application/json"]["schema"] == ERROR_REF, (name, status)
    error = schema["components"]["schemas"]["ErrorDetail"]
    assert set(error["required"]) == {"code", "message", "details", "request_id"}


@pytest.mark.parametrize(
    "name", ["POST /api/v1/recharges", "POST /api/v1/redpackets", "POST /api/v1/orders/{order_no}/attempts"]
)
def test_calls_that_move_money_document_their_key(schema: dict[str, Any], name: str) -> None:
    headers = {entry["name"]: entry for entry in operations(schema)[name]["parameters"] if entry["in"] == "header"}
    assert headers["Idempotency-Key"]["required"] is True


def test_the_page_works_without_internet(client: Client) -> None:
    page = client.get("/api/docs/")
    assert page.status_code == 200
    text = page.content.decode()
    assert "://" not in text.replace("http://testserver", "")
    sources = re.findall(r'(?:src|href)="([^"]+)"', text)
    own_script = [source for source in sources if source.startswith("/api/docs/")]
    files = [source for source in sources if source.startswith("/static/")]
    assert len(own_script) == 1
    assert sorted(own_script + files) == sorted(sources)
    assert len(files) == 4
    for file in files:
        assert finders.find(file.removeprefix("/static/")), file
    script = client.get(own_script[0].replace("&amp;", "&"))
    assert script["Content-Type"].startswith("application/javascript")
    assert b"/api/schema/" in script.content


def test_the_page_has_no_inline_script(client: Client) -> None:
    """A content security policy without 'unsafe-inline' for scripts lets it work."""
    text = client.get("/api/docs/").content.decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
    assert re.findall(r"\son\w+=", text) == []

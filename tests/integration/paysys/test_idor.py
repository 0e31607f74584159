"""Somebody else's things, past the tables of tests/contract/api/test_strangers.py.

That test sends each operation of the OpenAPI schema a stranger's things, one by one. Here: that its tables cannot fall
behind (routes outside the schema, nested fields, an operation nobody entered), that it finds a hole, that a refusal
holds nothing which only the owner can read, and that neither a colleague, nor a second business backend of the same
enterprise, nor the owner's idempotency keys and validator tokens open anything.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.generators import SchemaGenerator

from foundation import clock, ids
from identity import selectors as identity
from identity.services import directory
from orders import selectors as orders
from payments.services import businesses
from tests import worlds
from tests.contract.api import test_strangers as strangers
from tests.contract.api.test_strangers import FIELDS, OPERATIONS, OWN_BODIES, PATHS, PLAIN, Side, attempts, send
from tests.validating import new_token
from withdrawals import selectors as withdrawals

pytestmark = pytest.mark.django_db(databases="__all__")

INSIDE = {"url", "reading_seconds"}
"""Fields inside of other fields (the article of a packet) that name nothing of anybody's."""
OUTSIDE_THE_SCHEMA = {"api/v1/redpackets/<str:packet_id>/article", "^api/(?P<rest>.*)$"}
OUTSIDE_THE_SCHEMA |= {
    f"c/<str:code_id>{rest}" for rest in ("", "/poster", "/<str:collection_id>", "/<str:collection_id>.svg")
}
"""Routes with a parameter that are no operation: a page that is the same for every packet; unknown addresses; the pages
of payers, who have no log-in and name a thing by an id that nobody guesses."""
NAMES_LONGER_THAN = 7
"""Shorter texts are words of the API: states, kinds, currencies."""
NOT_FOR_YOU = {"POST /api/v1/redpackets/{packet_id}/grab": 403}
"""What a colleague is told of a packet that goes to others (the contract: not the receiver, not in the group)."""


@pytest.fixture
def sides() -> tuple[Side, Side]:
    return strangers.make_side(), strangers.make_side()


def routes(resolver: URLResolver, before: str = "") -> Iterator[str]:
    for one in resolver.url_patterns:
        if isinstance(one, URLResolver):
            yield from routes(one, before + str(one.pattern))
        else:
            assert isinstance(one, URLPattern)
            yield before + str(one.pattern)


def schema_path(route: str) -> str:
    return "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)


def test_every_route_with_a_parameter_is_an_operation_of_the_schema() -> None:
    """What the schema leaves out would be tried by nobody. The admin is for staff and has permissions of its own."""
    with_parameter = {one for one in routes(get_resolver()) if re.search(r"[<(]", one) and not one.startswith("admin/")}
    assert with_parameter >= OUTSIDE_THE_SCHEMA
    known = {operation.path for operation in OPERATIONS}
    assert {one for one in with_parameter - OUTSIDE_THE_SCHEMA if schema_path(one) not in known} == set()


def fields_within(shape: Any, parts: dict[str, Any]) -> Iterator[str]:
    """Names of all properties of a schema, at any depth."""
    if isinstance(shape, list):
        for one in shape:
            yield from fields_within(one, parts)
    elif isinstance(shape, dict):
        if "$ref" in shape:
            yield from fields_within(parts[shape["$ref"].rpartition("/")[2]], parts)
        for name, one in shape.get("properties", {}).items():
            yield name
            yield from fields_within(one, parts)
        for key in ("items", "oneOf", "anyOf", "allOf"):
            yield from fields_within(shape.get(key, []), parts)


def test_every_field_at_any_depth_is_known() -> None:
    schema = SchemaGenerator().get_schema(request=None, public=True)
    found = set()
    for path, methods in schema["paths"].items():
        for raw in methods.values() if path.startswith("/api/") else ():
            for content in raw.get("requestBody", {}).get("content", {}).values():
                found |= set(fields_within(content["schema"], schema["components"]["schemas"]))
    assert found - {*FIELDS, *PLAIN} <= INSIDE
    assert len(found) > 30


def test_no_operation_has_a_thing_in_its_path_and_another_in_its_body() -> None:
    """The strangers' test tries one or the other: the first such operation needs a way to try both."""
    assert [one.label for one in OPERATIONS if one.parameters and set(one.fields) & set(FIELDS)] == []
    assert [one.label for one in OPERATIONS if len(one.parameters) > 1] == []


@pytest.mark.parametrize(
    "unknown", [{"parameters": ("letter_id",)}, {"fields": ("recipient",)}, {"queries": ("employee",)}]
)
def test_an_operation_that_nobody_entered_fails_the_test(
    unknown: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "OPERATIONS", [*OPERATIONS, replace(OPERATIONS[0], **unknown)])
    with pytest.raises(AssertionError):
        strangers.test_every_operation_and_field_is_known_to_this_test()


def test_a_hole_is_found(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the owner left out of one look-up the strangers' test fails, naming the operation."""

    def careless(*, order_no: str, employee_id: int) -> Any:
        owner = orders.get_order(order_no=order_no).employee_id
        return real(order_no=order_no, employee_id=owner)

    real = withdrawals.get_own
    monkeypatch.setattr(withdrawals, "get_own", careless)
    with pytest.raises(AssertionError, match="GET /api/v1/withdrawals/"):
        strangers.test_what_is_a_strangers_is_not_found_and_not_moved(sides)


def texts_in(content: Any) -> Iterator[str]:
    """Every text of an answer."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for one in content:
            yield from texts_in(one)
    elif isinstance(content, str):
        yield content


def read_by_owner(side: Side) -> set[str]:
    """Every longer text in the answers of all reads, of his own things."""
    found: set[str] = set()
    for operation in OPERATIONS:
        if operation.method != "GET":
            continue
        query = "?box=sent" if "box" in operation.queries else ""
        paths = [operation.path]
        for name in operation.parameters:
            paths = [operation.path.replace(f"{{{name}}}", side.things[thing]) for thing in PATHS[name]]
        for path in paths:
            is_signed = "employeeToken" not in operation.schemes
            answer = send(side, "GET", path, None, is_signed, query)
            if answer.status_code == 200 and answer["Content-Type"] == "application/json":
                found |= set(texts_in(answer.json()))
    return {text for text in found if len(text) > NAMES_LONGER_THAN}


def test_a_refusal_holds_nothing_that_only_the_owner_can_read(sides: tuple[Side, Side]) -> None:
    read = [read_by_owner(side) for side in sides]
    only = [read[0] - read[1], read[1] - read[0]]
    assert [len(texts) > 20 for texts in only] == [True, True], "the owners read too little to prove anything"
    for mine, theirs, private in ((*sides, only[1]), (*sides[::-1], only[0])):
        for operation in OPERATIONS:
            for path, body in attempts(operation, theirs):
                for scheme in operation.schemes or {"employeeToken"}:
                    answer = send(mine, operation.method, path, body, scheme == "signedRequest")
                    shown = answer.content.decode() + str(dict(answer.headers))
                    leaked = {text for text in private if text in shown and text not in path + str(body)}
                    assert leaked == set(), f"{operation.label}: {shown}"


def beside(side: Side) -> Side:
    """A colleague who is in no group of his, with a second business backend of the same enterprise."""
    enterprise_id = side.employee.enterprise_id
    code = f"beside-{secrets.token_hex(4)}"
    directory.create_employee(enterprise_id=enterprise_id, code=code, name="Y", password=worlds.PASSWORD)
    colleague = identity.find_employee(enterprise_id=enterprise_id, code=code)
    business = businesses.register(
        product_id=f"p{secrets.token_hex(8)}",
        name="Canteen",
        enterprise_id=enterprise_id,
        callback_url="https://canteen.example.com/paid",
        now=clock.now(),
    )
    return replace(side, employee=colleague, token=worlds.token_of(colleague), business=business)


def test_a_colleague_and_the_backend_beside_find_nothing(sides: tuple[Side, Side]) -> None:
    theirs = sides[0]
    mine, before = beside(theirs), strangers.everything_of(theirs)
    tried = 0
    for operation in OPERATIONS:
        for path, body in attempts(operation, theirs) if operation.parameters else ():
            for scheme in operation.schemes:
                answer = send(mine, operation.method, path, body, scheme == "signedRequest")
                expected = NOT_FOR_YOU.get(operation.label, 404)
                assert answer.status_code == expected, f"{operation.label} {path}: {answer.content!r}"
                tried += 1
    for label, field, thing, expected in (
        ("POST /api/v1/withdrawals", "bank_card_id", "card", 404),
        ("POST /api/v1/redpackets", "group", "group", 403),  # it is his enterprise's, he is no member
    ):
        rest = OWN_BODIES.get(label) or OWN_BODIES[f"{label} {field}"]
        answer = send(mine, "POST", label.partition(" ")[2], {**rest, field: theirs.things[thing]}, False)
        assert answer.status_code == expected, answer.content
    order_no = theirs.things["payment"]
    answer = send(mine, "POST", "/api/v1/refunds", {"order_no": order_no, "amount_fen": 1, "reason": "x"}, True)
    assert answer.status_code == 404, answer.content
    assert tried > 25
    assert strangers.everything_of(theirs) == before


def test_the_owners_idempotency_key_and_token_open_nothing(sides: tuple[Side, Side]) -> None:
    """The same key and body from another is another's call; a validator token of another is none."""
    mine, theirs = sides
    key = ids.new_id()
    first, other = transfer(theirs, {"idempotency-key": key}), transfer(mine, {"idempotency-key": key})
    assert [answer.status_code for answer in (first, other)] == [201, 201]
    assert "Idempotent-Replayed" not in other.headers
    assert other.json()["order"]["order_no"] != first.json()["order"]["order_no"]
    before = [worlds.wallet_of(side.employee) for side in sides]
    token = new_token(theirs.employee)
    refused = transfer(mine, {"idempotency-key": ids.new_id(), **token.headers()})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "token_invalid")
    assert [worlds.wallet_of(side.employee) for side in sides] == before


def transfer(side: Side, headers: dict[str, str]) -> Any:
    """One fen to the colleague whose code is the same in every enterprise of the tests."""
    body = {"to_employee": "e0002", "amount_fen": 1, "memo": "lunch"}
    allowed = {"Authorization": f"Bearer {side.token}", **headers}
    return Client().post("/api/v1/transfers", body, "application/json", headers=allowed)

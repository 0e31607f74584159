"""Nobody reaches what is another's (IDOR): every operation of the OpenAPI schema, with every object of a stranger.

Two employees of two enterprises, and their business backends, own one of everything. Each asks for the other's things
by every path parameter and every field of a body that names a thing: 404, not a byte of it in the answer, nothing has
moved. An operation or a field that these tables do not know fails the test: whoever adds one says what it refers to.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from collect.models import Binding, Code, Collection, Manager
from foundation import clock, ids
from identity.models import Employee
from identity.services import directory
from orders import selectors as orders
from payments.domain import signing
from payments.services import businesses
from payments.services.businesses import Registered
from redpacket.models import RedPacket, Share
from tests import worlds
from tests.contract.api.test_schema_fuzz import paid_to
from tests.integration.collect import merchants
from tests.integration.collect.codes_and_collections import code_of, paid
from tests.integration.redpacket import people as packet_people
from tests.integration.redpacket.packets import send_lucky, send_normal
from tests.integration.redpacket.people import People
from tests.integration.withdrawals import people
from withdrawals.models import BankCard

pytestmark = pytest.mark.django_db(databases="__all__")

PATHS = {
    "order_no": ("recharge", "withdrawal", "packet order", "payment", "refund"),
    "packet_id": ("packet", "letter"),
    "card_id": ("card",),
    "refund_no": ("refund",),
    "code_id": ("code",),
    "collection_id": ("collection",),
    "payment_no": ("collection",),
}
"""Path parameter → which of a stranger's things are tried for it."""
FIELDS = {
    "to_employee": "person",
    "receiver": "person",
    "employees": "persons",
    "employee": "person",
    "group": "group",
    "bank_card_id": "card",
    "order_no": "payment",
}
"""Field of a body that names a thing → the stranger's thing."""
PLAIN = {
    *("amount_fen", "total_fen", "count", "kind", "greeting", "cover", "article", "pay", "channel", "scene", "memo"),
    *("subject", "business_order_no", "expires_in_seconds", "reason", "name", "purpose"),
    *("old_password", "new_password", "password", "enterprise"),
    *("holder", "card_no", "bank_code", "branch", "phone", "phone_code", "openid"),
    *("sub_merchant_no", "sub_appid", "display_name", "crm_order_no", "is_once"),
}
"""Fields that name nothing of anybody's."""
QUERIES = {"cursor", "limit", "from", "to", "kind", "state", "channel", "page", "page_size", "as_of", "box", "year"}
QUERIES |= {"by", "code", "month"}
OWN_BODIES: dict[str, dict[str, Any]] = {
    "POST /api/v1/orders/{order_no}/attempts": {"channel": "wechat", "scene": "native"},
    "POST /api/v1/transfers": {"amount_fen": 1},
    "POST /api/v1/redpackets receiver": {"kind": "normal", "total_fen": 100, "count": 1, "pay": "wallet"},
    "POST /api/v1/redpackets group": {"kind": "lucky", "total_fen": 100, "count": 1, "pay": "wallet"},
    "POST /api/v1/groups": {"name": "Strangers"},
    "POST /api/v1/withdrawals": {"amount_fen": 10_000, "channel": "kuaiqian"},
    "POST /api/v1/payments": {"amount_fen": 100, "subject": "Tea"},
    "POST /api/v1/refunds": {"amount_fen": 1, "reason": "x"},
    "POST /api/v1/collect/collections/{collection_id}/refunds": {"amount_fen": 1, "reason": "x"},
}
"""What the rest of a body is, where a field of it (or the path) names the stranger's thing."""
REFUSALS = {"POST /api/v1/groups": 400}
"""Where the answer is not 404: the list of codes is checked, and the unknown ones are named back."""
UNTOUCHED = {"POST /api/v1/auth/login"}
"""Who logs in with another's name and password is that other."""
OPEN = {
    "GET /api/v1/collect/codes/{code_id}.svg",
    "GET /api/v1/collect/codes/{code_id}.png",
    "POST /api/v1/collect/codes/{code_id}/payments",
    "GET /api/v1/collect/payments/{payment_no}",
}
"""For whoever has the id, which nobody guesses: a payer scans it from a poster, without any log-in."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """Somebody with one of everything. `things` by the names of PATHS and FIELDS; `secret`: texts only he may read."""

    employee: Employee
    token: str
    business: Registered
    things: dict[str, Any]
    secret: set[str]

    def headers(self, method: str, path: str, body: bytes, *, is_signed: bool) -> dict[str, str]:
        if not is_signed:
            return {"Authorization": f"Bearer {self.token}"}
        message = signing.SignedMessage(
            method=method,
            target=path,
            timestamp=str(int(clock.now().timestamp())),
            nonce=secrets.token_hex(12),
            body=body,
        )
        return {
            signing.APP_HEADER: self.business.app.product_id,
            signing.TIMESTAMP_HEADER: message.timestamp,
            signing.NONCE_HEADER: message.nonce,
            signing.SIGNATURE_HEADER: signing.sign(secret=self.business.secret, message=message),
        }


def make_side() -> Side:
    crew = packet_people.make_people(count=2)
    me = packet_people.employee_of(crew.sender)
    code = f"only-{secrets.token_hex(4)}"
    friend = directory.create_employee(enterprise_id=crew.enterprise_id, code=code, name="X", password=worlds.PASSWORD)
    people.bind_payees(me)
    recharge = worlds.give_money(me, 5_000_000)
    business = businesses.register(
        product_id=f"p{secrets.token_hex(8)}",
        name="Shop",
        enterprise_id=crew.enterprise_id,
        callback_url="https://shop.example.com/paid",
        now=clock.now(),
    )
    payment = paid_to(business, me)
    packet, letter = packets_of(crew)
    side = Side(
        employee=me, token=worlds.token_of(me), business=business, things={}, secret={code, recharge, payment, packet}
    )
    refund = send(side, "POST", "/api/v1/refunds", {"order_no": payment, "amount_fen": 5, "reason": "x"}, True)
    assert refund.status_code in (201, 202), refund.content
    people.apply(me)  # a second one: lists have a second page
    side.things.update(
        {
            "recharge": recharge,
            "withdrawal": people.apply(me).order_no,
            "packet order": RedPacket.objects.get(pk=packet).funding_order_no,
            "payment": payment,
            "refund": refund.json()["order"]["order_no"],
            "packet": packet,
            "letter": letter,
            "card": str(BankCard.objects.get(employee_id=me.pk).pk),
            **collecting_of(me),
            "person": friend.code,
            "persons": [friend.code],
            "group": str(crew.group_id),
        }
    )
    return side


def collecting_of(me: Employee) -> dict[str, str]:
    """A manager of collecting with two codes and two collections: lists have a second page."""
    Manager.objects.create(employee=me, appointed_by=merchants.staff("boss"), appointed_at=clock.now())
    account = merchants.active(me)
    rows = [paid(code_of(me, subject=f"Only {me.pk}"), account) for _ in range(2)]
    return {"code": rows[0].code_id, "collection": rows[0].pk}


def packets_of(crew: People) -> tuple[str, str]:
    return send_lucky(crew, total_fen=500, count=2).packet.pk, send_normal(crew, total_fen=300).packet.pk


def send(side: Side, method: str, path: str, body: dict[str, Any] | None, is_signed: bool, query: str = "") -> Any:
    content = json.dumps(body).encode() if body is not None else b""
    headers = side.headers(method, path + query, content, is_signed=is_signed)
    answer = Client(headers={**headers, "idempotency-key": ids.new_id(), "accept-language": "en"}).generic(
        method, path + query, content, content_type="application/json"
    )
    if answer.streaming:
        return HttpResponse(answer.getvalue(), status=answer.status_code, headers=dict(answer.headers))
    return answer


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of the schema, as far as things are named in it."""

    method: str
    path: str
    parameters: tuple[str, ...]
    queries: tuple[str, ...]
    fields: tuple[str, ...]
    schemes: frozenset[str]

    @property
    def label(self) -> str:
        return f"{self.method} {self.path}"


def list_operations() -> Iterator[Operation]:
    schema = SchemaGenerator().get_schema(request=None, public=True)
    parts = schema["components"]["schemas"]
    for path, methods in schema["paths"].items():
        for method, raw in methods.items():
            if not path.startswith("/api/"):
                continue
            content = raw.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            named = parts.get(content.get("$ref", "").rpartition("/")[2], content)
            yield Operation(
                method=method.upper(),
                path=path,
                parameters=tuple(one["name"] for one in raw.get("parameters", []) if one["in"] == "path"),
                queries=tuple(one["name"] for one in raw.get("parameters", []) if one["in"] == "query"),
                fields=tuple(named.get("properties", {})),
                schemes=frozenset(name for one in raw.get("security", []) for name in one),
            )


OPERATIONS = [one for one in list_operations() if one.label not in UNTOUCHED]


def attempts(operation: Operation, theirs: Side) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Every request that names one of the stranger's things, in the path or in one field."""
    has_body = bool(operation.fields)
    if operation.label in OPEN:
        return
    if operation.parameters:
        (name,) = operation.parameters
        for thing in PATHS[name]:
            body = OWN_BODIES.get(operation.label, {}) if has_body else None
            yield operation.path.replace(f"{{{name}}}", theirs.things[thing]), body
        return
    for field in operation.fields:
        if field in FIELDS:
            rest = OWN_BODIES.get(f"{operation.label} {field}", OWN_BODIES.get(operation.label))
            assert rest is not None, f"say in OWN_BODIES what else {operation.label} needs"
            if operation.label == "POST /api/v1/payments":
                rest = {**rest, "business_order_no": ids.new_id()}
            yield operation.path, {**rest, field: theirs.things[FIELDS[field]]}


def everything_of(side: Side) -> Any:
    """What must be as before, when a stranger has tried."""
    numbers = [side.things[name] for name in PATHS["order_no"]]
    rows = [orders.get_order(order_no=number) for number in numbers]
    shares = Share.objects.filter(packet_id__in=[side.things["packet"], side.things["letter"]]).order_by("pk")
    return (
        worlds.wallet_of(side.employee),
        [(row.state, row.refunded_fen, len(row.attempts)) for row in rows],
        list(shares.values_list("receiver_id", "claimed_at")),
        BankCard.objects.get(pk=side.things["card"]).active_index,
        Code.objects.get(pk=side.things["code"]).state,
        Collection.objects.get(pk=side.things["collection"]).refunded_fen,
        Binding.objects.filter(enterprise_id=side.employee.enterprise_id).count(),
        directory_size(side),
    )


def directory_size(side: Side) -> int:
    return Employee.objects.filter(enterprise_id=side.employee.enterprise_id).count()


@pytest.fixture
def sides() -> tuple[Side, Side]:
    return make_side(), make_side()


def test_every_operation_and_field_is_known_to_this_test() -> None:
    assert len(OPERATIONS) > 30
    for operation in OPERATIONS:
        assert set(operation.parameters) <= set(PATHS), operation.label
        assert set(operation.queries) <= QUERIES, operation.label
        assert set(operation.fields) <= {*FIELDS, *PLAIN}, operation.label


def test_what_is_a_strangers_is_not_found_and_not_moved(sides: tuple[Side, Side]) -> None:
    before = [everything_of(side) for side in sides]
    tried = 0
    for mine, theirs in (sides, sides[::-1]):
        for operation in OPERATIONS:
            for path, body in attempts(operation, theirs):
                for scheme in operation.schemes or {"employeeToken"}:
                    answer = send(mine, operation.method, path, body, scheme == "signedRequest")
                    expected = REFUSALS.get(operation.label, 404)
                    assert answer.status_code == expected, (
                        f"{operation.label} {path} {body} {scheme}: {answer.content!r}"
                    )
                    given = path + json.dumps(body)
                    leaked = [text for text in theirs.secret if text in answer.content.decode() and text not in given]
                    assert not leaked, f"{operation.label}: {answer.content!r}"
                    tried += 1
    assert tried > 60
    assert [everything_of(side) for side in sides] == before


def test_lists_show_nothing_of_a_stranger_whatever_cursor_is_sent(sides: tuple[Side, Side]) -> None:
    mine, theirs = sides
    lists = [
        one for one in OPERATIONS if one.method == "GET" and not one.parameters and one.schemes == {"employeeToken"}
    ]
    assert len(lists) >= 8
    for operation in lists:
        box = "box=sent&" if "box" in operation.queries else ""
        queries = [f"?{box}"]
        if "cursor" in operation.queries:
            found = send(theirs, "GET", operation.path, None, False, f"?{box}limit=1").json()
            assert found.get("next_cursor"), f"{operation.label}: {found}"
            queries.append(f"?{box}cursor={found['next_cursor']}")
        for query in queries:
            answer = send(mine, "GET", operation.path, None, False, query)
            assert answer.status_code in (200, 400), f"{operation.label}: {answer.content!r}"
            text = answer.content.decode()
            names = {thing for thing in theirs.things.values() if isinstance(thing, str) and len(thing) > 8}
            assert not [name for name in {*names, *theirs.secret} if name in text], f"{operation.label}{query}: {text}"


def test_the_own_things_are_found_so_that_the_tables_above_name_real_ones(sides: tuple[Side, Side]) -> None:
    for operation in OPERATIONS:
        if operation.method == "GET" and operation.parameters:
            (name,) = operation.parameters
            scheme = "employeeToken" if "employeeToken" in operation.schemes else "signedRequest"
            found = [
                send(
                    sides[0],
                    "GET",
                    operation.path.replace(f"{{{name}}}", sides[0].things[thing]),
                    None,
                    scheme == "signedRequest",
                )
                for thing in PATHS[name]
            ]
            assert any(answer.status_code == 200 for answer in found), operation.label

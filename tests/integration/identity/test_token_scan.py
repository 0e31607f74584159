"""A validator token comes on the push channel alone: no answer of any operation of the OpenAPI schema holds one.

Somebody with tokens in use calls everything there is, with his own things, and shows a token wherever he calls. What
stands in logs at level DEBUG is looked at by tests/flows/test_push.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from foundation import ids
from tests import worlds
from tests.contract.api import test_strangers as strangers
from tests.contract.api.test_strangers import FIELDS, OWN_BODIES, PATHS, Operation, Side
from tests.validating import Token, events_of, pushed_token

pytestmark = pytest.mark.django_db(databases="__all__")

CARD = {
    "holder": "张三",
    "card_no": "6222020200112233445",
    "bank_code": "ICBC",
    "phone": "13800000000",
    "phone_code": "000000",
}
BODIES: dict[str, dict[str, Any]] = {
    "POST /api/v1/validator/tokens": {"kind": "once"},
    "POST /api/v1/auth/phone-codes": {"purpose": "bank_card"},
    "PUT /api/v1/auth/password": {"old_password": "not-the-old-one", "new_password": "a-new-and-long-one"},
    "POST /api/v1/recharges": {"amount_fen": 100, "channel": "wechat", "scene": "native"},
    "POST /api/v1/transfers": {"amount_fen": 1, "memo": "lunch"},
    "POST /api/v1/bank-cards": CARD,
    "POST /api/v1/collect/codes": {"kind": "plain"},
    "POST /api/v1/collect/merchants": {"channel": "wechat", "sub_merchant_no": "1900001234", "display_name": "Shop"},
    "POST /api/v1/collect/codes/{code_id}/payments": {"amount_fen": 100, "channel": "wechat", "scene": "native"},
    "POST /api/v1/collect/collections/{collection_id}/refunds": {"amount_fen": 1, "reason": "broken"},
    "PUT /api/v1/wechat-account": {"openid": "o123456789", "holder": "张三", "phone_code": "000000"},
}
"""Bodies of what names no thing."""
ONLY_REFUSED = {
    "PUT /api/v1/auth/password": {401, 422},  # a right one would end the log-in that goes on calling
    "POST /api/v1/auth/phone-codes": {202, 422},
    "POST /api/v1/recharges": {422},  # no channel is set up here
    "POST /api/v1/orders/{order_no}/close": {409},
    "POST /api/v1/bank-cards": {422},  # the code of the short message is wrong
    "PUT /api/v1/wechat-account": {422},
    "POST /api/v1/redpackets/{packet_id}/reading": {403, 404, 409},
    "POST /api/v1/collect/codes/{code_id}/payments": {400, 409, 410, 422},
    "POST /api/v1/collect/collections/{collection_id}/refunds": {400, 404, 409},
}
"""Where nothing succeeds in this small world, and what is answered; every other operation must succeed once."""

CONSUMING = ("/transfers", "/withdrawals", "/redpackets", "/grab", "/attempts")
"""Ends of paths whose POST uses up a number; the others are shown the next one and leave it."""


def own_requests(operation: Operation, side: Side) -> Iterator[tuple[str, dict[str, Any] | None]]:
    body = BODIES.get(operation.label) if operation.fields else None
    if operation.parameters:
        (name,) = operation.parameters
        for thing in PATHS[name]:
            yield operation.path.replace(f"{{{name}}}", side.things[thing]), OWN_BODIES.get(operation.label, body)
        return
    query = "?box=sent" if "box" in operation.queries else "?month=2026-11" if "month" in operation.queries else ""
    tried = 0
    for field in operation.fields:
        rest = OWN_BODIES.get(f"{operation.label} {field}", OWN_BODIES.get(operation.label))
        if field in FIELDS and rest is not None:
            number = {"business_order_no": ids.new_id()} if "business_order_no" in operation.fields else {}
            yield operation.path, {**rest, **number, field: side.things[FIELDS[field]]}
            tried += 1
    if not tried:
        assert body is not None or not operation.fields, f"say in BODIES what {operation.label} takes"
        yield operation.path + query, body


def call(side: Side, operation: Operation, path: str, body: dict[str, Any] | None, token: Token) -> list[Any]:
    """As everybody who may call it, with the token's next number each time."""
    answers = []
    for scheme in sorted(operation.schemes) or ["nobody's"]:
        content = json.dumps(body).encode() if body is not None else b""
        headers = side.headers(operation.method, path, content, is_signed=scheme == "signedRequest")
        is_used_up = operation.method == "POST" and operation.path.endswith(CONSUMING)
        shown = token.headers() if is_used_up else token.headers(token.sequence)
        every = {**headers, **shown, "idempotency-key": ids.new_id()}
        sender = Client(headers=every)
        answers.append(sender.generic(operation.method, path, content, content_type="application/json"))
    return answers


def test_no_answer_of_any_operation_holds_a_token(settings: Settings) -> None:
    side = strangers.make_side()
    settings.VALIDATOR = "required"
    asked = strangers.send(side, "POST", "/api/v1/validator/tokens", {"kind": "session"}, False)
    assert (asked.status_code, set(asked.json())) == (202, {"request_id"})
    token = pushed_token(side.employee, asked.json()["request_id"])
    login = {"enterprise": side.employee.enterprise.code, "employee": side.employee.code, "password": worlds.PASSWORD}
    entered = Client().post("/api/v1/auth/login", login, "application/json", headers=token.headers())
    assert entered.status_code == 200
    answers = [asked, entered]
    # Reads first: what is taken away or cancelled afterwards has been read by then.
    for operation in sorted(strangers.OPERATIONS, key=lambda one: (one.method == "DELETE", one.method != "GET")):
        found = [
            one for path, body in own_requests(operation, side) for one in call(side, operation, path, body, token)
        ]
        statuses = {answer.status_code for answer in found}
        allowed = ONLY_REFUSED.get(operation.label)
        if allowed is None:
            assert statuses & {200, 201, 202, 204}, f"{operation.label}: {[answer.content for answer in found]}"
        else:
            assert statuses <= allowed, f"{operation.label}: {[answer.content for answer in found]}"
        answers += found
    pushed = [data["token"] for _, event, data in events_of(side.employee) if event == "validator.token"]
    assert token.text in pushed
    assert len(pushed) == 2, "the operation that issues a token was called as well"
    secrets = {*pushed, *(text.partition(".")[2] for text in pushed)}
    assert min(map(len, secrets)) >= 20
    shown = [answer.getvalue().decode(errors="replace") + str(dict(answer.headers)) for answer in answers]
    assert [text for text in shown if any(secret in text for secret in secrets)] == []

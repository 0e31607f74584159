"""Validator tokens on a real Redis: the rules of numbers, and what a call without a good one gets."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from foundation import redis
from foundation.errors import Busy
from identity.models import Employee, Enterprise
from identity.services import validator
from identity.services.validator import Kind, SequenceUsed, TokenInvalid
from identity.validator_lua import CONSUME_LUA, REMEMBERED, WINDOW, Verdict, token_key
from orders import selectors as orders
from tests import worlds
from tests.integration.payments.business import open_shop
from tests.validating import Token, events_of, new_token, pushed_token

CONSUME = CONSUME_LUA + "return consume_token(KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]))"
CLOSED_PORT = "redis://127.0.0.1:1/0"


def somebody() -> Employee:
    """An employee whom no database knows: numbers are Redis' affair alone."""
    enterprise = Enterprise(pk=7, code="acme", name="Acme")
    return Employee(pk=uuid.uuid4().int % 2**53, enterprise=enterprise, code="e01", name="Somebody")


def consume(token: Token, employee: Employee, number: int | str, fingerprint: str = "f" * 32) -> str:
    """The verdict, as a script that embeds the check would see it."""
    try:
        validator.consume(presented=token.shown(employee, number, fingerprint))
    except TokenInvalid:
        return "TOKEN_INVALID"
    except SequenceUsed:
        return "SEQUENCE_USED"
    return "OK"


def raw(token: Token, employee: Employee, number: int | str, fingerprint: str, now_ms: float = 0) -> str:
    arguments = [employee.pk, number, fingerprint, now_ms]
    return str(redis.client().eval(CONSUME, 1, token_key(token.text), *arguments))


# --- numbers ----------------------------------------------------------------------------------------------------------


@hypothesis_settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.integers(-3, WINDOW + 4), max_size=120))
def test_any_unused_number_in_the_window_is_good_once(steps: list[int]) -> None:
    """Against a model that keeps every used number; each step is a distance from the lowest unused one."""
    employee = somebody()
    token = new_token(employee)
    used: set[int] = set()
    lowest = token.sequence
    for place, distance in enumerate(steps):
        number = lowest + distance
        is_good = number not in used and number >= token.sequence and 0 <= distance <= WINDOW
        verdict = raw(token, employee, number, f"call {place}")
        assert verdict == ("OK" if is_good else "SEQUENCE_USED"), (number - token.sequence, distance)
        if is_good:
            used.add(number)
            while lowest in used:
                lowest += 1


def test_the_window_moves_through_thousands_of_numbers() -> None:
    employee = somebody()
    token = new_token(employee)
    first = token.sequence
    for start in range(first, first + 1_320, WINDOW + 1):
        for number in range(start + WINDOW, start - 1, -1):
            assert raw(token, employee, number, str(number)) == "OK"
    assert raw(token, employee, first + 1_320, "x") == "OK"
    fields = redis.client().hgetall(token_key(token.text))
    assert len(fields) <= 5 + REMEMBERED
    assert (fields["lowest"], fields["window"]) == (str(first + 1_321), "0")


def test_same_number_and_request_again_is_a_repeat_another_request_is_not() -> None:
    employee = somebody()
    token = new_token(employee)
    number = token.sequence
    assert raw(token, employee, number, "one request") == "OK"
    before = redis.client().hgetall(token_key(token.text))
    assert raw(token, employee, number, "one request") == "REPEAT"
    assert raw(token, employee, number, "another request") == "SEQUENCE_USED"
    assert raw(token, employee, number + 1, "one request") == "OK"
    assert raw(token, employee, number, "one request") == "REPEAT"
    after = redis.client().hgetall(token_key(token.text))
    assert {**before, "lowest": after["lowest"]}.items() <= after.items()


@pytest.mark.parametrize("text", ["", "0", "-1", "+1", "1.0", "1e4", "abc", "٣٤٥٦٧", "9" * 13, "0x10", "1\n", " 1"])
def test_what_is_no_number_is_refused(text: str) -> None:
    employee = somebody()
    token = new_token(employee)
    assert raw(token, employee, text, "f") == "SEQUENCE_USED"
    assert raw(token, employee, f"0{token.sequence}", "f") == "SEQUENCE_USED"
    assert raw(token, employee, token.sequence, "f") == "OK"


def test_a_token_serves_its_employee_only() -> None:
    owner, thief = somebody(), somebody()
    token = new_token(owner)
    assert consume(token, thief, token.sequence) == "TOKEN_INVALID"
    assert consume(token, owner, token.sequence) == "OK"
    assert consume(token, thief, token.sequence) == "TOKEN_INVALID"


def test_once_is_taken_by_the_first_call() -> None:
    employee = somebody()
    token = new_token(employee, Kind.ONCE)
    assert raw(token, employee, token.sequence + 5, "the call") == "OK"
    assert raw(token, employee, token.sequence, "next number") == "TOKEN_INVALID"
    assert raw(token, employee, token.sequence + 5, "other body") == "TOKEN_INVALID"
    assert raw(token, employee, token.sequence + 5, "the call") == "REPEAT"


@pytest.mark.parametrize(("kind", "seconds"), [(Kind.SESSION, 300), (Kind.ONCE, 60)])
def test_a_token_ends(kind: Kind, seconds: int) -> None:
    employee = somebody()
    token = new_token(employee, kind)
    server_seconds, microseconds = redis.client().time()
    expires = dt.datetime.fromisoformat(token.data["expires_at"])
    left = expires.timestamp() - server_seconds - microseconds / 1e6
    assert seconds - 5 < left <= seconds
    assert seconds - 5 < redis.client().ttl(token_key(token.text)) <= seconds
    last_moment = int(expires.timestamp() * 1000)
    assert raw(token, employee, token.sequence, "f", last_moment) == "TOKEN_INVALID"
    assert raw(token, employee, token.sequence, "f", last_moment - 1) == "OK"
    assert raw(token, employee, token.sequence, "f", last_moment) == "TOKEN_INVALID"  # a repeat, too: too late
    redis.client().delete(token_key(token.text))
    assert raw(token, employee, token.sequence + 1, "f") == "TOKEN_INVALID"


def test_a_token_is_a_label_and_128_random_bits_and_redis_knows_neither() -> None:
    employee = somebody()
    token = new_token(employee)
    label, _, secret = token.text.partition(".")
    assert re.fullmatch(rf"session-acme-{employee.pk}-\d{{17}}-\d{{4}}", label)
    assert len(secret) == 22
    assert secret != new_token(employee).text.partition(".")[2]
    assert 10_000 <= token.sequence <= 99_999
    client = redis.client()
    stored = repr(client.hgetall(token_key(token.text))) + repr(client.xrange(f"push:stream:employee:{employee.pk}"))
    assert secret not in stored
    assert label not in stored


def test_verdicts_of_the_script_are_those_of_the_code() -> None:
    assert set(re.findall(r"return '([A-Z_]+)'", CONSUME_LUA)) == {verdict.value for verdict in Verdict}


# --- over the API -----------------------------------------------------------------------------------------------------


@pytest.fixture
def required(settings: Settings) -> None:
    settings.VALIDATOR = "required"


@pytest.fixture
def people(committed_db: None) -> list[Employee]:
    world = worlds.make_world(3)
    worlds.give_money(world.employees[0], 1_000)
    return world.employees


def ask(client: Client, employee: Employee, body: Any) -> Any:
    headers = {"Authorization": f"Bearer {worlds.token_of(employee)}"}
    return client.post("/api/v1/validator/tokens", body, content_type="application/json", headers=headers)


def transfer(
    client: Client,
    payer: Employee,
    headers: dict[str, str],
    *,
    key: str = "",
    amount_fen: int = 1,
    to: str = "e0002",
) -> Any:
    return client.post(
        "/api/v1/transfers",
        {"to_employee": to, "amount_fen": amount_fen, "memo": "lunch"},
        content_type="application/json",
        headers={
            "Authorization": f"Bearer {worlds.token_of(payer)}",
            "Idempotency-Key": key or uuid.uuid4().hex,
            "Accept-Language": "en",
            **headers,
        },
    )


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_the_answer_names_the_request_and_the_channel_brings_the_token(client: Client, people: list[Employee]) -> None:
    answer = ask(client, people[0], {"kind": "session"})
    assert answer.status_code == 202
    assert set(answer.json()) == {"request_id"}
    token = pushed_token(people[0], answer.json()["request_id"])
    assert set(token.data) == {"request_id", "kind", "token", "sequence", "expires_at"}
    assert token.data["kind"] == "session"
    assert events_of(people[1]) == []
    for name, value in answer.headers.items():
        assert token.text not in f"{name}{value}"


@pytest.mark.parametrize("body", [{}, {"kind": "always"}, {"kind": None}, {"kind": "once", "more": 1}, [], {"kind": 1}])
def test_a_wrong_request_gets_no_token(client: Client, people: list[Employee], body: Any) -> None:
    assert code_of(ask(client, people[0], body)) == (400, "invalid_request")
    assert events_of(people[0]) == []


def test_too_many_tokens_are_refused_and_none_is_sent(
    client: Client, people: list[Employee], settings: Settings
) -> None:
    settings.VALIDATOR_TOKENS_PER_MINUTE = 3
    assert [ask(client, people[0], {"kind": "once"}).status_code for _ in range(3)] == [202] * 3
    refused = ask(client, people[0], {"kind": "session"})
    assert code_of(refused) == (429, "rate_limited")
    assert 0 < int(refused["Retry-After"]) <= validator.ISSUED_SECONDS
    assert len(events_of(people[0])) == 3
    assert ask(client, people[1], {"kind": "once"}).status_code == 202
    redis.client().delete(validator.issued_key(employee_id=people[0].pk))  # the end of its life
    assert ask(client, people[0], {"kind": "once"}).status_code == 202


def test_without_log_in_there_is_no_token(client: Client, db: None) -> None:
    answer = client.post("/api/v1/validator/tokens", {"kind": "once"}, content_type="application/json")
    assert code_of(answer) == (401, "not_authenticated")


def test_a_transfer_needs_a_fresh_number(client: Client, people: list[Employee], required: None) -> None:
    payer = people[0]
    token = new_token(payer)
    first = token.sequence
    assert code_of(transfer(client, payer, {})) == (403, "token_invalid")
    assert code_of(transfer(client, payer, {"X-Pay-Token": token.text})) == (403, "token_invalid")
    assert code_of(transfer(client, payer, {"X-Pay-Seq": str(first)})) == (403, "token_invalid")
    assert code_of(transfer(client, payer, {"X-Pay-Token": "x" * 300, "X-Pay-Seq": "1"})) == (403, "token_invalid")
    assert code_of(transfer(client, payer, token.headers(first + WINDOW + 1))) == (403, "sequence_used")
    assert worlds.wallet_of(payer) == (1_000, 0)
    assert transfer(client, payer, token.headers()).status_code == 201
    assert code_of(transfer(client, payer, token.headers(first))) == (403, "sequence_used")
    assert transfer(client, payer, token.headers(first + WINDOW)).status_code == 201
    assert worlds.wallet_of(payer) == (998, 0)
    assert len(orders.list_orders(employee_id=payer.pk, limit=50).items) == 3  # the recharge and two transfers


def test_the_same_request_again_gets_the_first_answer(client: Client, people: list[Employee], required: None) -> None:
    payer, key = people[0], uuid.uuid4().hex
    for token in (new_token(payer), new_token(payer, Kind.ONCE)):
        before = worlds.wallet_of(payer)[0]
        headers, key = token.headers(), uuid.uuid4().hex
        first = transfer(client, payer, headers, key=key)
        again = transfer(client, payer, headers, key=key)
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.json() == first.json()
        assert again.headers["Idempotent-Replayed"] == "true"
        renewed = transfer(client, payer, new_token(payer).headers(), key=key)
        assert renewed.json() == first.json()
        assert worlds.wallet_of(payer) == (before - 1, 0)


def test_a_refused_call_costs_its_number_and_a_malformed_one_does_not(
    client: Client, people: list[Employee], required: None
) -> None:
    payer = people[0]
    token = new_token(payer)
    login = {"Authorization": f"Bearer {worlds.token_of(payer)}", "Idempotency-Key": "k"}
    broken = client.post(
        "/api/v1/transfers", "{", content_type="application/json", headers={**login, **token.headers(token.sequence)}
    )
    assert code_of(broken) == (400, "invalid_request")
    nested = client.post(
        "/api/v1/transfers",
        "[" * 100_000,
        content_type="application/json",
        headers={**login, **token.headers(token.sequence)},
    )
    assert code_of(nested) == (400, "invalid_request")
    headers = token.headers(token.sequence)
    assert code_of(transfer(client, payer, headers, amount_fen=5_000)) == (422, "insufficient_funds")
    assert code_of(transfer(client, payer, headers)) == (403, "sequence_used")
    assert worlds.wallet_of(payer) == (1_000, 0)


def test_when_sent_only_what_is_sent_is_checked(client: Client, people: list[Employee]) -> None:
    payer = people[0]
    token = new_token(payer)
    assert transfer(client, payer, {}).status_code == 201
    assert code_of(transfer(client, payer, {"X-Pay-Token": "guess", "X-Pay-Seq": "1"})) == (403, "token_invalid")
    assert transfer(client, payer, token.headers(token.sequence)).status_code == 201
    assert code_of(transfer(client, payer, token.headers(token.sequence))) == (403, "sequence_used")
    assert worlds.wallet_of(payer) == (998, 0)


@pytest.mark.parametrize("mode", ["required", "when_sent"])
def test_without_redis_money_does_not_move(
    client: Client, people: list[Employee], settings: Settings, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(redis, "breaker", redis.Breaker())
    payer, token = people[0], new_token(people[0])
    access_token = worlds.token_of(payer)
    monkeypatch.setattr(worlds, "token_of", lambda employee: access_token)  # nobody logs in without Redis
    settings.VALIDATOR = mode
    settings.REDIS_URL = CLOSED_PORT
    refused = transfer(client, payer, token.headers())
    assert code_of(refused) == (503, "busy")
    assert int(refused.headers["Retry-After"]) >= 1
    assert code_of(ask(client, payer, {"kind": "session"})) == (503, "busy")
    with pytest.raises(Busy):
        validator.issue(employee=payer, kind=Kind.ONCE, now=worlds.NOW)
    assert worlds.wallet_of(payer) == (1_000, 0)
    assert orders.list_orders(employee_id=payer.pk, limit=50).items[0].kind == "RECHARGE"


def test_paying_an_order_from_the_wallet_needs_a_number(client: Client, people: list[Employee], required: None) -> None:
    payer, token = people[0], new_token(people[0])
    shop = open_shop(payer.enterprise_id)
    body = {"business_order_no": uuid.uuid4().hex, "amount_fen": 10, "subject": "tea"}
    order_no = shop.post(body, key=uuid.uuid4().hex).json()["order"]["order_no"]

    def pay(headers: dict[str, str]) -> Any:
        return client.post(
            f"/api/v1/orders/{order_no}/attempts",
            {"channel": "wallet"},
            content_type="application/json",
            headers={"Authorization": f"Bearer {worlds.token_of(payer)}", "Idempotency-Key": "pay", **headers},
        )

    assert code_of(pay({})) == (403, "token_invalid")
    assert worlds.wallet_of(payer) == (1_000, 0)
    assert pay(token.headers()).status_code == 201
    assert worlds.wallet_of(payer) == (990, 0)


def test_a_red_packet_needs_a_number(client: Client, people: list[Employee], required: None) -> None:
    login = {"Authorization": f"Bearer {worlds.token_of(people[0])}", "Idempotency-Key": uuid.uuid4().hex}
    refused = client.post(
        "/api/v1/redpackets",
        {"kind": "normal", "total_fen": 1, "count": 1, "receiver": "e0002", "pay": "wallet"},
        content_type="application/json",
        headers=login,
    )
    assert code_of(refused) == (403, "token_invalid")
    assert worlds.wallet_of(people[0]) == (1_000, 0)

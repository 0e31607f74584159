"""One number, 200 callers at the same moment: one of them. With a control that shows the race without the script."""

from __future__ import annotations

import uuid

from foundation import redis
from foundation.errors import PermissionDenied
from identity.models import Employee, Enterprise
from identity.services import validator
from identity.services.validator import Kind, SequenceUsed, TokenInvalid
from identity.validator_lua import WINDOW
from tests.concurrency.foundation.crowd import together
from tests.validating import Token, new_token

CROWD = 200


def somebody() -> Employee:
    enterprise = Enterprise(pk=7, code="acme", name="Acme")
    return Employee(pk=uuid.uuid4().int % 2**53, enterprise=enterprise, code="e01", name="Somebody")


def rush(token: Token, employee: Employee, numbers: list[int], fingerprints: list[str]) -> list[object]:
    """All at once; None for who was let through, else the class of what he was told."""
    shown = [token.shown(employee, *one) for one in zip(numbers, fingerprints, strict=True)]
    results = together([lambda one=one: validator.consume(presented=one) for one in shown])
    return [None if result is None else type(result) for result in results]


def test_one_of_200_callers_with_the_same_number_passes() -> None:
    employee = somebody()
    token = new_token(employee)
    told = rush(token, employee, [token.sequence] * CROWD, [f"{place:032x}" for place in range(CROWD)])
    assert told.count(None) == 1
    assert told.count(SequenceUsed) == CROWD - 1


def test_a_once_token_serves_one_of_200_callers_with_numbers_of_their_own() -> None:
    employee = somebody()
    token = new_token(employee, Kind.ONCE)
    numbers = [token.sequence + place % (WINDOW + 1) for place in range(CROWD)]
    told = rush(token, employee, numbers, [f"{place:032x}" for place in range(CROWD)])
    assert told.count(None) == 1
    assert told.count(TokenInvalid) == CROWD - 1


def test_calls_that_overtake_each_other_all_pass() -> None:
    employee = somebody()
    token = new_token(employee)
    numbers = [token.sequence + place for place in range(WINDOW + 1)]
    told = rush(token, employee, numbers[::-1], [str(number) for number in numbers])
    assert told == [None] * (WINDOW + 1)


def test_control_looking_first_and_writing_then_lets_several_through() -> None:
    """Why it is one script: the same rule in two commands."""
    key = f"test:control:{uuid.uuid4().hex}"

    def look_then_write() -> None:
        client = redis.client()
        if client.hget(key, "used"):
            raise PermissionDenied()
        client.hset(key, "used", "1")

    let_through = 0
    for _ in range(20):
        redis.client().delete(key)
        let_through = max(let_through, together([look_then_write] * CROWD).count(None))
        if let_through > 1:
            break
    redis.client().delete(key)
    assert let_through > 1

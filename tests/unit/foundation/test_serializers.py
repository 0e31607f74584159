"""Strict input: an integer is an integer, a string a string, an unknown field an error."""

from __future__ import annotations

import json

import pytest
from rest_framework import serializers

from foundation.api.serializers import FenIntegerField, StrictIntegerField, StrictSerializer, TextField
from foundation.money import MAX_FEN


class Line(StrictSerializer):
    amount_fen = FenIntegerField()


class Body(StrictSerializer):
    amount_fen = FenIntegerField(required=False)
    number = StrictIntegerField(required=False)
    name = TextField(required=False, max_length=5)
    line = Line(required=False)
    lines = serializers.ListField(child=Line(), required=False)


def errors_of(text: str) -> dict[str, object]:
    """What is refused of a body in JSON, by field; {} when it is taken."""
    body = Body(data=json.loads(text))
    return {} if body.is_valid() else dict(body.errors)


@pytest.mark.parametrize("amount", [1, 100, MAX_FEN])
def test_amounts_in_range_are_taken(amount: int) -> None:
    body = Body(data={"amount_fen": amount})
    assert body.is_valid(), body.errors
    assert body.validated_data == {"amount_fen": amount}
    assert type(body.validated_data["amount_fen"]) is int


@pytest.mark.parametrize(
    "literal",
    [
        *("1.5", "1.0", "1e3", '"10"', '""', "true", "false", "null", "[]", "{}", "[1]"),
        *("0", "-1", str(MAX_FEN + 1), "9" * 400),
    ],
    ids=lambda literal: literal[:12],
)
def test_anything_else_is_no_amount(literal: str) -> None:
    assert list(errors_of(f'{{"amount_fen": {literal}}}')) == ["amount_fen"]


@pytest.mark.parametrize(
    ("literal", "is_taken"),
    [
        ("0", True),
        (str(-(2**63)), True),
        (str(2**63 - 1), True),
        (str(2**63), False),
        (str(-(2**63) - 1), False),
        ("1.0", False),
        ('"1"', False),
        ("true", False),
    ],
)
def test_integers_fit_a_column(literal: str, is_taken: bool) -> None:
    assert (errors_of(f'{{"number": {literal}}}') == {}) is is_taken


@pytest.mark.parametrize("literal", ["1", "1.5", "true", "[]", "{}", "null", '"123456"', '"a\\u0000"', '"\\ud800"'])
def test_text_is_a_json_string_of_characters(literal: str) -> None:
    assert list(errors_of(f'{{"name": {literal}}}')) == ["name"]


def test_text_is_trimmed() -> None:
    body = Body(data={"name": " 张三 "})
    assert body.is_valid()
    assert body.validated_data == {"name": "张三"}


def test_unknown_fields_are_named() -> None:
    assert errors_of('{"amount_fen": 1, "amount": 1, "Amount_fen": 2}') == {
        "amount": ["unknown field"],
        "Amount_fen": ["unknown field"],
    }


def test_unknown_fields_are_refused_inside_too() -> None:
    assert errors_of('{"line": {"amount_fen": 1, "x": 1}}') == {"line": {"x": ["unknown field"]}}
    assert errors_of('{"lines": [{"amount_fen": 1}, {"amount_fen": 1, "x": 1}]}') == {
        "lines": {1: {"x": ["unknown field"]}}
    }

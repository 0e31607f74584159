"""The language of conditions: what compiles, what is refused and why, and that nothing slow or silent gets through."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_engine.errors import EngineError

from risk.domain.expressions import ExpressionInvalid, compile_expression, engine_values
from risk.domain.facts import Action, Fact, FactType, Unit, of_action

W = Action.WITHDRAWAL
FACTS: dict[str, object] = {
    "amount_fen": 10_000,
    "amount_today_fen": 5,
    "count_today": 3,
    "channel": "wechat",
    "enterprise": "7",
    "on_block_list": False,
    "on_allow_list": True,
    "card_is_new": True,
    "hour_of_day": 23,
}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("count_today >= 3", True),
        ("count_today > 3", False),
        ("amount_today_fen + amount_fen > 10004", True),
        ("amount_today_fen + amount_fen > 10005", False),
        ("not on_block_list and on_allow_list", True),
        ("on_block_list or card_is_new", True),
        ('channel in ["wechat", "kuaiqian"]', True),
        ("channel not in ['alipay']", True),
        ("amount_fen % 10000 == 0", True),
        ("-amount_fen * 2 <= 0 - 20000", True),
        ("on_block_list == false", True),
        ("hour_of_day in [22, 23, 0, 1]", True),
        ('enterprise == "7" and (amount_fen < 1 or card_is_new)', True),
        ("amount_fen == 10000", True),
        ("999999999999999 * 999999999999999 > amount_fen", True),
    ],
)
def test_a_condition_is_answered_exactly(text: str, answer: bool) -> None:
    assert compile_expression(text, action=W).is_true(engine_values(FACTS)) is answer


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('channel =~ "we.*"', "Regular expressions"),
        ('channel !~~ "a"', "Regular expressions"),
        ('"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!" =~ "(a+)+$" and on_block_list', "Regular expressions"),
        ("amount_fen == null", "no null"),
        ("null == null and on_block_list", "no null"),
        ("amonut_fen > 1", "Did you mean “amount_fen”"),
        ("payee_is_new", "There is no fact “payee_is_new” here"),
        ('amount_fen == "10000"', "two different types"),
        ("on_block_list == 1", "two different types"),
        ('amount_fen in [1, "2"]', "two different types"),
        ("amount_fen > account_age_days", "fen and days"),
        ("count_today + amount_fen > 3", "times and fen"),
        ("on_block_list and amount_fen", "another type"),
        ("not amount_fen", "another type"),
        ('channel > "a"', "another type"),
        ("amount_fen", "yes or no"),
        ("true", "asks about no fact"),
        ("1 == 1", "asks about no fact"),
        ('"a" == "b" or on_block_list', "comparison in it asks about no fact"),
        ("9 ** 9 ** 9 > amount_fen", "Not allowed"),
        ("amount_fen / 0 > 1", "Not allowed"),
        ("amount_fen % 0 == 1", "above 0"),
        ("amount_fen > 1.5", "Not allowed"),
        ("amount_fen > 1e9", "Not allowed"),
        ("$now > 1", "Not allowed"),
        ("channel.length > 1", "Not allowed"),
        ('d"2026-01-01" > 1', "Not allowed"),
        ("on_block_list ? true : false", "Not allowed"),
        ("[amount_fen for x in [1]] == 1", "Not allowed"),
        ("amount_fen(1) > 2", "Not understood"),
        ("[1][0] == amount_fen", "Not allowed"),
        ('channel == "wechatt"', "Did you mean “wechat”"),
        ('channel in ["alipya"]', "Did you mean “alipay”"),
        ("channel in enterprise", r"fact in \[value, value\]"),
        ("amount_fen >", "Not understood"),
        ("(" * 50, "Not understood"),
        ("", "Write a condition"),
        ("on_block_list # comment", "Not allowed"),
        ("on_block_list\nor true", "Not allowed"),
        ("on_block_list or " * 40 + "on_block_list", "Longer than|Too long"),
    ],
)
def test_everything_else_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(ExpressionInvalid, match=why) as caught:
        compile_expression(text, action=W)
    assert not caught.value.text_zh.isascii()


def test_a_suggestion_is_the_right_name() -> None:
    for wrong, right in (
        ("acount_age_days", "account_age_days"),
        ("count_todya", "count_today"),
        ("chanel", "channel"),
    ):
        with pytest.raises(ExpressionInvalid) as caught:
            compile_expression(f"{wrong} == 1", action=W)
        assert caught.value.suggestion == right


@pytest.mark.parametrize("facts", [{}, {"amount_fen": None}, {"amount_fen": "5"}, {"amount_fen": True}])
def test_a_missing_or_wrong_value_raises_and_never_answers(facts: dict[str, object]) -> None:
    expression = compile_expression("amount_fen > 1", action=W)
    with pytest.raises((KeyError, TypeError, AttributeError, EngineError)):
        expression.is_true(engine_values(facts))


@given(st.text(alphabet="amount_fen channel<>=!~()[]\"'0123456789+-*/%,.$?:&|#{} notandorinforif\\", max_size=60))
def test_no_text_makes_the_compiler_fail_otherwise_or_think_long(text: str) -> None:
    began = time.process_time()
    with contextlib.suppress(ExpressionInvalid):
        assert compile_expression(text, action=W).fact_names
    assert time.process_time() - began < 1


def test_the_catalogue_is_complete_in_both_languages_and_says_units() -> None:
    for action in Action:
        for name, fact in of_action(action).items():
            assert name.isidentifier()
            assert fact.label_en.isascii()
            assert not fact.label_zh.isascii()
            assert (fact.unit is Unit.FEN) == name.endswith("_fen")
            assert fact.type is FactType.NUMBER or fact.unit is Unit.NONE


def test_facts_accept_exactly_their_type() -> None:
    number, flag, text = (
        Fact(name="n", label_en="n", label_zh="数", type=kind)
        for kind in (FactType.NUMBER, FactType.FLAG, FactType.TEXT)
    )
    values: list[object] = [0, 5, -1, True, False, 1.0, "5", "", None]
    assert [value for value in values if number.accepts(value)] == [0, 5]
    assert [flag.accepts(value) for value in values] == [False, False, False, True, True, False, False, False, False]
    assert [text.accepts(value) for value in values] == [False, False, False, False, False, False, True, True, False]

"""One condition of a decision table: checked and compiled with rule-engine 5.1, in a small part of its language.

Allowed: facts of the action, whole numbers, texts in quotes, true and false, `and or not`, `== != < <= > >=`,
`in [ … ]`, `+ - * %` and parentheses. Everything else of the library is refused before it sees the
text, because it works out constant parts while it compiles: regular expressions (one pattern took 5.9 s), null, powers,
functions, attributes, comprehensions, dates. What the library lets pass is refused afterwards: comparing two types (it
would be silently false), other units, numbers as truth, and conditions that ask about no fact.
Source: design `admin.md`, Rule engine; rule_engine/parser/__init__.py and rule_engine/ast/ of 5.1.0.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import rule_engine
from rule_engine import ast
from rule_engine.errors import EngineError
from rule_engine.suggestions import suggest_symbol

from risk.domain.facts import Action, Fact, FactType, Unit, of_action

MAX_LENGTH = 500
"""Characters of a condition: what a person can still read."""
MAX_TOKENS = 120
"""Bounds the depth of the tree, and with it the recursion of an evaluation."""
DECIMALS = decimal.Context(prec=40)
"""Amounts have up to 15 digits: products of two of them are exact."""

_TOKEN = re.compile(
    r"""(?P<space>[ \t]+)
      | (?P<number>\d{1,15}(?![\w.]))
      | (?P<text>"[^"\\\n]{0,60}"|'[^'\\\n]{0,60}')
      | (?P<word>[A-Za-z_]\w*(?!["'\w]))
      | (?P<regex>=~~?|!~~?)
      | (?P<sign>==|!=|<=(?![<=>])|>=(?![<=>])|<(?![<=>])|>(?![<=>])|\*(?!\*)|[-+%()\[\],])""",
    re.VERBOSE | re.ASCII,
)
_WORDS = frozenset({"and", "or", "not", "in", "true", "false"})
_REFUSED_WORDS = frozenset({"null", "inf", "nan", "for", "if", "elif", "else", "while"})
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_TYPES = {
    FactType.NUMBER: rule_engine.DataType.FLOAT,
    FactType.TEXT: rule_engine.DataType.STRING,
    FactType.FLAG: rule_engine.DataType.BOOLEAN,
}
_ORDERED = ast.ArithmeticComparisonExpression


class ExpressionInvalid(ValueError):
    """Why a condition is refused, in both languages; `suggestion` is the right name of a misspelt fact or text."""

    def __init__(self, text_en: str, text_zh: str, suggestion: str = "") -> None:
        super().__init__(text_en)
        self.text_en, self.text_zh, self.suggestion = text_en, text_zh, suggestion


@dataclass(frozen=True)
class Expression:
    """A compiled condition; safe to share between threads."""

    text: str
    fact_names: frozenset[str]
    _statement: Any

    def is_true(self, values: Mapping[str, Any]) -> bool:
        """The answer for `values` (of `engine_values`). Raises whatever goes wrong, also for another answer."""
        answer = self._statement.evaluate(values)
        if type(answer) is not bool:
            raise TypeError(f"not a yes or no: {answer!r}")
        return answer


def engine_values(facts: Mapping[str, object]) -> dict[str, Any]:
    """Facts as the library computes with them: numbers become exact decimals once for all rows."""
    return {name: decimal.Decimal(value) if type(value) is int else value for name, value in facts.items()}


def compile_expression(text: str, *, action: Action) -> Expression:
    """Checks a condition against the facts of `action` and compiles it. Raises ExpressionInvalid."""
    facts = of_action(action)
    comparisons = _check_tokens(text, facts)
    try:
        statement = rule_engine.Rule(text, context=_context(action)).statement
    except EngineError as error:
        raise ExpressionInvalid(f"Not understood: {error.message}.", f"无法识别：{error.message}。") from error
    except (ArithmeticError, TypeError, ValueError, AssertionError) as error:
        raise ExpressionInvalid(f"Not understood: {error!r}.", f"无法识别：{error!r}。") from error
    _check_node(statement.expression, facts)
    if statement.expression.result_type != rule_engine.DataType.BOOLEAN:
        raise ExpressionInvalid("The condition must be a yes or no.", "条件的结果必须是“是”或“否”。")
    nodes = list(_nodes(statement.expression))
    names = frozenset(node.name for node in nodes if isinstance(node, ast.SymbolExpression))
    if not names:
        raise ExpressionInvalid("The condition asks about no fact.", "条件没有使用任何事实。")
    if sum(isinstance(node, ast.ComparisonExpression | ast.ContainsExpression) for node in nodes) != comparisons:
        raise ExpressionInvalid("A comparison in it asks about no fact.", "其中有不涉及任何事实的比较。")
    return Expression(text, names, statement)


@functools.cache
def _context(action: Action) -> rule_engine.Context:
    """Types of an action's facts, shared by all rows: what the library keeps in it per thread is never used here."""
    return rule_engine.Context(
        type_resolver={name: _TYPES[fact.type] for name, fact in of_action(action).items()},
        resolver=operator.getitem,
        default_timezone=dt.UTC,
        decimal_context=DECIMALS,
        mapping_attribute_lookup=False,
    )


def _check_tokens(text: str, facts: Mapping[str, Fact]) -> int:
    """Refuses what is not of our part of the language; returns the number of comparisons."""
    if not text.strip():
        raise ExpressionInvalid("Write a condition.", "请填写条件。")
    if len(text) > MAX_LENGTH:
        raise ExpressionInvalid(
            f"Longer than {MAX_LENGTH} characters: split it into rows.", f"超过 {MAX_LENGTH} 个字符，请拆成多行。"
        )
    position, tokens, comparisons, before = 0, 0, 0, ""
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise _not_allowed(text[position : position + 12])
        position, piece = found.end(), found.group()
        if found.lastgroup == "regex":
            raise ExpressionInvalid("Regular expressions are not allowed.", "不允许使用正则表达式。")
        if found.lastgroup == "word":
            _check_word(piece, facts)
        if piece == "[" and before != "in":
            raise _not_allowed(text[position - 1 : position + 12])
        before = before if found.lastgroup == "space" else piece
        tokens += found.lastgroup != "space"
        comparisons += piece in _COMPARISONS
    if tokens > MAX_TOKENS:
        raise ExpressionInvalid("Too long: split it into rows.", "过长，请拆成多行。")
    return comparisons


def _check_word(word: str, facts: Mapping[str, Fact]) -> None:
    if word == "null":
        raise ExpressionInvalid("There is no null: every fact has a value.", "不允许使用 null：每个事实都有值。")
    if word in _REFUSED_WORDS:
        raise _not_allowed(word)
    if word not in _WORDS and word not in facts:
        suggestion = suggest_symbol(word, facts) or ""
        raise ExpressionInvalid(
            f"There is no fact “{word}” here. Did you mean “{suggestion}”?",
            f"此处没有事实“{word}”，是否指“{suggestion}”？",
            suggestion,
        )


def _not_allowed(piece: str) -> ExpressionInvalid:
    return ExpressionInvalid(f"Not allowed in a condition: {piece}", f"条件中不允许使用：{piece}")


def _children(node: Any) -> tuple[Any, ...]:
    if isinstance(node, ast.BinaryExpressionBase):
        return (node.left, node.right)
    if isinstance(node, ast.UnaryExpression):
        return (node.right,)
    if isinstance(node, ast.ContainsExpression):
        return (node.member, node.container)
    if isinstance(node, ast.ArrayExpression):
        return tuple(node.value)
    return ()


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for child in _children(node):
        yield from _nodes(child)


def _check_node(node: Any, facts: Mapping[str, Fact]) -> None:
    """Types of every part; only the kinds of nodes named here exist in our language."""
    number, flag = rule_engine.DataType.FLOAT, rule_engine.DataType.BOOLEAN
    if isinstance(node, ast.LogicExpression):
        _need(flag, node.left, node.right)
    elif isinstance(node, ast.UnaryExpression):
        _need(flag if node.type == "not" else number, node.right)
    elif isinstance(node, _ORDERED):
        _need(number, node.left, node.right)
        _units(node, facts)
    elif isinstance(node, ast.ComparisonExpression) and node.type in ("eq", "ne"):
        if node.left.result_type != node.right.result_type:
            raise ExpressionInvalid("It compares two different types.", "比较的两边类型不同。")
        _units(node, facts)
        _check_texts(node.left, [node.right], facts)
        _check_texts(node.right, [node.left], facts)
    elif isinstance(node, ast.ContainsExpression):
        _check_in(node, facts)
    elif isinstance(node, ast.AddExpression | ast.SubtractExpression):
        _need(number, node.left, node.right)
        _units(node, facts)
    elif isinstance(node, ast.ArithmeticExpression) and node.type in ("mul", "mod"):
        _need(number, node.left, node.right)
        if node.type == "mod" and not (isinstance(node.right, ast.FloatExpression) and node.right.value > 0):
            raise ExpressionInvalid("Right of % write a number above 0.", "% 的右边必须是大于 0 的数。")
    elif not isinstance(
        node, ast.SymbolExpression | ast.FloatExpression | ast.StringExpression | ast.BooleanExpression
    ):
        raise _not_allowed(type(node).__name__.removesuffix("Expression").lower())
    for child in _children(node):
        if not (isinstance(node, ast.ContainsExpression) and child is node.container):
            _check_node(child, facts)


def _need(wanted: Any, *nodes: Any) -> None:
    if any(node.result_type != wanted for node in nodes):
        raise ExpressionInvalid(
            "A part of it has another type than the sign beside it needs.", "其中某一部分的类型与运算符不符。"
        )


def _check_in(node: Any, facts: Mapping[str, Fact]) -> None:
    """`fact in [literals]`, all of the fact's type."""
    literals = (ast.FloatExpression, ast.StringExpression)
    if (
        not isinstance(node.container, ast.ArrayExpression)
        or not node.container.value
        or not isinstance(node.member, ast.SymbolExpression)
        or not all(isinstance(item, literals) for item in node.container.value)
    ):
        raise ExpressionInvalid("Write: fact in [value, value]", "写法：事实 in [值, 值]")
    if any(item.result_type != node.member.result_type for item in node.container.value):
        raise ExpressionInvalid("It compares two different types.", "比较的两边类型不同。")
    _check_texts(node.member, node.container.value, facts)


def _check_texts(symbol: Any, others: list[Any], facts: Mapping[str, Fact]) -> None:
    """A text the fact can never have is a slip of the pen."""
    if not isinstance(symbol, ast.SymbolExpression) or not facts[symbol.name].values:
        return
    for other in others:
        if isinstance(other, ast.StringExpression) and other.value not in facts[symbol.name].values:
            suggestion = suggest_symbol(other.value, facts[symbol.name].values) or ""
            raise ExpressionInvalid(
                f"{symbol.name} is never “{other.value}”. Did you mean “{suggestion}”?",
                f"{symbol.name} 不可能是“{other.value}”，是否指“{suggestion}”？",
                suggestion,
            )


def _units(node: Any, facts: Mapping[str, Fact]) -> None:
    left, right = _unit(node.left, facts), _unit(node.right, facts)
    if left and right and left is not right:
        raise ExpressionInvalid(
            f"It puts {left.value} and {right.value} together.", f"单位不同：{left.value} 与 {right.value}。"
        )


def _unit(node: Any, facts: Mapping[str, Fact]) -> Unit | None:
    """The unit of a number; None for literals and products."""
    if isinstance(node, ast.SymbolExpression):
        return facts[node.name].unit or None
    if isinstance(node, ast.AddExpression | ast.SubtractExpression):
        return _unit(node.left, facts) or _unit(node.right, facts)
    if isinstance(node, ast.UnaryExpression):
        return _unit(node.right, facts)
    return None

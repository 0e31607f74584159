"""The decision table: fixed order, scores, shadow, errors that never pass, and every wrong cell at once."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.domain.facts import Action
from risk.domain.tables import (
    MAX_ROWS,
    Mode,
    Outcome,
    Result,
    Row,
    RowAction,
    TableInvalid,
    Thresholds,
    Until,
    compile_table,
)
from risk.domain.versions import difference, digest

FACTS: dict[str, object] = {"amount_fen": 100, "on_allow_list": False, "on_block_list": False, "count_today": 0}
YES, NO, BROKEN = "amount_fen > 0", "amount_fen < 0", "card_is_new"


def row(code: str, expression: str, action: str = RowAction.REJECT, position: int = 1, **more: object) -> Row:
    values: dict = {"title_en": code, "title_zh": code, "reason_en": f"r {code}", "reason_zh": f"因 {code}", **more}
    return Row(position=position, code=code, expression=expression, action=action, **values)


def judge(*rows: Row, thresholds: Thresholds | None = None, facts: dict[str, object] | None = None) -> Result:
    table = compile_table(action=Action.WITHDRAWAL, rows=rows, thresholds=thresholds or Thresholds())
    return table.evaluate(FACTS if facts is None else facts)


def test_nothing_hit_is_a_pass_without_reason() -> None:
    assert judge(row("A1", NO)) == Result(outcome=Outcome.PASS)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_allow_comes_before_block_before_review_whatever_the_order_of_rows(order: tuple[int, ...]) -> None:
    rows = [row("ALLOW", YES, RowAction.PASS), row("BLOCK", YES), row("CHECK", YES, RowAction.REVIEW)]
    placed = [row(rows[i].code, YES, rows[i].action, position) for position, i in enumerate(order, start=1)]
    assert (judge(*placed).outcome, judge(*placed).rule_code) == (Outcome.PASS, "ALLOW")
    blocked = [item for item in placed if item.code != "ALLOW"]
    assert judge(*blocked).rule_code == "BLOCK"
    assert judge(*[item for item in blocked if item.code != "BLOCK"]).outcome is Outcome.REVIEW


def test_the_first_row_of_the_deciding_kind_gives_reason_and_end() -> None:
    result = judge(row("B2", YES, position=2), row("B1", YES, position=1, until=Until.DAY), row("B3", NO, position=3))
    assert (result.rule_code, result.reason_en, result.reason_zh) == ("B1", "r B1", "因 B1")
    assert (result.until, result.hits) == (Until.DAY, ("B1", "B2"))


@pytest.mark.parametrize(
    ("scores", "outcome", "code"),
    [
        ((29,), Outcome.PASS, ""),
        ((30,), Outcome.REVIEW, "SCORE"),
        ((20, 10), Outcome.REVIEW, "SCORE"),
        ((30, 29), Outcome.REVIEW, "SCORE"),
        ((30, 30), Outcome.REJECT, "SCORE"),
    ],
)
def test_scores_decide_from_their_threshold_on(scores: tuple[int, ...], outcome: Outcome, code: str) -> None:
    rows = [row(f"S{n}", YES, RowAction.SCORE, n, score=score) for n, score in enumerate(scores, start=1)]
    result = judge(*rows, thresholds=Thresholds(review_score=30, reject_score=60))
    assert (result.outcome, result.rule_code, result.score) == (outcome, code, sum(scores))


def test_shadow_and_off_rows_change_nothing() -> None:
    result = judge(
        row("A1", YES, mode=Mode.SHADOW, score=900),
        row("A2", YES, mode=Mode.OFF, position=2),
        row("A3", BROKEN, mode=Mode.SHADOW, position=3),
        thresholds=Thresholds(reject_score=1),
    )
    assert (result.outcome, result.shadow_hits, result.hits, result.score) == (Outcome.PASS, ("A1",), (), 0)
    assert result.errors == ("shadow:A3",)


@pytest.mark.parametrize(
    ("other", "outcome"),
    [
        (row("A2", NO, position=2), Outcome.REVIEW),
        (row("A2", YES, RowAction.PASS, 2), Outcome.REVIEW),
        (row("A2", YES, RowAction.REVIEW, 2), Outcome.REVIEW),
        (row("A2", YES, position=2), Outcome.REJECT),
    ],
)
def test_a_row_that_cannot_be_evaluated_never_lets_pass(other: Row, outcome: Outcome) -> None:
    result = judge(row("A1", BROKEN), other)
    assert (result.outcome, result.errors) == (outcome, ("A1",))


VALUES = st.one_of(st.none(), st.booleans(), st.integers(-5, 10**15), st.text(max_size=3), st.floats(), st.just([1]))


@given(st.dictionaries(st.sampled_from(["amount_fen", "count_today", "card_is_new", "channel", "nonsense"]), VALUES))
def test_whatever_the_facts_contain_it_answers_and_only_clean_facts_pass(facts: dict[str, object]) -> None:
    result = judge(
        row("A1", "amount_fen > 100 and count_today >= 0"), row("A2", "card_is_new", position=2), facts=facts
    )
    is_clean = (
        type(facts.get("amount_fen")) is int and type(facts.get("card_is_new")) is bool and "nonsense" not in facts
    )
    if result.outcome is Outcome.PASS:
        assert is_clean
        assert not result.errors


def test_every_wrong_cell_is_named_at_once() -> None:
    with pytest.raises(TableInvalid) as caught:
        compile_table(
            action=Action.RECHARGE,
            rows=[
                row("lower", YES),
                row("A2", "card_is_new", position=2),
                row("A2", YES, position=3, title_zh=" ", reason_en=""),
                row("SCORE", YES, "MAYBE", 4, score=1001),
                row("A5", YES, RowAction.SCORE, 5),
            ],
            thresholds=Thresholds(review_score=9, reject_score=5),
        )
    assert [(item.position, item.column) for item in caught.value.errors] == [
        (0, "review_score"),
        (1, "code"),
        (2, "expression"),
        (3, "code"),
        (3, "title_zh"),
        (3, "reason_en"),
        (4, "code"),
        (4, "action"),
        (4, "score"),
        (5, "score"),
    ]


def test_a_table_has_one_to_two_hundred_rows() -> None:
    many = [row(f"R{n}", NO, position=n) for n in range(1, MAX_ROWS + 2)]
    assert judge(*many[:-1]).outcome is Outcome.PASS
    for rows in ([], many):
        with pytest.raises(TableInvalid):
            judge(*rows)


def test_a_digest_changes_with_every_cell() -> None:
    base = row("A1", YES)
    others = [
        row("A2", YES),
        row("A1", NO),
        row("A1", YES, RowAction.REVIEW),
        row("A1", YES, position=2),
        row("A1", YES, score=1),
        row("A1", YES, mode=Mode.OFF),
        row("A1", YES, until=Until.DAY),
        row("A1", YES, reason_zh="别的"),
    ]
    marks = {digest(action="withdrawal", rows=[item], thresholds=Thresholds()) for item in [base, *others]}
    marks.add(digest(action="transfer", rows=[base], thresholds=Thresholds()))
    marks.add(digest(action="withdrawal", rows=[base], thresholds=Thresholds(review_score=1)))
    assert len(marks) == 11


def test_equal_tables_do_not_differ() -> None:
    rows = [row("A1", YES), row("A2", NO, position=2)]
    assert difference(rows, list(reversed(rows))) == []

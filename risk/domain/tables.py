"""The decision table: rows in order, compiled once, evaluated against typed facts.

Fixed order of what counts: allow list (a PASS row) › block (a REJECT row, or the score) › review (a REVIEW row, or the
score) › pass. Every live row is asked, so that the log shows all hits; the first hit of the deciding kind gives the
code and the reason. A row that cannot be evaluated, or a fact of the wrong type, makes a pass a review; a reject stays.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from risk.domain.expressions import DECIMALS, Expression, ExpressionInvalid, compile_expression, engine_values
from risk.domain.facts import Action, Fact, of_action

MAX_ROWS = 200
MAX_SCORE = 1000
CODE = re.compile(r"[A-Z][A-Z0-9_]{1,39}")
TITLE_MAX_LENGTH = 80
REASON_MAX_LENGTH = 200

SCORE_CODE = "SCORE"
"""Rule code of a verdict by the sum of scores."""
ERROR_CODE = "RULE_ERROR"
"""Rule code of a review because something could not be evaluated."""
NO_TABLE_CODE = "NO_RULES"
"""Rule code of a review because no table is active or none can be loaded."""
RESERVED_CODES = frozenset({SCORE_CODE, ERROR_CODE, NO_TABLE_CODE})
DEFAULT_REASON_EN = "This request cannot be carried out for safety reasons."
DEFAULT_REASON_ZH = "出于安全原因，无法办理该业务。"
REVIEW_REASON_EN = "This request is being checked by hand."
REVIEW_REASON_ZH = "该业务需要人工审核。"


class RowAction(StrEnum):
    """SCORE rows only add their score; the others decide, and add it too."""

    PASS = "PASS"  # noqa: S105 - no password
    REVIEW = "REVIEW"
    REJECT = "REJECT"
    SCORE = "SCORE"


class Mode(StrEnum):
    """SHADOW rows are evaluated and logged and change nothing; OFF rows are kept as templates."""

    LIVE = "LIVE"
    SHADOW = "SHADOW"
    OFF = "OFF"


class Until(StrEnum):
    """How long a refusal by this row lasts, as the employee is told."""

    NONE = "NONE"
    DAY = "DAY"
    YEAR = "YEAR"


class Outcome(StrEnum):
    PASS = "PASS"  # noqa: S105 - no password
    REVIEW = "REVIEW"
    REJECT = "REJECT"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row as stored. `reason_*` is what the employee reads when it decides."""

    position: int
    code: str
    title_en: str
    title_zh: str
    expression: str
    action: str
    score: int = 0
    mode: str = Mode.LIVE
    reason_en: str = ""
    reason_zh: str = ""
    until: str = Until.NONE


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Sums of scores from which on a request is reviewed or rejected; 0 switches one off."""

    review_score: int = 0
    reject_score: int = 0


@dataclass(frozen=True, kw_only=True)
class CellError:
    """What is wrong in one cell; `position` 0 is the table itself."""

    position: int
    column: str
    text_en: str
    text_zh: str
    suggestion: str = ""


class TableInvalid(ValueError):
    """Every wrong cell of a table."""

    def __init__(self, errors: Sequence[CellError]) -> None:
        super().__init__("; ".join(f"row {item.position} {item.column}: {item.text_en}" for item in errors))
        self.errors = tuple(errors)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a table says. `errors` names rows ("CODE") and facts ("fact:name") that could not be used."""

    outcome: Outcome
    rule_code: str = ""
    reason_en: str = ""
    reason_zh: str = ""
    until: Until = Until.NONE
    score: int = 0
    hits: tuple[str, ...] = ()
    shadow_hits: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Compiled:
    row: Row
    expression: Expression


@dataclass(frozen=True)
class Table:
    """A compiled table; immutable, shared by all threads of a process."""

    action: Action
    thresholds: Thresholds
    _rows: tuple[_Compiled, ...]
    _facts: Mapping[str, Fact]

    def evaluate(self, facts: Mapping[str, object]) -> Result:
        """The verdict about `facts` (name → value). Never raises for what the facts or rows contain."""
        errors = [f"fact:{name}" for name, value in facts.items() if not self._knows(name, value)]
        usable = {name: value for name, value in facts.items() if f"fact:{name}" not in errors} if errors else facts
        values = engine_values(usable)
        hits: list[Row] = []
        shadow_hits: list[str] = []
        with decimal.localcontext(DECIMALS):
            for item in self._rows:
                try:
                    is_hit = item.expression.is_true(values)
                except Exception:  # whatever it is: a row that cannot be asked must not let anything through
                    errors.append(item.row.code if item.row.mode == Mode.LIVE else f"shadow:{item.row.code}")
                    continue
                if is_hit and item.row.mode == Mode.LIVE:
                    hits.append(item.row)
                elif is_hit:
                    shadow_hits.append(item.row.code)
        return self._judge(hits, tuple(shadow_hits), tuple(errors))

    def _knows(self, name: str, value: object) -> bool:
        fact = self._facts.get(name)
        return fact is not None and fact.accepts(value)

    def _judge(self, hits: Sequence[Row], shadow_hits: tuple[str, ...], errors: tuple[str, ...]) -> Result:
        score = sum(row.score for row in hits)
        outcome, row, code = self._decide(hits, score)
        if outcome is Outcome.PASS and any(not error.startswith("shadow:") for error in errors):
            outcome, row, code = Outcome.REVIEW, None, ERROR_CODE
        reason_en, reason_zh = "", ""
        if outcome is not Outcome.PASS:
            is_reject = outcome is Outcome.REJECT
            reason_en = (row.reason_en if row else "") or (DEFAULT_REASON_EN if is_reject else REVIEW_REASON_EN)
            reason_zh = (row.reason_zh if row else "") or (DEFAULT_REASON_ZH if is_reject else REVIEW_REASON_ZH)
        return Result(
            outcome=outcome,
            rule_code=code,
            reason_en=reason_en,
            reason_zh=reason_zh,
            until=Until(row.until) if row and outcome is Outcome.REJECT else Until.NONE,
            score=score,
            hits=tuple(item.code for item in hits),
            shadow_hits=shadow_hits,
            errors=errors,
        )

    def _decide(self, hits: Sequence[Row], score: int) -> tuple[Outcome, Row | None, str]:
        for wanted, outcome, bound in (
            (RowAction.PASS, Outcome.PASS, 0),
            (RowAction.REJECT, Outcome.REJECT, self.thresholds.reject_score),
            (RowAction.REVIEW, Outcome.REVIEW, self.thresholds.review_score),
        ):
            for row in hits:
                if row.action == wanted:
                    return outcome, row, row.code
            if bound and score >= bound:
                return outcome, None, SCORE_CODE
        return Outcome.PASS, None, ""


def compile_table(*, action: Action, rows: Sequence[Row], thresholds: Thresholds) -> Table:
    """Checks and compiles a whole table. Raises TableInvalid with every wrong cell."""
    errors: list[CellError] = []
    compiled: list[_Compiled] = []
    seen: set[str] = set()
    if not 1 <= len(rows) <= MAX_ROWS:
        errors.append(_cell(0, "rows", f"A table has 1 to {MAX_ROWS} rows.", f"规则表应有 1 至 {MAX_ROWS} 行。"))
    for name, bound in (("review_score", thresholds.review_score), ("reject_score", thresholds.reject_score)):
        if not 0 <= bound <= MAX_SCORE:
            errors.append(_cell(0, name, f"From 0 to {MAX_SCORE}.", f"应为 0 至 {MAX_SCORE}。"))
    if thresholds.reject_score and thresholds.review_score >= thresholds.reject_score:
        errors.append(_cell(0, "review_score", "Must be below the reject score.", "必须小于拒绝分数。"))
    for row in sorted(rows, key=lambda item: item.position):
        errors += _plain_errors(row, seen)
        seen.add(row.code)
        try:
            expression = compile_expression(row.expression, action=action)
        except ExpressionInvalid as error:
            errors.append(
                CellError(
                    position=row.position,
                    column="expression",
                    text_en=error.text_en,
                    text_zh=error.text_zh,
                    suggestion=error.suggestion,
                )
            )
            continue
        if row.mode != Mode.OFF:
            compiled.append(_Compiled(row, expression))
    if errors:
        raise TableInvalid(errors)
    return Table(action, thresholds, tuple(compiled), of_action(action))


def _cell(position: int, column: str, text_en: str, text_zh: str) -> CellError:
    return CellError(position=position, column=column, text_en=text_en, text_zh=text_zh)


def _plain_errors(row: Row, seen: set[str]) -> list[CellError]:
    """All columns but the condition."""
    at = row.position
    found = []
    if CODE.fullmatch(row.code) is None or row.code in RESERVED_CODES:
        found.append(
            _cell(at, "code", "2 to 40 of A–Z, 0–9 and _, such as DAILY_COUNT.", "2 至 40 位大写字母、数字或 _。")
        )
    elif row.code in seen:
        found.append(_cell(at, "code", "This code stands in another row.", "代码与其他行重复。"))
    for column, text, most in (
        ("title_en", row.title_en, TITLE_MAX_LENGTH),
        ("title_zh", row.title_zh, TITLE_MAX_LENGTH),
        ("reason_en", row.reason_en, REASON_MAX_LENGTH),
        ("reason_zh", row.reason_zh, REASON_MAX_LENGTH),
    ):
        needs_text = column.startswith("title") or row.action in (RowAction.REJECT, RowAction.REVIEW)
        if (needs_text and not text.strip()) or len(text) > most:
            found.append(_cell(at, column, f"1 to {most} characters.", f"应为 1 至 {most} 个字符。"))
    for column, value, allowed in (
        ("action", row.action, RowAction),
        ("mode", row.mode, Mode),
        ("until", row.until, Until),
    ):
        if value not in list(allowed):
            found.append(_cell(at, column, "Choose one.", "请选择。"))
    if not 0 <= row.score <= MAX_SCORE or (row.action == RowAction.SCORE and row.score == 0):
        found.append(_cell(at, "score", f"From 0 to {MAX_SCORE}, above 0 for SCORE.", f"应为 0 至 {MAX_SCORE}。"))
    return found

"""What pages of risk control say in the reader's language."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.translation import get_language

from foundation.errors import PaysysError
from foundation.words import code_word
from risk.domain.facts import ACTION_NAMES, Action, Fact, FactType, of_action
from risk.domain.tables import CellError


def is_chinese() -> bool:
    return (get_language() or "").lower().startswith("zh")


def action_text(action: str) -> str:
    return ACTION_NAMES[Action(action)][1 if is_chinese() else 0]


def cell_text(error: CellError) -> str:
    return error.text_zh if is_chinese() else error.text_en


def error_text(error: PaysysError) -> str:
    """What a person reads of a refusal: the sentence, what exactly is wrong, and who was first."""
    parts = [error.message(get_language() or "en"), str(error.details.get("problem", ""))]
    if "by" in error.details:
        parts.append(" ".join(str(error.details.get(name, "")) for name in ("state", "by", "at")).strip())
    return " ".join(part for part in parts if part)


def fact_rows(action: str) -> list[dict[str, str]]:
    """The catalogue of one action as a table."""
    return [
        {
            "name": fact.name,
            "label": fact.label_zh if is_chinese() else fact.label_en,
            "type": _type_text(fact),
            "unit": code_word(fact.unit.value),
        }
        for fact in of_action(Action(action)).values()
    ]


def _type_text(fact: Fact) -> str:
    if fact.type is FactType.TEXT and fact.values:
        return ", ".join(f'"{value}"' for value in fact.values)
    return code_word(fact.type.value)


def staff_id(request: HttpRequest) -> int:
    return int(request.user.pk or 0)

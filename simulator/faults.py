"""Fault switches: what goes wrong, how often, where. A run with the same seed and the same calls goes wrong alike.

A rule's n-th draw is decided by (seed, position of the rule, n) alone and is counted in the books, so that neither
threads nor a restart change the row of decisions.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from simulator.books import Books

ANSWER_FAULTS = frozenset(
    {
        "response_bad_signature",
        "system_error_but_done",
        "system_error_not_done",
        "timeout_after_effect",
    }
)
"""Of an answer to the merchant. `but_done` and `after_effect`: the books have changed all the same."""
NOTICE_FAULTS = frozenset(
    {
        "notice_never",
        "notice_duplicate",
        "notice_late",
        "notice_out_of_order",
        "notice_tampered",
        "notice_stale",
        "notice_signtest",
    }
)
"""Of a notice. Tampered, stale and SIGNTEST messages are sent in addition, before the genuine one."""
REFUND_FAULTS = frozenset({"refund_abnormal", "refund_closed"})
"""How a refund that was accepted ends."""
FAULTS = ANSWER_FAULTS | NOTICE_FAULTS | REFUND_FAULTS

TAMPERS = ("signature", "amount", "stale", "truncate")
"""forged signature · other amount, validly signed · validly signed long ago · cut, signature over the whole."""

DEFAULT_DELAY_SECONDS: Mapping[str, float] = {
    "timeout_after_effect": 15.0,  # longer than the read time-outs of clients
    "notice_late": 30.0,
    "notice_out_of_order": 10.0,  # when no later notice comes to overtake it
}
MAX_DELAY_SECONDS = 86_400.0
MAX_COPIES = 20


class BadRule(Exception):
    """A rule that is not of the documented form; the text says what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`rate`: share of the matching calls, 0–1. None matches every channel, attempt, operation; `times`: hits at most.

    `tamper` is of notice_tampered, `copies` (further ones) of notice_duplicate, `delay_seconds` of the late ones.
    """

    fault: str
    rate: float = 1.0
    channel: str | None = None
    attempt_no: str | None = None
    operation: str | None = None
    times: int | None = None
    delay_seconds: float | None = None
    copies: int = 1
    tamper: str = "signature"

    @property
    def delay(self) -> float:
        """Seconds."""
        return DEFAULT_DELAY_SECONDS.get(self.fault, 0.0) if self.delay_seconds is None else self.delay_seconds

    def matches(self, *, channel: str, operation: str, attempt_no: str | None) -> bool:
        return (
            self.channel in (None, channel)
            and self.operation in (None, operation)
            and self.attempt_no in (None, attempt_no)
        )


def read_rule(content: object, *, channels: Mapping[str, frozenset[str]]) -> Rule:
    """A rule from JSON; BadRule when it could never match or is not understood. `channels`: name → operations."""
    if not isinstance(content, dict):
        raise BadRule("a rule is an object")
    unknown = set(content) - set(Rule.__dataclass_fields__)
    if unknown:
        raise BadRule(f"unknown fields: {', '.join(sorted(map(str, unknown)))}")
    given = {name: value for name, value in content.items() if value is not None}
    if not isinstance(given.get("fault"), str) or given["fault"] not in FAULTS:
        raise BadRule(f"fault must be one of: {', '.join(sorted(FAULTS))}")
    for name in ("rate", "delay_seconds"):
        if name in given:
            given[name] = _number(name, given[name], maximum=1.0 if name == "rate" else MAX_DELAY_SECONDS)
    for name, maximum in (("times", 10**9), ("copies", MAX_COPIES)):
        if name in given and (type(given[name]) is not int or not 1 <= given[name] <= maximum):
            raise BadRule(f"{name} must be an integer from 1 to {maximum}")
    for name in ("channel", "attempt_no", "operation"):
        if name in given and not isinstance(given[name], str):
            raise BadRule(f"{name} must be a string")
    if given.get("tamper", "signature") not in TAMPERS:
        raise BadRule(f"tamper must be one of: {', '.join(TAMPERS)}")
    if given.get("channel", next(iter(channels))) not in channels:
        raise BadRule(f"channel must be one of: {', '.join(channels)}")
    operations = frozenset[str]().union(
        *(names for name, names in channels.items() if given.get("channel", name) == name)
    )
    if given.get("operation", next(iter(operations))) not in operations:
        raise BadRule(f"operation must be one of: {', '.join(sorted(operations))}")
    return Rule(**given)


def _number(name: str, value: object, *, maximum: float) -> float:
    if type(value) not in (int, float) or not 0 <= float(value) <= maximum:  # type: ignore[arg-type]
        raise BadRule(f"{name} must be a number from 0 to {maximum:g}")
    return float(value)  # type: ignore[arg-type]


class Faults:
    """The rules in force, kept in the books."""

    def __init__(self, *, books: Books) -> None:
        self._books = books
        self._lock = threading.Lock()
        self._rules = tuple(Rule(**json.loads(text)) for text, _, _ in books.list_fault_rules())
        self._seed = str(books.read_setting("fault_seed") or "0")

    def replace(self, *, rules: tuple[Rule, ...], seed: str) -> None:
        """All rules at once; every count starts anew."""
        with self._books.transaction():
            self._books.replace_fault_rules(rules=[json.dumps(asdict(rule)) for rule in rules])
            self._books.write_setting("fault_seed", seed)
            with self._lock:
                self._rules, self._seed = rules, seed

    def describe(self) -> dict[str, Any]:
        """The rules as they were given, with their counts."""
        rows = self._books.list_fault_rules()
        rules = []
        for text, draws, hits in rows:
            given = {name: value for name, value in json.loads(text).items() if value is not None}
            rules.append({**given, "draws": draws, "hits": hits})
        return {"rules": rules, "seed": self._seed}

    def draw(self, *, among: frozenset[str], channel: str, operation: str, attempt_no: str | None) -> dict[str, Rule]:
        """The faults that strike now, by name; each matching rule with hits left is drawn once."""
        with self._lock:
            if not self._rules:
                return {}
        struck: dict[str, Rule] = {}
        with self._books.transaction():
            counts = self._books.list_fault_rules()
            with self._lock:
                rules, seed = self._rules, self._seed
            for position, rule in enumerate(rules):
                _, draws, hits = counts[position]
                is_spent = rule.times is not None and hits >= rule.times
                if rule.fault not in among or is_spent:
                    continue
                if not rule.matches(channel=channel, operation=operation, attempt_no=attempt_no):
                    continue
                is_hit = _chance(seed=seed, position=position, draw=draws) < rule.rate
                self._books.count_draw(position=position, is_hit=is_hit)
                if is_hit:
                    struck.setdefault(rule.fault, rule)
        return struck


def _chance(*, seed: str, position: int, draw: int) -> float:
    """Evenly from [0, 1), the same on every machine and Python."""
    digest = hashlib.sha256(f"{seed}/{position}/{draw}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64

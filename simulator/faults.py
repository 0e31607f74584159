"""Fault switches: what goes wrong, how often, where. A run with the same seed and the same calls goes wrong alike.

A rule's n-th draw is decided by (seed, position of the rule, n) alone and is counted in the books, so that neither
threads nor a restart change the row of decisions.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from simulator.books import Books

ANSWER_FAULTS = frozenset(
    {
        "response_bad_signature",
        "response_malformed",
        "system_error_but_done",
        "system_error_not_done",
        "timeout_after_effect",
        "timeout_before_effect",
        "unknown_code_but_done",
        "unknown_code_not_done",
    }
)
"""Of an answer to the merchant. `but_done` and `after_effect`: the books have changed all the same.

`response_malformed`: done, the answer is cut and rightly signed. `unknown_code`: an error code that nobody documented.
"""
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
PAYOUT_FAULTS = frozenset({"payout_refused", "payout_not_enough", "payout_failed", "payout_returned"})
"""What becomes of a payout: refused at once and not stored · no money · accepted, then failed · paid, then returned."""
BILL_FAULTS = frozenset(
    {
        "bill_not_ready",
        "bill_empty",
        "bill_wrong_hash",
        "bill_extra_row",
        "bill_missing_row",
        "bill_changed_row",
        "bill_cut",
        "bill_wrong_summary",
    }
)
"""Of a day's bill; the number that rules match (`attempt_no`) is the day, YYYY-MM-DD.

Rows that are extra, missing or changed are so in the summary and under a right hash, too: only a comparison with the
merchant's own books finds them. A cut file ends in the middle of a row; its hash is right.
"""
GROUPS = (ANSWER_FAULTS, NOTICE_FAULTS, REFUND_FAULTS, PAYOUT_FAULTS, BILL_FAULTS)
FAULTS = frozenset[str]().union(*GROUPS)

TAMPERS = ("signature", "amount", "stale", "truncate")
"""forged signature · other amount, validly signed · validly signed long ago · cut, signature over the whole."""

DEFAULT_DELAY_SECONDS: Mapping[str, float] = {
    "timeout_after_effect": 15.0,  # longer than the read time-outs of clients
    "timeout_before_effect": 15.0,
    "notice_late": 30.0,
    "notice_out_of_order": 10.0,  # when no later notice comes to overtake it
}
MAX_DELAY_SECONDS = 86_400.0
MAX_COPIES = 20
MAX_SCRIPT_LENGTH = 10_000


class BadRule(Exception):
    """A rule that is not of the documented form; the text says what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`rate`: share of the matching calls, 0–1. None matches every channel, attempt, operation; `times`: hits at most.

    `script` stands in the place of `fault` and `rate`: what strikes the first matching call, the second, …, None for
    nothing; after its end nothing strikes. All of one script belong to one of GROUPS. `tamper` is of notice_tampered,
    `copies` (further ones) of notice_duplicate, `delay_seconds` of the late ones.
    """

    fault: str = ""
    script: tuple[str | None, ...] = ()
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

    @property
    def names(self) -> frozenset[str]:
        """What it can strike with."""
        return frozenset(name for name in self.script if name) if self.script else frozenset({self.fault})

    def strike(self, *, seed: str, position: int, draw: int) -> str | None:
        """The fault of its `draw`-th matching call (from 0), or None."""
        if self.script:
            return self.script[draw] if draw < len(self.script) else None
        return self.fault if _chance(seed=seed, position=position, draw=draw) < self.rate else None

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
    if "script" in given:
        given["script"] = _script(given)
    elif not isinstance(given.get("fault"), str) or given["fault"] not in FAULTS:
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


def _script(given: Mapping[str, Any]) -> tuple[str | None, ...]:
    script = given["script"]
    if "fault" in given or "rate" in given:
        raise BadRule("a rule has either a script, or a fault and a rate")
    if not isinstance(script, list) or not 1 <= len(script) <= MAX_SCRIPT_LENGTH:
        raise BadRule(f"script must be a list of 1 to {MAX_SCRIPT_LENGTH} faults or nulls")
    if not all(name is None or isinstance(name, str) for name in script):
        raise BadRule("script must hold names of faults or nulls")
    names = {name for name in script if name}
    if not names or not any(names <= group for group in GROUPS) or "" in script:
        groups = " | ".join(", ".join(sorted(group)) for group in GROUPS)
        raise BadRule(f"script must name faults of one kind: {groups}")
    return tuple(script)


def _number(name: str, value: object, *, maximum: float) -> float:
    if type(value) not in (int, float) or not 0 <= float(value) <= maximum:  # type: ignore[arg-type]
        raise BadRule(f"{name} must be a number from 0 to {maximum:g}")
    return float(value)  # type: ignore[arg-type]


class Faults:
    """The rules in force, kept in the books."""

    def __init__(self, *, books: Books) -> None:
        self._books = books
        self._lock = threading.Lock()
        self._rules = tuple(_stored(text) for text, _, _ in books.list_fault_rules())
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
            given = {name: value for name, value in json.loads(text).items() if value not in (None, "", [])}
            if "script" in given:
                given.pop("rate")
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
                if rule.names.isdisjoint(among) or is_spent:
                    continue
                if not rule.matches(channel=channel, operation=operation, attempt_no=attempt_no):
                    continue
                name = rule.strike(seed=seed, position=position, draw=draws)
                self._books.count_draw(position=position, is_hit=name is not None)
                if name is not None:
                    struck.setdefault(name, replace(rule, fault=name))
        return struck


def _stored(text: str) -> Rule:
    content = json.loads(text)
    return Rule(**{**content, "script": tuple(content.get("script", ()))})


def _chance(*, seed: str, position: int, draw: int) -> float:
    """Evenly from [0, 1), the same on every machine and Python."""
    digest = hashlib.sha256(f"{seed}/{position}/{draw}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64

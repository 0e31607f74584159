"""Evaluations of decision tables, against the same rules as plain Python functions in the same run.

    .venv/bin/python -m benchmarks.risk [--rows 200] [--seconds 5] [--rounds 5] [--json]

No database: the table's own work. Both sides judge the same random facts, and their outcomes are compared first; a
difference stops the program. The tables are compiled as they are for a request, with typed facts and every row asked.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks import measure
from risk.domain.facts import CHANNELS, Action, FactType, of_action
from risk.domain.tables import Outcome, Row, RowAction, Table, Thresholds, compile_table

FACTS = 500
"""Different requests that are judged in turn."""
Facts = Mapping[str, object]
Rule = Callable[[Facts], bool]
Judge = Callable[[Facts], Outcome]

SHIPPED: list[tuple[str, str, Rule]] = [
    ("on_allow_list", RowAction.PASS, lambda f: f["on_allow_list"] is True),
    ("on_block_list", RowAction.REJECT, lambda f: f["on_block_list"] is True),
    ("count_today >= 3", RowAction.REJECT, lambda f: f["count_today"] >= 3),  # type: ignore[operator]
    (
        "amount_today_fen + amount_fen > 1000000",
        RowAction.REJECT,
        lambda f: f["amount_today_fen"] + f["amount_fen"] > 1000000,  # type: ignore[operator]
    ),
]


def of_size(count: int) -> list[tuple[str, str, Rule]]:
    """The shipped rules, then made-up ones of the shapes finance writes, up to `count`; the same every time."""
    rng = random.Random(20261123)
    rules = list(SHIPPED)
    while len(rules) < count:
        limit, channel = rng.randrange(1, 1_000_000), rng.choice(CHANNELS)
        kind = len(rules) % 4
        if kind == 0:
            rules.append((f"amount_fen > {limit + 900_000}", RowAction.REVIEW, _above("amount_fen", limit + 900_000)))
        elif kind == 1:
            text = f'channel == "{channel}" and channel_amount_today_fen + amount_fen > {limit + 1_500_000}'
            rules.append((text, RowAction.REVIEW, _channel(channel, limit + 1_500_000)))
        elif kind == 2:
            text = f"account_age_days < {limit % 3} and tries_1_hour > {limit % 9 + 10}"
            rules.append((text, RowAction.REJECT, _young(limit % 3, limit % 9 + 10)))
        else:
            text = f"card_is_new and amount_7_days_fen > {limit + 1_800_000} or rejections_24_hours > {limit % 50 + 19}"
            rules.append((text, RowAction.SCORE, _new_card(limit + 1_800_000, limit % 50 + 19)))
    return rules[:count]


def _above(name: str, limit: int) -> Rule:
    return lambda f: f[name] > limit  # type: ignore[operator]


def _channel(channel: str, limit: int) -> Rule:
    return lambda f: f["channel"] == channel and f["channel_amount_today_fen"] + f["amount_fen"] > limit  # type: ignore[operator]


def _young(days: int, tries: int) -> Rule:
    return lambda f: f["account_age_days"] < days and f["tries_1_hour"] > tries  # type: ignore[operator]


def _new_card(limit: int, rejections: int) -> Rule:
    return lambda f: (
        (f["card_is_new"] is True and f["amount_7_days_fen"] > limit) or f["rejections_24_hours"] > rejections
    )  # type: ignore[operator]


def table_of(rules: Sequence[tuple[str, str, Rule]]) -> Table:
    rows = [
        Row(
            position=number,
            code=f"R{number}",
            title_en="bench",
            title_zh="bench",
            expression=text,
            action=action,
            score=1 if action == RowAction.SCORE else 0,
            reason_en="bench",
            reason_zh="bench",
        )
        for number, (text, action, _) in enumerate(rules, start=1)
    ]
    return compile_table(action=Action.WITHDRAWAL, rows=rows, thresholds=Thresholds(review_score=5, reject_score=20))


def plain_of(rules: Sequence[tuple[str, str, Rule]]) -> Judge:
    """The same verdicts by functions: every rule asked, allow before block before review, scores added."""

    def judge(facts: Facts) -> Outcome:
        hits = [action for _, action, rule in rules if rule(facts)]
        score = hits.count(RowAction.SCORE)
        if RowAction.PASS in hits:
            return Outcome.PASS
        if RowAction.REJECT in hits or score >= 20:
            return Outcome.REJECT
        return Outcome.REVIEW if RowAction.REVIEW in hits or score >= 5 else Outcome.PASS

    return judge


def random_facts() -> list[dict[str, object]]:
    """Complete facts; about one in twenty is on a list, amounts up to 10 000 yuan."""
    rng = random.Random(7)

    def value(name: str, kind: FactType) -> object:
        if kind is FactType.FLAG:
            return rng.random() < (0.05 if name.startswith("on_") else 0.3)
        if kind is FactType.TEXT:
            return rng.choice(CHANNELS) if name == "channel" else str(rng.randrange(1, 50))
        return rng.randrange(1_000_000 if name.endswith("_fen") else 24)

    catalogue = of_action(Action.WITHDRAWAL).values()
    return [{fact.name: value(fact.name, fact.type) for fact in catalogue} for _ in range(FACTS)]


def compare(table: Table, plain: Judge, facts: Sequence[Facts]) -> dict[str, int]:
    """Stops the program where the two disagree; returns how often each outcome came."""
    counts: dict[str, int] = {}
    for one in facts:
        result = table.evaluate(one)
        if result.errors or result.outcome is not plain(one):
            sys.exit(f"the table and plain Python disagree: {result} {plain(one)} {one}")
        counts[result.outcome] = counts.get(result.outcome, 0) + 1
    return counts


def percentiles(table: Table, facts: Sequence[Facts], times: int) -> dict[str, float]:
    """Microseconds of single evaluations: half of them, and all but one in a hundred, are faster."""
    taken = []
    for number in range(times):
        began = time.perf_counter()
        table.evaluate(facts[number % len(facts)])
        taken.append((time.perf_counter() - began) * 1_000_000)
    taken.sort()
    return {"p50_us": round(taken[times // 2], 1), "p99_us": round(taken[times * 99 // 100], 1)}


def stepper(judge: Callable[[Facts], object], facts: Sequence[Facts]) -> Callable[[int], measure.Step]:
    def prepare(worker: int) -> measure.Step:
        position = 0

        def step() -> int:
            nonlocal position
            judge(facts[position % len(facts)])
            position += 1
            return 1

        return step

    return prepare


def main() -> None:
    arguments = measure.parser("risk", __doc__.partition("\n")[0])
    arguments.add_argument("--rows", type=int, default=200, help="rows of the large table (default 200, the most)")
    options = arguments.parse_args()
    facts = random_facts()
    cases: list[measure.Case] = []
    figures: dict[str, object] = {}
    for size in (len(SHIPPED), options.rows):
        rules = of_size(size)
        began = time.perf_counter()
        table, plain = table_of(rules), plain_of(rules)
        compiled_ms = round((time.perf_counter() - began) * 1000, 1)
        outcomes = compare(table, plain, facts)
        taken = percentiles(table, facts, 2000)
        figures[f"rows_{size}"] = {**taken, "compile_ms": compiled_ms, "outcomes": outcomes}
        baseline = f"plain Python, {size} rules"
        cases += [
            measure.Case(name=baseline, prepare=stepper(plain, facts), unit="evaluations"),
            measure.Case(
                name=f"table, {size} rows",
                prepare=stepper(table.evaluate, facts),
                unit="evaluations",
                baseline=baseline,
            ),
        ]
        print(f"{size} rows: p50 {taken['p50_us']:,} µs, p99 {taken['p99_us']:,} µs, compiled in {compiled_ms} ms")
        print(f"  outcomes of {FACTS} requests: {', '.join(f'{count} {name}' for name, count in outcomes.items())}")
    rows = measure.run(cases, seconds=options.seconds, rounds=options.rounds)
    print(measure.table(rows))
    if options.json:
        print(measure.json_line("risk", rows, **figures))


if __name__ == "__main__":
    main()

"""How long the nightly proof of the ledger and the chain over journals take on millions of rows.

    python3 -m tests.provision run -- .venv/bin/python -m benchmarks.proof [--journals 1000000] [--json]

Fills a bench database with transfers among 5 000 accounts over 30 days, closes the days, seals the chain, and times
every line of the proof. Baseline of the same run: one SUM over all postings, the least any proof must read.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import databases

ACCOUNTS = 5000
START_FEN = 1_000_000
CHUNK = 2000
DAYS = 30
FIRST_DAY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def fill(journals: int) -> None:
    """Recharges for every account, then transfers, by multi-row inserts that keep every invariant and digest."""
    from django.db import connections

    from funds.domain import digests
    from funds.services import ledger

    rng = random.Random(20261123)
    cursor = connections[ledger.alias()].cursor()
    moment = FIRST_DAY
    accounts = ", ".join(
        f"({number}, 'EMPLOYEE', '{number}', '2010', '{number % 50 + 1}', {START_FEN}, 0, 1, '{moment:%F %T}')"
        for number in range(1, ACCOUNTS + 1)
    )
    cursor.execute(
        "INSERT INTO funds_account (id, owner_kind, owner_id, code, enterprise_id, available_fen, frozen_fen, version, "
        f"created_at) VALUES {accounts}, ({ACCOUNTS + 1}, 'PLATFORM', 'bench', '1110', '', 0, 0, 0, '{moment:%F %T}')"
    )
    balances = [0] * (ACCOUNTS + 1)
    step = dt.timedelta(days=DAYS) / (journals + ACCOUNTS)
    heads: list[str] = []
    lines: list[str] = []

    def add(number: int, kind: str, parts: Sequence[tuple[int, int, str]]) -> None:
        total = sum(fen for _, fen, _ in parts if fen > 0)
        at = FIRST_DAY + step * number
        stamp = at.strftime("%Y-%m-%d %H:%M:%S.%f")
        digest = digests.journal_digest(
            kind=kind,
            reference=f"P{number}",
            order_no="",
            source_no="",
            actor="bench",
            memo="",
            created_at=at,
            lines=[(account, "AVAILABLE", fen, category) for account, fen, category in parts],
        )
        heads.append(
            f"({number}, '{kind}', 'P{number}', '', '', 'bench', '', {total}, {total}, {len(parts)}, "
            f"'{digest}', '{stamp}')"
        )
        for account, fen, category in parts:
            after = "NULL"
            if account <= ACCOUNTS:
                balances[account] += fen
                after = str(balances[account])
            lines.append(f"({number}, {account}, 'AVAILABLE', {fen}, '{category}', {after}, '{stamp}')")
        if len(heads) >= CHUNK:
            flush()

    def flush() -> None:
        if not heads:
            return
        cursor.execute(
            "INSERT INTO funds_journal (id, kind, reference, order_no, source_no, actor, memo, debit_total_fen, "
            f"credit_total_fen, posting_count, digest, created_at) VALUES {', '.join(heads)}"
        )
        cursor.execute(
            "INSERT INTO funds_posting (journal_id, account_id, bucket, amount_fen, category, balance_after_fen, "
            f"created_at) VALUES {', '.join(lines)}"
        )
        heads.clear()
        lines.clear()

    for number in range(1, ACCOUNTS + 1):
        add(number, "bench_receipt", [(ACCOUNTS + 1, -START_FEN, "PLATFORM"), (number, START_FEN, "RECHARGE")])
    for number in range(ACCOUNTS + 1, ACCOUNTS + journals + 1):
        payer, payee = rng.sample(range(1, ACCOUNTS + 1), 2)
        fen = rng.randint(1, max(1, balances[payer] // 100))
        if balances[payer] < fen:
            payer, payee, fen = payee, payer, 1
        add(number, "bench_transfer", [(payer, -fen, "CONSUMPTION"), (payee, fen, "INCOME")])
    flush()
    for number in range(1, ACCOUNTS + 1):
        cursor.execute("UPDATE funds_account SET available_fen = %s WHERE id = %s", [balances[number], number])
    cursor.execute("ANALYZE TABLE funds_account, funds_journal, funds_posting")
    cursor.fetchall()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def measure(journals: int) -> dict[str, float]:
    """Seconds of each step; raises RuntimeError when a proof of these correct books fails."""
    from django.db import connections

    from funds import proof
    from funds.services import closing, ledger, sealing

    now = FIRST_DAY + dt.timedelta(days=DAYS + 2)
    seconds: dict[str, float] = {}
    seconds["fill"], _ = timed(lambda: fill(journals))

    def total() -> Any:
        with connections[ledger.alias()].cursor() as cursor:
            cursor.execute("SELECT SUM(amount_fen), MIN(created_at) FROM funds_posting")
            return cursor.fetchone()

    seconds["baseline: one SUM over all postings"], _ = timed(total)
    seconds["close 30 days"], closed = timed(lambda: closing.close_due_days(now=now))
    seconds["seal"], _ = timed(lambda: sealing.seal_due(now=now, max_links=10**6))
    seconds["prove: ledger"], lines = timed(proof.prove)
    seconds["prove: closing"], more = timed(proof.prove_closing)
    seconds["prove: ageing"], age = timed(lambda: proof.prove_ageing(now=now))
    seconds["verify the chain"], chain = timed(lambda: sealing.verify(now=now))
    bad = [line for line in (*lines, *more, age, chain) if not line.ok]
    if bad or len(closed) < DAYS:
        raise RuntimeError(f"the books do not balance: {bad}, closed {len(closed)}")
    return seconds


def main(arguments: Sequence[str]) -> int:
    """Runs, prints, returns 0; 2 when there is no MariaDB to run on."""
    parser = argparse.ArgumentParser(prog="benchmarks.proof", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--journals", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args(arguments)
    try:
        with databases.bench_databases():
            seconds = measure(options.journals)
    except databases.CannotRun as error:
        print(f"benchmarks.proof: {error}", file=sys.stderr)
        return 2
    base = seconds["baseline: one SUM over all postings"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    for name, spent in seconds.items():
        print(f"{name:40}{spent:10.1f} s{spent / base:10.1f} x the baseline")
    print(f"{options.journals:,} journals, {peak} MB at most")
    if options.json:
        print(json.dumps({"benchmark": "proof", "journals": options.journals, "seconds": seconds, "peak_mb": peak}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

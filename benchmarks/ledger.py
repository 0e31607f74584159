"""How much the ledger costs: single transfers and the settlement of one hot sender, against baselines of the same run.

    python3 -m tests.provision run -- .venv/bin/python -m benchmarks.ledger [--seconds 5] [--json] [--profile]

Baselines: two conditional UPDATEs and one journal row through mysqlclient, on copies of the ledger's own tables; the
transfer as everybody writes it first, with the ORM and locked rows, one transaction a share; and django-hordak's
transfer_to, which keeps no balances and locks nothing. Ends with the proof of the ledger's books. Goals: design
`performance.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from benchmarks import databases, measure
from benchmarks.measure import Case, Goal, Step

ACCOUNTS = 2000
BATCH_SHARES = 200
"""Shares of one journal, as in redpacket.services.settlement."""
START_FEN = 1_000_000
HOT_FEN = 1_000_000_000
ENTERPRISE_ID = 1
HOT_EMPLOYEE_ID = 900_001
NAIVE_EMPLOYEE_ID = 900_002
HOLD_KEY = "bench:packet"

RAW = "raw conditional UPDATE, mysqlclient"
NAIVE = "ORM row locking, hot sender"
HORDAK = "django-hordak transfer_to, hot sender"
HORDAK_ACCOUNTS = 200
GOAL_SINGLE = Goal(at_least=0.4)
GOAL_HOT = Goal(at_least=40)

references = itertools.count(1)
"""next() of it is atomic: the threads of a case share it."""


def reference() -> str:
    return f"B{next(references):012d}"


def fill() -> None:
    """ACCOUNTS employees with START_FEN each, the hot sender's hold, and the sender of the naive case."""
    from foundation import clock
    from funds.domain import movements
    from funds.domain.entries import Bucket, Category, Entry, Line, employee_account, platform_account
    from funds.services import ledger

    def receipt(owners: Sequence[int], amount_fen: int) -> Entry:
        clearing = platform_account(movements.CHANNEL_CLEARING, "bench")
        paid = -amount_fen * len(owners)
        lines = [Line(account=clearing, bucket=Bucket.AVAILABLE, amount_fen=paid, category=Category.PLATFORM)]
        lines += [
            Line(
                account=employee_account(owner, ENTERPRISE_ID),
                bucket=Bucket.AVAILABLE,
                amount_fen=amount_fen,
                category=Category.RECHARGE,
            )
            for owner in owners
        ]
        return Entry(kind="bench_receipt", reference=reference(), lines=tuple(lines))

    everybody = range(1, ACCOUNTS + 1)
    entries = [receipt(everybody[at : at + BATCH_SHARES], START_FEN) for at in range(0, ACCOUNTS, BATCH_SHARES)]
    entries.append(receipt([HOT_EMPLOYEE_ID, NAIVE_EMPLOYEE_ID], HOT_FEN))
    entries.append(
        movements.freeze(
            order_no="BENCH",
            owner=employee_account(HOT_EMPLOYEE_ID, ENTERPRISE_ID),
            amount_fen=HOT_FEN,
            hold_key=HOLD_KEY,
        )
    )
    for entry in entries:
        ledger.in_transaction(lambda entry=entry: ledger.post(entry=entry, now=clock.now()))  # type: ignore[misc]


@contextlib.contextmanager
def raw_transfers() -> Iterator[Callable[[int], Step]]:
    """The limit: what a transfer costs with nothing around it. Same columns, indexes and checks as the ledger's."""
    from django.conf import settings
    from django.db import connections

    from funds.services import ledger

    with connections[ledger.alias()].cursor() as cursor:
        cursor.execute("CREATE TABLE bench_account LIKE funds_account")
        cursor.execute("INSERT INTO bench_account SELECT * FROM funds_account")
        cursor.execute("CREATE TABLE bench_journal LIKE funds_journal")
        cursor.execute("SELECT id FROM bench_account WHERE owner_kind = 'EMPLOYEE' AND available_fen = %s", [START_FEN])
        ids = [row[0] for row in cursor.fetchall()]
    config = settings.DATABASES[ledger.alias()]
    variable = "FUNDS_DATABASE_URL" if ledger.alias() == "funds" else "DATABASE_URL"
    connection = databases.connect(urlsplit(os.environ[variable]), database=config["NAME"])
    cursor = connection.cursor()
    cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    cursor.execute(config["OPTIONS"]["init_command"])
    cursor.execute("SELECT 1")
    cursor.fetchall()

    def step() -> int:
        sender, receiver = random.sample(ids, 2)
        now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        name = reference()
        cursor.execute(
            "INSERT INTO bench_journal (kind, reference, order_no, source_no, actor, memo, debit_total_fen, "
            "credit_total_fen, posting_count, created_at) VALUES ('transfer', %s, %s, %s, 'bench', '', 1, 1, 2, %s)",
            (name, name, name, now),
        )
        for statement, account in (
            ("available_fen = available_fen - 1, version = version + 1 WHERE id = %s AND available_fen >= 1", sender),
            ("available_fen = available_fen + 1, version = version + 1 WHERE id = %s", receiver),
        ):
            if cursor.execute("UPDATE bench_account SET " + statement, (account,)) != 1:
                raise RuntimeError("the raw transfer moved nothing")
        connection.commit()
        return 1

    try:
        yield lambda worker: step
    finally:
        connection.close()


def service_transfers(*, with_event: bool) -> Callable[[int], Step]:
    """One journal of two customer lines through the posting door; `with_event` adds the outbox row."""
    from foundation import clock, outbox
    from funds.domain.entries import Bucket, Category, Entry, Line, employee_account
    from funds.services import ledger

    def step() -> int:
        sender, receiver = random.sample(range(1, ACCOUNTS + 1), 2)
        now = clock.now()
        name = reference()
        lines = tuple(
            Line(
                account=employee_account(owner, ENTERPRISE_ID),
                bucket=Bucket.AVAILABLE,
                amount_fen=amount_fen,
                category=category,
            )
            for owner, amount_fen, category in ((sender, -1, Category.CONSUMPTION), (receiver, 1, Category.INCOME))
        )
        entry = Entry(kind="bench_transfer", reference=name, order_no=name, source_no=name, lines=lines)

        def work() -> None:
            if not ledger.post(entry=entry, now=now).created:
                raise RuntimeError(f"{name} was there before")
            if with_event:
                outbox.publish(using=ledger.alias(), topic="bench.moved", key=name, payload={"no": name}, now=now)

        ledger.in_transaction(work)
        return 1

    return lambda worker: step


def settlements(worker: int) -> Step:
    """One fen from the hot sender's hold to each of BATCH_SHARES employees, one journal; counts shares."""
    from foundation import clock
    from funds.domain import movements
    from funds.domain.entries import employee_account
    from funds.domain.movements import Receiver
    from funds.services import ledger

    sender = employee_account(HOT_EMPLOYEE_ID, ENTERPRISE_ID)

    def step() -> int:
        owners = random.sample(range(1, ACCOUNTS + 1), BATCH_SHARES)
        entry = movements.settle_shares(
            reference=reference(),
            order_no="BENCH",
            sender=sender,
            hold_key=HOLD_KEY,
            receivers=[Receiver(account=employee_account(owner, ENTERPRISE_ID), amount_fen=1) for owner in owners],
        )
        posted = ledger.in_transaction(lambda: ledger.post(entry=entry, now=clock.now()))
        if not posted.created:
            raise RuntimeError(f"{entry.reference} was there before")
        return BATCH_SHARES

    return step


def naive_transfers(worker: int) -> Step:
    """One share as one transaction: lock both rows, read, compute, save; a journal and two postings by `create`."""
    from django.db import transaction

    from foundation import clock
    from funds.domain.entries import Bucket, Category
    from funds.models import Account, Journal, Posting
    from funds.services import ledger

    alias = ledger.alias()
    employees = Account.objects.using(alias).filter(owner_kind="EMPLOYEE")
    sender_id = employees.get(owner_id=str(NAIVE_EMPLOYEE_ID)).pk
    hot = [str(HOT_EMPLOYEE_ID), str(NAIVE_EMPLOYEE_ID)]
    ids = list(employees.exclude(owner_id__in=hot).values_list("pk", flat=True))

    def step() -> int:
        receiver_id = random.choice(ids)
        now = clock.now()
        name = reference()
        with transaction.atomic(using=alias):
            locked = employees.select_for_update().filter(pk__in=[sender_id, receiver_id]).order_by("pk")
            rows = {row.pk: row for row in locked}
            if rows[sender_id].available_fen < 1:
                raise RuntimeError("the naive sender has nothing left")
            journal = Journal.objects.using(alias).create(
                kind="bench_naive",
                reference=name,
                order_no=name,
                source_no=name,
                actor="bench",
                debit_total_fen=1,
                credit_total_fen=1,
                posting_count=2,
                created_at=now,
            )
            moves = ((sender_id, -1, Category.CONSUMPTION), (receiver_id, 1, Category.INCOME))
            for account_id, amount_fen, category in moves:
                account = rows[account_id]
                account.available_fen += amount_fen
                account.version += 1
                account.save(using=alias)
                Posting.objects.using(alias).create(
                    journal=journal,
                    account=account,
                    bucket=Bucket.AVAILABLE,
                    amount_fen=amount_fen,
                    category=category,
                    balance_after_fen=account.available_fen,
                    created_at=now,
                )
        return 1

    return step


def hordak_transfers(worker: int) -> Step:
    """The same share as django-hordak books it: one transaction with two legs; balances are sums, nothing is locked."""
    from django.db import transaction
    from hordak.models import Account
    from moneyed import Money

    if not Account.objects.exists():
        names = [f"B{number:04d}" for number in range(HORDAK_ACCOUNTS + 1)]
        for name in names:
            Account.objects.create(name=name, code=name[1:], type="LI", currencies=["CNY"])
    sender, *receivers = list(Account.objects.order_by("id"))
    fen = Money("0.01", "CNY")

    def step() -> int:
        with transaction.atomic():
            sender.transfer_to(random.choice(receivers), fen, description=reference())
        return 1

    return step


def cases(raw: Callable[[int], Step], connections: int) -> list[Case]:
    """The two pairs of the goals; the hot pair once more with several connections, where waiting counts as well."""
    from django.db import connections as django_connections

    crowd = f", {connections} connections"
    hang_up = django_connections.close_all
    single = [
        Case(name=RAW, prepare=raw),
        Case(name="ledger transfer", prepare=service_transfers(with_event=False), baseline=RAW, goal=GOAL_SINGLE),
        Case(
            name="ledger transfer, outbox row",
            prepare=service_transfers(with_event=True),
            baseline=RAW,
            goal=GOAL_SINGLE,
        ),
    ]
    hot_name = "ledger settlement, hot sender"
    hot = [
        Case(name=NAIVE, prepare=naive_transfers, unit="shares"),
        Case(name=HORDAK, prepare=hordak_transfers, unit="shares"),
        Case(
            name=hot_name,
            prepare=settlements,
            unit="shares",
            baseline=NAIVE,
            second_baseline=HORDAK,
            goal=GOAL_HOT,
        ),
    ]
    if connections == 1:
        return single + hot
    many = {"unit": "shares", "connections": connections, "finish": hang_up}
    return [
        *single,
        *hot,
        Case(name=NAIVE + crowd, prepare=naive_transfers, **many),
        Case(name=hot_name + crowd, prepare=settlements, baseline=NAIVE + crowd, goal=GOAL_HOT, **many),
    ]


def check_books() -> None:
    """Raises RuntimeError unless the ledger's own proof finds nothing: a fast wrong ledger is no result."""
    from funds import proof as books_proof

    bad = [line for line in books_proof.prove() if not line.ok]
    if bad:
        raise RuntimeError(f"the books do not balance: {bad}")


def profile(step: Step, *, times: int) -> str:
    """Statements of one operation with their mean wall time, and what share of time and CPU lies around them."""
    from django.db import connections

    from funds.services import ledger

    spent: dict[str, list[float]] = defaultdict(list)
    cpu_in_driver = 0.0

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal cpu_in_driver
        began, cpu = time.perf_counter(), time.process_time()
        try:
            return execute(sql, params, many, context)
        finally:
            cpu_in_driver += time.process_time() - cpu
            kind = re.sub(r"(SAVEPOINT) .*", r"\1", re.sub(r"`|\s+FROM \(.*", "", sql))
            kind = re.sub(r"\b[0-9]+\b", "n", kind)
            if kind.startswith("SELECT"):
                kind = "SELECT … " + kind[kind.index(" FROM ") + 1 :]
            spent[kind].append(time.perf_counter() - began)

    step()
    with connections[ledger.alias()].execute_wrapper(watch):
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            step()
        wall, cpu = (time.perf_counter() - began) / times, (time.process_time() - cpu) / times
    lines = [
        f"{sum(seconds) / times * 1e6:8,.0f} µs  {len(seconds) / times:4.1f} times  {sql[:110]}"
        for sql, seconds in sorted(spent.items(), key=lambda item: -sum(item[1]))
    ]
    inside = sum(map(sum, spent.values())) / times
    lines.append(f"{(wall - inside) * 1e6:8,.0f} µs  outside of statements (Python; BEGIN and COMMIT)")
    lines.append(
        f"{wall * 1e6:8,.0f} µs  in all; CPU {cpu * 1e6:,.0f} µs, {cpu_in_driver / times * 1e6:,.0f} in execute"
    )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Runs, prints, returns 0; 2 when there is no MariaDB to run on."""
    parser = measure.parser("ledger", (__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=8, help="of the crowded hot cases; 1 leaves them out")
    parser.add_argument("--profile", action="store_true", help="show the statements of one transfer, nothing else")
    options = parser.parse_args(arguments)
    try:
        with databases.bench_databases(settings="benchmarks.settings"):
            fill()
            if options.profile:
                print(profile(service_transfers(with_event=True)(0), times=500))
                return 0
            return _report(options)
    except databases.CannotRun as error:
        print(f"benchmarks.ledger: {error}", file=sys.stderr)
        return 2


def _report(options: argparse.Namespace) -> int:
    with raw_transfers() as raw:
        rows = measure.run(cases(raw, options.connections), seconds=options.seconds, rounds=options.rounds)
    check_books()
    print(measure.table(rows))
    print("The books balance.")
    if options.json:
        print(measure.json_line("ledger", rows, seconds=options.seconds, rounds=options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

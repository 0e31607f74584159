"""One day's bill against our books: time and memory of the product, and a plain-SQL join of the same rows beside it.

    python3 -m tests.provision run -- .venv/bin/python -m benchmarks.reconcile [--rows 1000000] [--json]

The bill is WeChat's trade bill with WRONG rows of each kind of error; both ways have to name exactly these. Each step
runs in a process of its own, so that its peak memory is its own. The baseline is what one would write without us: split
the lines, load them into a table, and join it with all attempts in the server; it checks no hash, no totals, no cell
and knows no neighbouring days.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import databases, orders

DAY = dt.date(2026, 11, 21)
WRONG = 10
"""Rows of each error."""
GOAL_SECONDS, GOAL_MB = 60, 300
TABLES = 16
BATCH = 5_000
NUMBER = "VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin"
ROOT = "PAYSYS_BENCH_FILES"
HEADER = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,"
    "代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
TOTALS = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
EXPECTED = {"OURS_ONLY": WRONG, "THEIRS_ONLY": WRONG, "AMOUNT": WRONG, "DUPLICATE": WRONG}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--step", choices=sorted(STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        return _step(options.step, options.rows)
    with tempfile.TemporaryDirectory() as files:
        os.environ[ROOT] = files
        os.environ.update(orders.on_one_server(os.environ))
        try:
            with databases.bench_databases():
                found = {name: _child(name, options.rows) for name in ("fill", "product", "baseline")}
        except databases.CannotRun as error:
            print(error, file=sys.stderr)
            return 2
    _print(found, options)
    return 0 if _is_right(found) else 1


def _child(name: str, rows: int) -> dict[str, Any]:
    print(f"{name}: {rows:,} rows", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.reconcile", "--step", name, "--rows", str(rows)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _step(name: str, rows: int) -> int:
    import django
    from django.conf import settings

    django.setup()
    settings.RECONCILIATION_ROOT = Path(os.environ[ROOT]) / "raw"
    began, worked = time.perf_counter(), time.process_time()
    found = STEPS[name](rows)
    found |= {
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(time.process_time() - worked, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(found))
    return 0


# --- filling --------------------------------------------------------------------------------------------------------


def fill(rows: int) -> dict[str, Any]:
    """Orders and attempts of one day, all paid by wechat, and the bill of them with the wrong rows."""
    draw = random.Random(7)
    wrong = draw.sample(range(rows), 3 * WRONG)
    missing, changed, doubled = (set(wrong[place * WRONG : (place + 1) * WRONG]) for place in range(3))
    start = dt.datetime.combine(DAY, dt.time()) - dt.timedelta(hours=8)
    with _bill_path().open("w", encoding="utf-8", newline="") as bill:
        bill.write(f"\ufeff{HEADER}\r\n")
        count = total = fees = 0
        held: list[list[tuple[Any, ...]]] = [[] for _ in range(TABLES)]
        for index in range(rows):
            table, at = index % TABLES, start + dt.timedelta(seconds=index * 86_400 // rows)
            order_no, attempt_no, amount_fen = _numbers(index, table, at, draw)
            held[table].append((order_no, attempt_no, amount_fen, at))
            if len(held[table]) >= BATCH:
                _insert(table, held[table])
                held[table] = []
            said = amount_fen + (index in changed)
            for _ in range(0 if index in missing else 2 if index in doubled else 1):
                bill.write(_line(attempt_no, said, at))
                count, total, fees = count + 1, total + said, fees + said * 6
        for extra in range(WRONG):
            bill.write(_line(f"EXTRA{extra:06d}", 100, start + dt.timedelta(hours=12)))
            count, total, fees = count + 1, total + 100, fees + 600
        for table, rest in enumerate(held):
            _insert(table, rest)
        paid, fee = f"{total // 100}.{total % 100:02d}", f"{fees // 100_000}.{fees % 100_000:05d}"
        bill.write(f"{TOTALS}\r\n`{count},`{paid},`0.00,`0.00,`{fee},`{paid},`0.00\r\n")
    return {"bill_mb": round(_bill_path().stat().st_size / 1e6, 1), "bill_rows": count}


def _numbers(index: int, table: int, at: dt.datetime, draw: random.Random) -> tuple[str, str, int]:
    local = at + dt.timedelta(hours=8)
    stamp = f"{draw.randrange(10_000):04d}{local:%Y%m%d%H%M%S}{index % 1000:03d}{index // 1000 % 9999 + 1:04d}"
    return f"RC2ZZZ{table:X}{stamp}", f"AT1ZZZ{table:X}{stamp}", draw.randrange(1, 500_000)


def _line(number: str, fen: int, at: dt.datetime) -> str:
    local, yuan, milli = at + dt.timedelta(hours=8), f"{fen // 100}.{fen % 100:02d}", fen * 6
    fee = f"{milli // 100_000}.{milli % 100_000:05d}"
    return (
        f"`{local:%Y-%m-%d %H:%M:%S},`wx0123456789abcdef,`1900000001,`0,`,`42000{number[-23:]},`{number},"
        f"`oUpF8uMuAJO_M2p,`NATIVE,`SUCCESS,`OTHERS,`CNY,`{yuan},`0.00,`0,`0,`0.00,`0.00,`,`,`充值,`,`{fee},`0.60%,`{yuan},`0.00,`\r\n"
    )


def _insert(table: int, rows: list[tuple[Any, ...]]) -> None:
    from django.db import connections, transaction

    from foundation.db import roles

    alias = roles.orders_alias(table)
    order_rows = ",".join(
        f"('{order_no}','RECHARGE','SUCCESS',{fen},0,0,'',{int(order_no[7:11])},1,'','','{attempt_no}','{at}','{at}',"
        "'wechat')"
        for order_no, attempt_no, fen, at in rows
    )
    attempts = ",".join(
        f"('{attempt_no}','{order_no}','wechat','native','SUCCESS',{fen},'',NULL,'',1,'{at}','{at}',0)"
        for order_no, attempt_no, fen, at in rows
    )
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO orders_order_{table:02d} (order_no, kind, state, amount_fen, refunding_fen, refunded_fen, "
            "subject, employee_id, enterprise_id, business_no, original_order_no, effective_attempt_no, created_at, "
            f"paid_at, channel) VALUES {order_rows}"
        )
        cursor.execute(
            f"INSERT INTO orders_attempt_{table:02d} (attempt_no, order_no, channel, scene, state, amount_fen, "
            "provider_no, payment, result_code, effective, created_at, finished_at, tries) "
            f"VALUES {attempts}"
        )


def _bill_path() -> Path:
    return Path(os.environ[ROOT]) / "bill.csv"


# --- the two ways ---------------------------------------------------------------------------------------------------


def product(rows: int) -> dict[str, Any]:
    """From the stored file to written differences."""
    from django.db.models import Count
    from django.utils import timezone

    from gateway.ports import BillKind
    from reconciliation.models import CarriedOver, Difference
    from reconciliation.services import comparing, fetching, planning, storing

    now = timezone.now()
    run, _ = planning.plan_run(channel="wechat", kind=BillKind.TRADE, day=DAY, now=now)
    with _bill_path().open("rb") as stream:
        file = storing.store(run=run, stream=stream, now=now)
    fetching.take_stored(run=run, file=file, actor="benchmark", now=now)
    phases: dict[str, float] = {}
    began = time.perf_counter()

    def progress(phase: str, count: int) -> None:
        phases[phase] = round(time.perf_counter() - began, 2)

    done = comparing.process(run_id=run.pk, now=now, progress=progress)
    found = Counter(dict(Difference.objects.filter(run=run).values_list("kind").annotate(Count("pk"))))
    # near midnight an item waits for the neighbouring days before it is a difference
    for is_ours in CarriedOver.objects.filter(run=run).values_list("is_ours", flat=True):
        found["OURS_ONLY" if is_ours else "THEIRS_ONLY"] += 1
    return {"found": dict(found), "matched": done.matched_rows, "ours": done.our_rows, "until": phases}


def baseline(rows: int) -> dict[str, Any]:
    """The lines into a table, then joins with the attempts of all tables in the server."""
    from django.db import connections

    from foundation.db import roles

    began = time.perf_counter()
    aliases = {roles.orders_alias(table) for table in range(TABLES)}
    with connections[roles.orders_alias(0)].cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE bench_bill (line_no INT PRIMARY KEY, number {NUMBER}, amount_fen BIGINT, KEY (number))"
        )
        for part in _batches(_lines()):
            values = ",".join(f"({line_no},'{number}',{fen})" for line_no, number, fen in part)
            cursor.execute(f"INSERT INTO bench_bill VALUES {values}")
        loaded = time.perf_counter() - began
        names = {alias: connections[alias].settings_dict["NAME"] for alias in aliases}
        found: Counter[str] = Counter()
        start, end = (
            dt.datetime.combine(DAY, dt.time()) - dt.timedelta(hours=8) + dt.timedelta(days=n) for n in (0, 1)
        )
        attempts = " UNION ALL ".join(
            f"SELECT attempt_no, amount_fen FROM {names[roles.orders_alias(table)]}.orders_attempt_{table:02d} "
            f"WHERE channel = 'wechat' AND state = 'SUCCESS' AND finished_at >= '{start}' AND finished_at < '{end}'"
            for table in range(TABLES)
        )
        cursor.execute(
            f"CREATE TEMPORARY TABLE bench_ours (attempt_no {NUMBER} PRIMARY KEY, amount_fen BIGINT) AS {attempts}"
        )
        for kind, statement in (
            ("OURS_ONLY", "bench_ours o LEFT JOIN bench_bill b ON b.number = o.attempt_no WHERE b.number IS NULL"),
            (
                "THEIRS_ONLY",
                "bench_bill b LEFT JOIN bench_ours o ON b.number = o.attempt_no WHERE o.attempt_no IS NULL",
            ),
            ("AMOUNT", "bench_bill b JOIN bench_ours o ON b.number = o.attempt_no WHERE b.amount_fen <> o.amount_fen"),
            ("DUPLICATE", "(SELECT number FROM bench_bill GROUP BY number HAVING COUNT(*) > 1) d"),
        ):
            cursor.execute(f"SELECT COUNT(*) FROM {statement}")
            found[kind] = cursor.fetchone()[0]
        cursor.execute("DROP TABLE bench_bill")
    return {"found": dict(found), "until": {"loaded": round(loaded, 2)}}


def _lines() -> Iterator[tuple[int, str, int]]:
    with _bill_path().open(encoding="utf-8-sig") as bill:
        place = {name: index for index, name in enumerate(next(bill).strip().split(","))}
        number, amount = place["商户订单号"], place["订单金额"]
        for line_no, line in enumerate(bill, start=2):
            if line.startswith("总交易单数"):
                return
            cells = line.split(",")
            yuan, _, rest = cells[amount][1:].partition(".")
            yield line_no, cells[number][1:], int(yuan) * 100 + int(rest)


def _batches(rows: Iterator[tuple[int, str, int]]) -> Iterator[list[tuple[int, str, int]]]:
    held: list[tuple[int, str, int]] = []
    for row in rows:
        held.append(row)
        if len(held) >= BATCH:
            yield held
            held = []
    if held:
        yield held


STEPS: dict[str, Callable[[int], dict[str, Any]]] = {"fill": fill, "product": product, "baseline": baseline}


def _is_right(found: dict[str, dict[str, Any]]) -> bool:
    return all(found[name]["found"] == EXPECTED for name in ("product", "baseline"))


def _print(found: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    print(f"{options.rows:,} attempts, a bill of {found['fill']['bill_rows']:,} rows ({found['fill']['bill_mb']} MB)")
    print(f"{'':<10}{'seconds':>9}{'CPU s':>8}{'peak MB':>9}  until")
    for name in ("product", "baseline"):
        row = found[name]
        print(f"{name:<10}{row['seconds']:>9}{row['cpu_seconds']:>8}{row['peak_mb']:>9}  {row['until']}")
    one, other = found["product"], found["baseline"]
    is_met = one["seconds"] <= GOAL_SECONDS and one["peak_mb"] <= GOAL_MB
    print(f"ratio of the times {one['seconds'] / other['seconds']:.2f}; all wrong rows named: {_is_right(found)}")
    print(f"goal {GOAL_SECONDS} s and {GOAL_MB} MB: {'met' if is_met else 'MISSED'}")
    if options.json:
        print(json.dumps({"rows": options.rows, **found}))


if __name__ == "__main__":
    sys.exit(main())

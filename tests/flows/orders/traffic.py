"""A process that writes orders until SIGTERM and notes every answer; and one that compares the notes with the tables.

python -m tests.flows.orders.traffic write NOTES     one JSON line for each try: table, number, step, result
python -m tests.flows.orders.traffic fill NOTES      3 000 finished orders
python -m tests.flows.orders.traffic compare NOTES…  one JSON object: what is missing, too much or in a wrong state
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django

if __name__ == "__main__":
    django.setup()

from foundation import clock
from foundation.db import roles
from foundation.errors import Busy
from orders import selectors
from orders.domain import numbers as rules
from orders.domain.numbers import Prefix
from orders.domain.records import NewOrder
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.models import ATTEMPT_TABLES, ORDER_TABLES
from orders.services import advancing, numbers, opening

FILLED = 3_000
PAUSE_SECONDS = 0.002
STEPS = ("open", "attempt", "pay")
_stopped = False


def stop(number: int, frame: Any) -> None:
    global _stopped
    _stopped = True


def new_order() -> NewOrder:
    employee_id = random.randrange(1, 10**6)
    return NewOrder(
        order_no=numbers.issue(prefix=Prefix.RECHARGE, account_id=employee_id),
        kind=OrderKind.RECHARGE,
        amount_fen=random.randrange(1, 10_000),
        employee_id=employee_id,
        enterprise_id=os.getpid(),
        subject="移动 traffic",
    )


def write(notes: Path) -> None:
    """Each order is opened (one insert of its own), gets an attempt and is paid (one transaction each)."""
    signal.signal(signal.SIGTERM, stop)
    with notes.open("a", buffering=1) as out:
        while not _stopped:
            new = new_order()
            attempt_no = numbers.issue_attempt(order_no=new.order_no)
            for step, work in zip(STEPS, steps_of(new, attempt_no), strict=True):
                result = answer(work)
                note = {"table": rules.table_of(new.order_no), "number": new.order_no, "step": step, "result": result}
                out.write(json.dumps({**note, "at": time.time()}) + "\n")
                if result != "ok":
                    break
            time.sleep(PAUSE_SECONDS)


def steps_of(new: NewOrder, attempt_no: str) -> tuple[Callable[[], object], ...]:
    number = new.order_no

    def attempt() -> None:
        opening.open_attempt(
            order_no=number,
            attempt_no=attempt_no,
            channel="wechat",
            scene="native",
            amount_fen=new.amount_fen,
            now=clock.now(),
        )

    def pay() -> None:
        now = clock.now()
        advancing.lock_order(order_no=number)
        fields = {"effective": 1, "finished_at": now}
        advancing.advance_attempt(attempt_no=attempt_no, target=AttemptState.SUCCESS, fields=fields)
        advancing.advance_order(order_no=number, target=OrderState.SUCCESS, fields={"paid_at": now})

    return (
        lambda: opening.open_order(new=new, now=clock.now()),
        lambda: opening.in_transaction(number, attempt),
        lambda: opening.in_transaction(number, pay),
    )


def answer(work: Callable[[], object]) -> str:
    try:
        work()
    except Busy:
        return "busy"
    except Exception as error:  # the test asserts that there is none
        return repr(error)
    return "ok"


def fill(notes: Path) -> None:
    orders = [new_order() for _ in range(FILLED)]
    opening.insert_finished(orders=orders, now=clock.now())
    with notes.open("a") as out:
        for new in orders:
            table = rules.table_of(new.order_no)
            out.write(json.dumps({"table": table, "number": new.order_no, "step": "filled", "result": "ok", "at": 0}))
            out.write("\n")


def compare(files: list[Path]) -> dict[str, Any]:
    """Every acknowledged step stands in the table, nothing that was refused does, and there is no other row."""
    done: dict[str, list[str]] = {}
    for file in files:
        for line in file.read_text().splitlines():
            note = json.loads(line)
            steps = done.setdefault(note["number"], [])
            if note["result"] == "ok":
                steps.append(note["step"])
    wrong = [number for number, steps in done.items() if shape(number) != expected(steps)]
    rows = sum(table.objects.count() for table in ORDER_TABLES)
    spread = Counter(roles.orders_alias(table.table) for table in ATTEMPT_TABLES for _ in table.objects.all())
    return {"wrong": wrong[:10], "orders": rows, "acknowledged": sum(map(bool, done.values())), "attempts": spread}


def shape(number: str) -> tuple[str, int, int]:
    """State, attempts, effective attempts of an order; ("absent", 0, 0) when there is none."""
    order = selectors.find_order(order_no=number)
    if order is None:
        return "absent", 0, 0
    return order.state.value, len(order.attempts), sum(attempt.is_effective for attempt in order.attempts)


def expected(steps: list[str]) -> tuple[str, int, int]:
    if steps == ["filled"]:
        return "SUCCESS", 0, 0
    return [("absent", 0, 0), ("PENDING", 0, 0), ("PENDING", 1, 0), ("SUCCESS", 1, 1)][len(steps)]


def main(arguments: list[str]) -> None:
    action, *files = arguments
    if action == "compare":
        print(json.dumps(compare([Path(file) for file in files])))
    else:
        {"write": write, "fill": fill}[action](Path(files[0]))


if __name__ == "__main__":
    main(sys.argv[1:])

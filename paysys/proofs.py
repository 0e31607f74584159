"""All invariants of money over all apps: what no single app can see alone is proved here.

Source: design `money.md` (last paragraph of "Movements") and `faults.md` section 5.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from foundation import alerts, clock, jobs
from foundation.proof import ProofLine
from funds import proof as funds_proof
from funds import selectors as funds
from funds.services import sealing
from orders import selectors as orders
from orders.domain.states import OrderKind, OrderState
from redpacket import selectors as redpacket
from risk import proof as risk
from withdrawals import proof as withdrawals

Row = TypeVar("Row")

JOURNAL_OF_KIND: dict[OrderKind, tuple[str, ...]] = {
    OrderKind.RECHARGE: ("recharge",),
    OrderKind.PAYMENT: ("recharge",),
    OrderKind.COLLECT: ("collected",),
    OrderKind.TRANSFER: ("transfer",),
    OrderKind.REDPACKET_SEND: ("recharge", "freeze"),
    OrderKind.REDPACKET_REFUND: ("hold_release", "refund_done", "collection_refunded"),
    OrderKind.RETURN: ("refund_done", "collection_refunded"),
    OrderKind.WITHDRAWAL: ("withdrawal_paid",),
}
"""Which journal proves a successful order; receipts are proved by their packet's settlement."""


BATCH = 2000
SHOWN = 5
"""Offenders named in a line; its figures count them all."""


IN_FLIGHT = dt.timedelta(minutes=5)
"""An order may be behind its journal for this long on a running system: the event that repairs it is on its way."""


def prove(*, journals_before: dt.datetime | None = None) -> list[ProofLine]:
    """Every proof line of the ledger, the orders and the red packets.

    On a running system pass `journals_before` = now − IN_FLIGHT: younger journals may still wait for their order.
    """
    return [
        *funds_proof.prove(),
        *funds_proof.prove_closing(),
        funds_proof.prove_ageing(now=clock.now()),
        _orders_have_journals(),
        _journals_have_orders(journals_before),
        *redpacket.prove(),
        *withdrawals.prove(before=journals_before),
        *risk.prove(),
    ]


def _orders_have_journals() -> ProofLine:
    checked, without = 0, []
    for batch in _batches(orders.iterate_orders(state=OrderState.SUCCESS)):
        proved = [order for order in batch if order.kind in JOURNAL_OF_KIND]
        kinds = {kind for order in proved for kind in JOURNAL_OF_KIND[order.kind]}
        booked = funds.find_references(kinds=sorted(kinds), references=[order.order_no for order in proved])
        for order in proved:
            found = [kind for kind in JOURNAL_OF_KIND[order.kind] if (kind, order.order_no) in booked]
            if len(found) != 1:
                without.append(order.order_no)
        checked += len(proved)
    return ProofLine(
        name="every successful order has its journal",
        ok=not without,
        detail=", ".join(without[:SHOWN]),
        figures={"orders": checked, "without": len(without)},
    )


def _journals_have_orders(before: dt.datetime | None) -> ProofLine:
    checked, behind = 0, []
    for kind in ("recharge", "collected", "freeze", "transfer"):
        for batch in _batches(funds.iterate_journals(kind=kind)):
            numbers = [row.reference for row in batch if before is None or row.created_at < before]
            states = orders.get_states(order_nos=numbers)
            behind += [number for number in numbers if states.get(number) is not OrderState.SUCCESS]
            checked += len(numbers)
    return ProofLine(
        name="every payment journal has its successful order",
        ok=not behind,
        detail=", ".join(behind[:SHOWN]),
        figures={"journals": checked, "behind": len(behind)},
    )


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Lists of up to BATCH rows: memory stays the same however many there are."""
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


class ProveBooks(jobs.Job):
    """The nightly proof, the chain over journals included; an alert for every line that does not hold."""

    name = "paysys.prove_books"
    lock_seconds = 4 * 3600

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        lines = [*prove(journals_before=now - IN_FLIGHT), sealing.verify(now=now)]
        for line in lines:
            if not line.ok:
                alerts.raise_alert(code="books_do_not_balance", subject=line.name[:128], message=line.detail, now=now)
        return {"lines": len(lines), "broken": [line.name for line in lines if not line.ok]}


jobs.register(ProveBooks())

"""All invariants of money over all apps: what no single app can see alone is proved here.

Source: design `money.md` (last paragraph of "Movements") and `faults.md` section 5.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from foundation import alerts, jobs
from foundation.proof import ProofLine
from funds import selectors as funds
from orders import selectors as orders
from orders.domain.states import OrderKind, OrderState
from redpacket import selectors as redpacket

JOURNAL_OF_KIND: dict[OrderKind, tuple[str, ...]] = {
    OrderKind.RECHARGE: ("recharge",),
    OrderKind.PAYMENT: ("recharge",),
    OrderKind.REDPACKET_SEND: ("recharge", "freeze"),
    OrderKind.REDPACKET_REFUND: ("hold_release", "refund_done"),
    OrderKind.RETURN: ("refund_done",),
}
"""Which journal proves a successful order; receipts are proved by their packet's settlement."""


def prove() -> list[ProofLine]:
    """Every proof line of the ledger, the orders and the red packets."""
    return [*funds.prove(), *_prove_orders(), *redpacket.prove()]


def _prove_orders() -> list[ProofLine]:
    journals_seen: set[tuple[str, str]] = set()
    checked, without = 0, []
    for order in orders.iterate_orders(state=OrderState.SUCCESS):
        kinds = JOURNAL_OF_KIND.get(order.kind)
        if kinds is None:
            continue
        checked += 1
        found = [kind for kind in kinds if funds.get_journal(kind=kind, reference=order.order_no) is not None]
        journals_seen.update((kind, order.order_no) for kind in found)
        if len(found) != 1:
            without.append(order.order_no)
    orphans = [
        journal.reference
        for kind in ("recharge", "freeze")
        for journal in funds.iterate_journals(kind=kind)
        if (kind, journal.reference) not in journals_seen
    ]
    return [
        ProofLine(
            name="every successful order has its journal",
            ok=not without,
            detail=", ".join(without[:5]),
            figures={"orders": checked, "without": len(without)},
        ),
        ProofLine(
            name="every payment journal has its successful order",
            ok=not orphans,
            detail=", ".join(orphans[:5]),
            figures={"journals": len(journals_seen), "behind": len(orphans)},
        ),
    ]


class ProveBooks(jobs.Job):
    """Runs the proof and alerts on every line that does not hold."""

    name = "paysys.prove_books"
    lock_seconds = 1800

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        lines = prove()
        for line in lines:
            if not line.ok:
                alerts.raise_alert(code="books_do_not_balance", subject=line.name[:128], message=line.detail, now=now)
        return {"lines": len(lines), "broken": [line.name for line in lines if not line.ok]}


jobs.register(ProveBooks())

"""The sweep over unpaid orders past their life: closed, or completed when they are only behind their journal."""

from __future__ import annotations

import datetime as dt

import structlog

from foundation.errors import Busy, PaysysError
from funds import selectors as funds
from orders import selectors as orders
from orders.domain.records import OrderRecord
from orders.domain.states import OrderKind
from payments.domain.channels import WALLET
from payments.services import closing, outcomes, transferring

logger = structlog.get_logger("payments")


def _repair_booked(order: OrderRecord, *, now: dt.datetime) -> bool:
    """Completes an order whose wallet payment is booked and whose event was not delivered; True when it was behind.

    A payment through a channel is completed by the check of its attempt, which knows the provider's number.
    """
    attempt = next((row for row in order.attempts if row.is_open and row.channel == WALLET), None)
    booked = [funds.get_journal(kind=kind, reference=order.order_no) for kind in ("freeze", "transfer")]
    journal = next((row for row in booked if row is not None), None)
    if attempt is None or journal is None:
        return False
    was_behind = outcomes.repair_order(
        order_no=order.order_no,
        attempt_no=attempt.attempt_no,
        provider_no="",
        paid_at=journal.created_at,
        now=now,
    )
    if order.kind is OrderKind.TRANSFER:
        transferring.complete(order_no=order.order_no, now=now)
    return was_behind


def close_expired(*, now: dt.datetime, limit: int = 200) -> dict[str, int]:
    """Closes unpaid orders past their life; a provider without a certain answer is asked again next time.

    A booked order that is only behind its journal is completed instead: the sweep behind the event's delivery. An order
    that cannot be closed (its channel is not configured any more) is counted and logged and never stops the others.
    """
    report = {"closed": 0, "paid": 0, "repaired": 0, "undecided": 0, "refused": 0}
    for order in orders.list_expired_orders(now=now, limit=limit):
        try:
            if _repair_booked(order, now=now):
                report["repaired"] += 1
                continue
            closing.close_order(order_no=order.order_no, now=now)
            report["closed"] += 1
        except closing.OrderAlreadyPaid:
            report["paid"] += 1
        except Busy:
            report["undecided"] += 1
        except PaysysError as refusal:
            logger.error("expired order could not be closed", order_no=order.order_no, code=refusal.code)
            report["refused"] += 1
    return report

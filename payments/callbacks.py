"""What the payment platform does when its own events are delivered (at least once, in any order)."""

from __future__ import annotations

import datetime as dt

from foundation import clock, outbox
from foundation.outbox import Event
from orders.domain.states import OrderKind
from payments.domain import events
from payments.services import callbacks_out, outcomes, refunds, screening, transferring


def on_order_paid(event: Event) -> None:
    """Completes an order that stayed behind its journal, and a transfer's receipt that was not written."""
    outcomes.repair_order(
        order_no=event.payload["order_no"],
        attempt_no=event.payload["attempt_no"],
        provider_no=event.payload["provider_no"],
        paid_at=dt.datetime.fromisoformat(event.payload["paid_at"]),
        now=clock.now(),
    )
    if event.payload["kind"] == OrderKind.TRANSFER:
        transferring.complete(order_no=event.payload["order_no"], now=clock.now())


def tell_paid(event: Event) -> None:
    """Queues the callback of a business backend's paid order."""
    if event.payload["kind"] == OrderKind.PAYMENT:
        callbacks_out.note_paid(order_no=event.payload["order_no"], now=clock.now())


def tell_closed(event: Event) -> None:
    """Queues the callback of a business backend's order that ended unpaid."""
    if event.payload["kind"] == OrderKind.PAYMENT:
        callbacks_out.note_closed(order_no=event.payload["order_no"], now=clock.now())


def on_order_closed(event: Event) -> None:
    """What ended unpaid no longer counts for risk control."""
    screening.release(kind=event.payload["kind"], order_no=event.payload["order_no"], now=clock.now())


def tell_refunded(event: Event) -> None:
    """Queues the callback of a refund of a business backend's order."""
    callbacks_out.note_refund(refund_no=event.payload["refund_no"], state=event.payload["state"], now=clock.now())


def on_receipt_to_return(event: Event) -> None:
    """Sends a second or late payment back."""
    refunds.return_receipt(
        order_no=event.payload["order_no"],
        attempt_no=event.payload["attempt_no"],
        refund_no=event.payload["refund_no"],
        amount_fen=event.payload["amount_fen"],
        now=clock.now(),
    )


def on_refund_requested(event: Event) -> None:
    """Asks the provider for a refund whose money is in transit."""
    refunds.request_refund(refund_no=event.payload["refund_no"], now=clock.now())


def on_refund_finished(event: Event) -> None:
    """Completes a wallet refund's order that stayed behind its journal."""
    refunds.repair(refund_no=event.payload["refund_no"], now=clock.now())


outbox.subscribe(events.ORDER_PAID, on_order_paid)
outbox.subscribe(events.RECEIPT_TO_RETURN, on_receipt_to_return)
outbox.subscribe(events.REFUND_REQUESTED, on_refund_requested)
outbox.subscribe(events.REFUND_FINISHED, on_refund_finished)
outbox.subscribe(events.ORDER_PAID, tell_paid)
outbox.subscribe(events.ORDER_CLOSED, tell_closed)
outbox.subscribe(events.ORDER_CLOSED, on_order_closed)
outbox.subscribe(events.REFUND_FINISHED, tell_refunded)

"""What collections hear of their orders and refunds (at least once, in any order)."""

from __future__ import annotations

import datetime as dt

from collect.domain.states import RefundState
from collect.services import collecting
from foundation import clock, outbox
from foundation.outbox import Event
from payments.domain import events
from payments.services import direct


def on_order_paid(event: Event) -> None:
    """The order of a collection is paid."""
    said = event.payload
    if said["kind"] == direct.ORDER_KIND:
        collecting.record_paid(
            collection_id=said["business_no"],
            order_no=said["order_no"],
            attempt_no=said["attempt_no"],
            provider_no=said["provider_no"],
            paid_at=dt.datetime.fromisoformat(said["paid_at"]),
            now=clock.now(),
        )


def on_order_closed(event: Event) -> None:
    """The order of a collection ended unpaid."""
    if event.payload["kind"] == direct.ORDER_KIND:
        collecting.record_closed(collection_id=event.payload["business_no"], now=clock.now())


def on_refund_finished(event: Event) -> None:
    """A refund ended; those of other orders are not ours."""
    is_done = event.payload["state"] == RefundState.SUCCESS
    collecting.record_refund(refund_no=event.payload["refund_no"], is_done=is_done, now=clock.now())


outbox.subscribe(events.ORDER_PAID, on_order_paid)
outbox.subscribe(events.ORDER_CLOSED, on_order_closed)
outbox.subscribe(events.REFUND_FINISHED, on_refund_finished)

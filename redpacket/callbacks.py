"""What red packets hear from payments."""

from __future__ import annotations

from foundation import clock, outbox
from foundation.outbox import Event
from payments.domain import events
from payments.services.numbers import Prefix
from redpacket.services import expiry, opening, send


def on_order_paid(event: Event) -> None:
    """The order of a packet is paid: the packet opens."""
    if event.payload["kind"] == send.ORDER_KIND:
        opening.record_paid(
            packet_id=event.payload["business_no"],
            funding_order_no=event.payload["order_no"],
            amount_fen=event.payload["amount_fen"],
            now=clock.now(),
        )


def on_order_closed(event: Event) -> None:
    """The order of a packet ended unpaid: the packet is cancelled."""
    if event.payload["kind"] == send.ORDER_KIND:
        opening.cancel_packet(packet_id=event.payload["business_no"])


def on_refund_finished(event: Event) -> None:
    """The rest of a packet has reached its end. Refunds of other businesses are not ours."""
    if event.payload["refund_no"].startswith(Prefix.REDPACKET_REFUND):
        expiry.record_refund(
            packet_id=event.payload["business_no"],
            refund_no=event.payload["refund_no"],
            state=event.payload["state"],
            amount_fen=event.payload["amount_fen"],
        )


outbox.subscribe(events.ORDER_PAID, on_order_paid)
outbox.subscribe(events.ORDER_CLOSED, on_order_closed)
outbox.subscribe(events.REFUND_FINISHED, on_refund_finished)

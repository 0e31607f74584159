"""What red packets hear from payments and from themselves, and the bell for what clients are to be told."""

from __future__ import annotations

from celery import shared_task

from foundation import bells, clock, outbox
from foundation.outbox import Event
from payments.domain import events
from payments.services.numbers import Prefix
from redpacket import selectors
from redpacket.services import announcing, expiry, opening, send


def on_order_paid(event: Event) -> None:
    """The order of a packet is paid: the packet opens, and its members are to be told."""
    if event.payload["kind"] == send.ORDER_KIND:
        packet = opening.record_paid(
            packet_id=event.payload["business_no"],
            funding_order_no=event.payload["order_no"],
            amount_fen=event.payload["amount_fen"],
            now=clock.now(),
        )
        announcing.queue_arrival(packet=packet, now=clock.now())


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


def on_arrived(event: Event) -> None:
    """A packet has opened: those it goes to are told."""
    announcing.announce_arrival(packet_id=event.payload["redpacket"], now=clock.now())


def on_gone(event: Event) -> None:
    """A packet has closed: everybody is told."""
    announcing.announce_gone(packet_id=event.payload["redpacket"])


@shared_task(name="redpacket.announce")
def announce() -> int:
    """Rung for closed packets and posted batches; carries nothing. Returns the packets concluded."""
    return announcing.announce_due(now=clock.now()).concluded


def is_news_due() -> bool:
    """The relay's question."""
    since = clock.now() - announcing.NEWS
    return bool(selectors.list_packets_to_conclude(limit=1) or selectors.list_batches_to_announce(since=since, limit=1))


outbox.subscribe(announcing.ARRIVED, on_arrived)
outbox.subscribe(announcing.GONE, on_gone)
bells.register(bells.Bell(name="redpacket.news", due=is_news_due, task="redpacket.announce", queue="callbacks"))
outbox.subscribe(events.ORDER_PAID, on_order_paid)
outbox.subscribe(events.ORDER_CLOSED, on_order_closed)
outbox.subscribe(events.REFUND_FINISHED, on_refund_finished)

"""What withdrawals do when events are delivered (at least once, in any order)."""

from __future__ import annotations

import datetime as dt

from foundation import clock, outbox
from foundation.outbox import Event
from gateway.ports import Outcome, Result
from orders import selectors as orders
from withdrawals.domain import events
from withdrawals.domain.states import WithdrawalState
from withdrawals.services import application, results, sending


def on_frozen(event: Event) -> None:
    """Puts an application before staff whose process died after the freeze."""
    application.note_applied(order_no=event.payload["order_no"], now=clock.now())


def on_ended(event: Event) -> None:
    """Completes a withdrawal that stayed behind its money."""
    results.complete(
        order_no=event.payload["order_no"],
        target=WithdrawalState(event.payload["state"]),
        actor=event.payload["actor"],
        code=event.payload["code"],
        message=event.payload["message"],
        now=clock.now(),
    )


def on_approved(event: Event) -> None:
    """Sends what was approved, when the policies let it go now; the job comes back for the rest."""
    now = clock.now()
    if event.payload["order_no"] in sending.list_sendable(now=now):
        sending.send(order_no=event.payload["order_no"], now=now)


def on_payout_noticed(event: Event) -> None:
    """Acts on a provider's verified notice about a payout."""
    fact = event.payload
    order_no = orders.get_attempt(attempt_no=fact["number"]).order_no
    result = Result(
        outcome=Outcome(fact["outcome"]),
        code=fact["code"],
        message=fact["message"],
        provider_no=fact["provider_no"],
        amount_fen=fact["amount_fen"],
        happened_at=dt.datetime.fromisoformat(fact["happened_at"]) if fact["happened_at"] else None,
    )
    results.apply(order_no=order_no, payout_no=fact["number"], result=result, source="notice", now=clock.now())


outbox.subscribe(events.FROZEN, on_frozen)
outbox.subscribe(events.ENDED, on_ended)
outbox.subscribe(events.APPROVED, on_approved)
outbox.subscribe(events.PAYOUT_NOTICED, on_payout_noticed)

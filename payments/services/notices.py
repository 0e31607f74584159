"""Handles one provider notice from raw bytes to money and answer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from foundation import alerts, outbox
from foundation.db import roles, transactions
from foundation.errors import NotFound
from gateway.ports import Answer, NoticeFact, NoticeKind, Outcome
from gateway.services import notices
from orders import selectors as orders
from orders.domain.states import OPEN_ATTEMPT_STATES, OrderKind
from payments.domain import events
from payments.services import outcomes, refund_results


def handle(
    *, channel: str, method: str, path: str, headers: Mapping[str, str], body: bytes, now: dt.datetime
) -> Answer:
    """Stores, verifies and acts on a notice; returns the provider's own success text after everything is committed.

    Raises NoticeRefused for what cannot be verified, NotFound for a number we do not know (kept, alerted, the provider
    sends it again) and AmountMismatch; none of them moves anything. Repeats are answered with success.
    """
    received = notices.receive_notice(channel=channel, method=method, path=path, headers=headers, body=body, now=now)
    if received.already_processed:
        return notices.success_answer(channel, fact=received.fact)
    try:
        note = _act(channel, received.fact, now)
    except NotFound:
        alerts.raise_alert(
            code="notice_for_unknown_number",
            subject=received.fact.number,
            message="A verified notice names a number that is not ours; it is kept and will be sent again.",
            context={"channel": channel, "notice_id": received.notice_id},
            now=now,
        )
        notices.finish_notice(notice_id=received.notice_id, state="FAILED", note="unknown number", now=now)
        raise
    except outcomes.AmountMismatch:
        notices.finish_notice(notice_id=received.notice_id, state="FAILED", note="amount mismatch", now=now)
        raise
    notices.finish_notice(notice_id=received.notice_id, state="PROCESSED", note=note, now=now)
    return notices.success_answer(channel, fact=received.fact)


def _pass_on_payout(channel: str, fact: NoticeFact, now: dt.datetime) -> str:
    """A payout is `withdrawals`' business: it hears of it through the outbox, after the provider has our answer."""
    order = orders.get_order_row(order_no=orders.get_attempt(attempt_no=fact.number).order_no)
    if order.kind is not OrderKind.WITHDRAWAL:
        raise NotFound({"number": fact.number[:64]})
    result = fact.result
    alias = roles.alias_for("default")
    transactions.run(
        lambda: outbox.publish(
            using=alias,
            topic=events.PAYOUT_NOTICED,
            key=f"{channel}:{fact.event_id}"[:128],
            payload={
                "channel": channel,
                "number": fact.number,
                "outcome": result.outcome.value,
                "code": result.code,
                "message": result.message[:255],
                "provider_no": result.provider_no,
                "amount_fen": result.amount_fen,
                "happened_at": result.happened_at.isoformat() if result.happened_at else "",
            },
            now=now,
        ),
        using=alias,
    )
    return f"payout {result.outcome.value}"


def _act(channel: str, fact: NoticeFact, now: dt.datetime) -> str:
    if fact.kind is NoticeKind.REFUND:
        attempt = orders.get_attempt(attempt_no=fact.number)
        if attempt.state in OPEN_ATTEMPT_STATES:
            refund_results.apply(refund_no=attempt.order_no, result=fact.result, now=now)
        return f"refund {fact.result.outcome.value}"
    if fact.kind is NoticeKind.PAYOUT:
        return _pass_on_payout(channel, fact, now)
    attempt = orders.get_attempt(attempt_no=fact.number)
    if fact.result.outcome is not Outcome.SUCCESS:
        return f"payment {fact.result.outcome.value}: nothing to book"
    booking = outcomes.record_success(
        success=outcomes.Success(
            attempt_no=attempt.attempt_no,
            amount_fen=fact.result.amount_fen or 0,
            provider_no=fact.result.provider_no,
            paid_at=fact.result.happened_at or now,
        ),
        now=now,
    )
    return f"payment {booking.value}"

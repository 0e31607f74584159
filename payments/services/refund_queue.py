"""The staff's queue of refunds that a provider took and does not carry out (异常退款).

A row is a note for people and decides nothing: the refund's order does. It is opened after the provider's answer and
closed when the refund ends (event payments.refund_finished, delivered at least once). Database: default.
"""

from __future__ import annotations

import datetime as dt

from django.db import IntegrityError, transaction
from django.db.models import F

from foundation.db import roles
from gateway.ports import Result
from orders.domain.records import AttemptRecord, OrderRecord
from payments.models import AbnormalRefund

TEXT_MAX_CHARACTERS = 255


def note(*, refund: OrderRecord, attempt: AttemptRecord, result: Result, now: dt.datetime) -> None:
    """Puts a refund into the queue, or renews what the provider says of it; `first_at` stays, so its age counts on."""
    alias = roles.alias_for("default")
    said = {
        "code": (result.code or result.outcome.value)[:64],
        "provider_text": result.message[:TEXT_MAX_CHARACTERS],
        "last_at": now,
        "closed_at": None,
    }
    rows = AbnormalRefund.objects.using(alias).filter(pk=refund.order_no)
    if rows.update(times=F("times") + 1, **said):
        return
    try:
        with transaction.atomic(using=alias):
            AbnormalRefund.objects.using(alias).create(
                refund_no=refund.order_no,
                order_no=refund.original_order_no,
                channel=attempt.channel,
                amount_fen=refund.amount_fen,
                first_at=now,
                **said,
            )
    except IntegrityError:  # a notice and a query brought the same answer at once
        rows.update(times=F("times") + 1, **said)


def close(*, refund_no: str, now: dt.datetime) -> bool:
    """Takes a refund that has ended out of the queue; True when it stood there. Safe to repeat."""
    rows = AbnormalRefund.objects.using(roles.alias_for("default")).filter(pk=refund_no, closed_at=None)
    return bool(rows.update(closed_at=now))

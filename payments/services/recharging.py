"""Recharge: money from a channel to the employee's own balance."""

from __future__ import annotations

import datetime as dt

from django.conf import settings

from foundation.errors import Rejected
from orders.domain.states import OrderKind
from payments.domain.people import Person
from payments.services import purchase, screening
from payments.services.purchase import Purchase


class RechargeTooLarge(Rejected):
    """Above the limit of one recharge."""

    code = "amount_over_limit"
    http_status = 422
    message_en = "The amount is above the limit."
    message_zh = "金额超过上限。"


def recharge(*, order_no: str, payer: Person, amount_fen: int, channel: str, scene: str, now: dt.datetime) -> Purchase:
    """Opens a recharge of `amount_fen` (1 … settings.RECHARGE_MAX_FEN); the balance grows when the provider says paid.

    Idempotent by order number; errors as purchase.open_by_channel, RechargeTooLarge and RiskRejected.
    """
    if amount_fen > settings.RECHARGE_MAX_FEN:
        raise RechargeTooLarge({"max_fen": settings.RECHARGE_MAX_FEN})
    screening.screen(
        kind=OrderKind.RECHARGE, order_no=order_no, payer=payer, amount_fen=amount_fen, channel=channel, now=now
    )
    return purchase.open_by_channel(
        kind=OrderKind.RECHARGE,
        order_no=order_no,
        payer=payer,
        amount_fen=amount_fen,
        subject="Wallet recharge",
        channel=channel,
        scene=scene,
        now=now,
    )

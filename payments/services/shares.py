"""Settles the shares of a red packet: one journal for a batch, one receipt order for each receiver's share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from funds.domain import movements
from funds.domain.entries import employee_account
from funds.services import ledger
from orders.domain.records import NewOrder
from orders.domain.states import OrderKind
from orders.services import opening
from payments.domain import events
from payments.domain.people import Person


@dataclass(frozen=True, kw_only=True)
class ShareToSettle:
    """A claimed share; `receipt_no` is the receiver's order number, fixed with the batch."""

    share_no: int
    receiver: Person
    amount_fen: int
    receipt_no: str


def settle(
    *,
    packet_id: str,
    funding_order_no: str,
    batch_no: int,
    sender: Person,
    shares: Sequence[ShareToSettle],
    now: dt.datetime,
) -> None:
    """Moves a batch from the sender's frozen money to the receivers, then writes their receipt orders.

    The journal's reference is packet and batch number, so the same batch moves once however often it is repeated; the
    receipts come after the ledger's commit and are completed by a repeat. A batch must never change its content.
    """
    entry = movements.settle_shares(
        reference=f"{packet_id}:{batch_no}",
        order_no=funding_order_no,
        sender=employee_account(sender.employee_id, sender.enterprise_id),
        hold_key=events.packet_hold_key(packet_id),
        receivers=[
            movements.Receiver(
                account=employee_account(share.receiver.employee_id, share.receiver.enterprise_id),
                amount_fen=share.amount_fen,
            )
            for share in shares
        ],
    )
    ledger.in_transaction(lambda: ledger.post(entry=entry, now=now))
    opening.insert_finished(
        orders=[
            NewOrder(
                order_no=share.receipt_no,
                kind=OrderKind.REDPACKET_RECEIPT,
                amount_fen=share.amount_fen,
                employee_id=share.receiver.employee_id,
                enterprise_id=share.receiver.enterprise_id,
                subject="Red packet",
                business_no=packet_id,
                original_order_no=funding_order_no,
            )
            for share in shares
        ],
        now=now,
    )

"""Outbox topics of the payment platform and the holds they speak of."""

from __future__ import annotations

ORDER_PAID = "payments.order_paid"
"""Key: order number. Payload: order_no, kind, business_no, amount_fen, employee_id, attempt_no, provider_no,
paid_at."""
ORDER_CLOSED = "payments.order_closed"
"""Key: order number. Payload: order_no, kind, business_no. The order ended unpaid."""
RECEIPT_TO_RETURN = "payments.receipt_to_return"
"""Key: attempt number. Payload: order_no, attempt_no, refund_no, amount_fen. Paid twice, or after the order ended."""
REFUND_REQUESTED = "payments.refund_requested"
"""Key: refund number. Payload: refund_no. The money is booked as in transit; the provider must be asked."""
REFUND_FINISHED = "payments.refund_finished"
"""Key: refund number. Payload: refund_no, business_no, state, amount_fen."""


def packet_hold_key(business_no: str) -> str:
    """Key of the hold that carries a red packet's money."""
    return f"redpacket:{business_no}"


PAYOUT_NOTICED = "payments.payout_noticed"
"""{channel, number, outcome, code, message, provider_no, amount_fen, happened_at}: a verified notice about a payout."""

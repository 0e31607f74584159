"""Topics of the outbox that withdrawals publish, and the one of payments that they listen to."""

from __future__ import annotations

FROZEN = "withdrawals.frozen"
"""{order_no}: the money is in the hold."""
ENDED = "withdrawals.ended"
"""{order_no, state, code, message, actor}: money and order are where `state` says, the withdrawal may be behind."""
APPROVED = "withdrawals.approved"
"""{order_no}: it may be sent."""
PAYOUT_NOTICED = "payments.payout_noticed"
"""{channel, number, outcome, code, message, provider_no, amount_fen, happened_at}: a verified notice about a payout."""

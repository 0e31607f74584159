"""Withdrawals in the admin: the desk of approvals, new payout numbers, and how payouts are sent."""

from withdrawals.admin.desk import WithdrawalAdmin
from withdrawals.admin.payouts import PayoutPolicyAdmin, ReissueAdmin

__all__ = ["PayoutPolicyAdmin", "ReissueAdmin", "WithdrawalAdmin"]

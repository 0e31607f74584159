"""Withdrawals in the admin: the desk of approvals, new payout numbers, and how payouts are sent."""

from withdrawals.admin.desk import WithdrawalAdmin
from withdrawals.admin.payees import BankCardAdmin, WechatAccountAdmin
from withdrawals.admin.payouts import PayoutPolicyAdmin, ReissueAdmin

__all__ = ["BankCardAdmin", "PayoutPolicyAdmin", "ReissueAdmin", "WechatAccountAdmin", "WithdrawalAdmin"]

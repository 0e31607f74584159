"""The books in WeChat's words: JSON objects of orders and refunds."""

from __future__ import annotations

from typing import Any

from simulator.books import Order, Refund
from simulator.clock import rfc3339
from simulator.credentials import Credentials

CURRENCY = "CNY"
BANK_TYPE = "OTHERS"
TRADE_TYPE = "NATIVE"
RECEIVED_ACCOUNT = "支付用户零钱"
"""Where a refund arrives: the payer's balance."""
STATE_WORDS = {"SUCCESS": "支付成功", "NOTPAY": "订单未支付", "CLOSED": "订单已关闭", "REFUND": "转入退款"}


def trade_state(*, order: Order, refunds: list[Refund]) -> str:
    """WeChat shows REFUND as soon as one refund is under way, and for ever when one was made."""
    if order.state != "PAID":
        return {"OPEN": "NOTPAY", "CLOSED": "CLOSED"}[order.state]
    return "REFUND" if any(refund.state != "CLOSED" for refund in refunds) else "SUCCESS"


def transaction(*, credentials: Credentials, order: Order, refunds: list[Refund]) -> dict[str, Any]:
    """The object of the query and, for a payment just made, of TRANSACTION.SUCCESS."""
    state = trade_state(order=order, refunds=refunds)
    common = {
        "appid": credentials.appid,
        "mchid": credentials.mchid,
        "out_trade_no": order.attempt_no,
        "attach": order.parameters.get("attach") or "",
        "trade_state": state,
        "trade_state_desc": STATE_WORDS[state],
    }
    if order.paid_fen is None or order.paid_at is None:
        return {**common, "amount": {"total": order.amount_fen, "currency": CURRENCY, "payer_currency": CURRENCY}}
    return {
        **common,
        "transaction_id": order.transaction_id,
        "trade_type": TRADE_TYPE,
        "bank_type": BANK_TYPE,
        "success_time": rfc3339(order.paid_at),
        "payer": {"openid": order.payer},
        "amount": {
            "total": order.paid_fen,
            "payer_total": order.paid_fen,
            "currency": CURRENCY,
            "payer_currency": CURRENCY,
        },
    }


def refund_answer(*, order: Order, refund: Refund) -> dict[str, Any]:
    """The object of the refund call and of its query; the state is called `status` here."""
    answer = {
        "refund_id": refund.refund_id,
        "out_refund_no": refund.refund_no,
        "transaction_id": order.transaction_id,
        "out_trade_no": order.attempt_no,
        "channel": "ORIGINAL",
        "user_received_account": RECEIVED_ACCOUNT,
        "create_time": rfc3339(refund.created_at),
        "status": refund.state,
        "funds_account": "AVAILABLE",
        "amount": {
            "total": order.paid_fen,
            "refund": refund.amount_fen,
            "payer_total": order.paid_fen,
            "payer_refund": refund.amount_fen,
            "settlement_refund": refund.amount_fen,
            "settlement_total": order.paid_fen,
            "discount_refund": 0,
            "currency": CURRENCY,
        },
    }
    if refund.state == "SUCCESS" and refund.finished_at is not None:
        answer["success_time"] = rfc3339(refund.finished_at)
    return answer


def refund_notice(*, credentials: Credentials, order: Order, refund: Refund) -> dict[str, Any]:
    """The object inside REFUND.*; the state is called `refund_status` here."""
    content = {
        "mchid": credentials.mchid,
        "transaction_id": order.transaction_id,
        "out_trade_no": order.attempt_no,
        "refund_id": refund.refund_id,
        "out_refund_no": refund.refund_no,
        "refund_status": refund.state,
        "user_received_account": RECEIVED_ACCOUNT,
        "amount": {
            "total": order.paid_fen,
            "refund": refund.amount_fen,
            "payer_total": order.paid_fen,
            "payer_refund": refund.amount_fen,
        },
    }
    if refund.state == "SUCCESS" and refund.finished_at is not None:
        content["success_time"] = rfc3339(refund.finished_at)
    return content

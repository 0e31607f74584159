"""The books in Alipay's words: nodes of answers and parameters of notices."""

from __future__ import annotations

import json
from typing import Any

from simulator.alipay.codes import QR_PREFIX
from simulator.alipay.keys import AlipayCredentials
from simulator.books import Order, Payout, Refund
from simulator.clock import moment

BUYER_ID = "2088622190161234"
BUYER_LOGON_ID = "sim***@sandbox.com"
DONE = {"code": "10000", "msg": "Success"}
PAYOUT_STATES = {
    "WAITING": "WAIT_PAY",
    "PROCESSING": "DEALING",
    "CANCELLING": "DEALING",
    "SUCCESS": "SUCCESS",
    "FAILED": "FAIL",
    "CANCELLED": "CLOSED",
    "RETURNED": "REFUND",
}


def yuan(amount_fen: int) -> str:
    sign = "-" if amount_fen < 0 else ""
    return f"{sign}{abs(amount_fen) // 100}.{abs(amount_fen) % 100:02d}"


def time(seconds: float) -> str:
    """`yyyy-MM-dd HH:mm:ss`, Beijing."""
    return f"{moment(seconds):%Y-%m-%d %H:%M:%S}"


def is_trade(order: Order) -> bool:
    """A precreated code becomes a trade when somebody scans it; before, Alipay knows nothing of the number."""
    return not order.code.startswith(QR_PREFIX) or order.payer is not None or order.state == "PAID"


def refunded_fen(refunds: list[Refund]) -> int:
    return sum(refund.amount_fen for refund in refunds if refund.state == "SUCCESS")


def trade_status(*, order: Order, refunds: list[Refund]) -> str:
    """A wholly refunded trade is closed, like one that was never paid."""
    if order.state != "PAID":
        return {"OPEN": "WAIT_BUYER_PAY", "CLOSED": "TRADE_CLOSED"}[order.state]
    return "TRADE_CLOSED" if refunded_fen(refunds) >= (order.paid_fen or 0) else "TRADE_SUCCESS"


def trade_no(order: Order) -> dict[str, str]:
    """Here a trade gets its number when it is paid (in reality when it is scanned)."""
    return {"trade_no": order.transaction_id} if order.transaction_id else {}


def trade(*, order: Order, refunds: list[Refund]) -> dict[str, Any]:
    """The node of alipay.trade.query."""
    amount = yuan(order.amount_fen if order.paid_fen is None else order.paid_fen)
    node: dict[str, Any] = {
        **DONE,
        "out_trade_no": order.attempt_no,
        **trade_no(order),
        "trade_status": trade_status(order=order, refunds=refunds),
        "total_amount": amount,
        "buyer_logon_id": BUYER_LOGON_ID,
        "buyer_user_id": BUYER_ID,
    }
    if order.paid_at is not None:
        node |= {
            "send_pay_date": time(order.paid_at),
            "receipt_amount": amount,
            "buyer_pay_amount": amount,
            "invoice_amount": amount,
            "point_amount": "0.00",
            "fund_bill_list": [{"amount": amount, "fund_channel": "ALIPAYACCOUNT"}],
        }
    return node


def refund_answer(*, order: Order, refunds: list[Refund], is_changed: bool, now: float) -> dict[str, Any]:
    """The node of alipay.trade.refund; `refund_fee` is the sum of all refunds of the trade."""
    return {
        **DONE,
        "out_trade_no": order.attempt_no,
        **trade_no(order),
        "buyer_logon_id": BUYER_LOGON_ID,
        "buyer_user_id": BUYER_ID,
        "fund_change": "Y" if is_changed else "N",
        "refund_fee": yuan(refunded_fen(refunds)),
        "gmt_refund_pay": time(now),
    }


def refund_found(*, order: Order, refund: Refund) -> dict[str, Any]:
    """The node of the refund query for a refund that was made; for any other it is DONE alone."""
    if refund.state != "SUCCESS" or refund.finished_at is None:
        return dict(DONE)
    return {
        **DONE,
        "out_trade_no": order.attempt_no,
        **trade_no(order),
        "out_request_no": refund.refund_no,
        "refund_amount": yuan(refund.amount_fen),
        "total_amount": yuan(order.paid_fen or 0),
        "refund_status": "REFUND_SUCCESS",
        "gmt_refund_pay": time(refund.finished_at),
    }


def payout(*, payout: Payout, is_query: bool) -> dict[str, Any]:
    """The node of the transfer and, with amount and reason, of its query."""
    node: dict[str, Any] = {
        **DONE,
        "out_biz_no": payout.payout_no,
        "order_id": payout.payout_id,
        "pay_fund_order_id": payout.payout_id,
        "status": PAYOUT_STATES[payout.state],
    }
    if is_query:
        node |= {"trans_amount": yuan(payout.amount_fen), "order_fee": "0.00"}
        if payout.state == "FAILED":
            node |= {"error_code": payout.reason or "PAYEE_CARD_INFO_ERROR", "fail_reason": "转账失败"}
    if payout.paid_at is not None:
        node["pay_date" if is_query else "trans_date"] = time(payout.paid_at)
    return node


def notice(*, credentials: AlipayCredentials, order: Order, refunds: list[Refund]) -> dict[str, str]:
    """The parameters of a notice that do not change from one delivery to the next."""
    amount = yuan(order.paid_fen or order.amount_fen)
    content = {
        "notify_type": "trade_status_sync",
        "app_id": credentials.app_id,
        "auth_app_id": credentials.app_id,
        "seller_id": order.receiver or credentials.seller_id,
        "charset": "utf-8",
        "version": "1.0",
        "gmt_create": time(order.created_at),
        "subject": order.subject,
        "out_trade_no": order.attempt_no,
        **trade_no(order),
        "trade_status": trade_status(order=order, refunds=refunds),
        "total_amount": amount,
        "buyer_id": BUYER_ID,
        "buyer_logon_id": BUYER_LOGON_ID,
    }
    if order.paid_at is not None:
        content |= {
            "gmt_payment": time(order.paid_at),
            "receipt_amount": amount,
            "invoice_amount": amount,
            "buyer_pay_amount": amount,
            "point_amount": "0.00",
            "fund_bill_list": json.dumps([{"amount": amount, "fundChannel": "ALIPAYACCOUNT"}], separators=(",", ":")),
        }
    return content


def refund_notice(
    *, credentials: AlipayCredentials, order: Order, refund: Refund, refunds: list[Refund]
) -> dict[str, str]:
    """A notice of the trade again, with what went back so far and the number of the refund that caused it."""
    return {
        **notice(credentials=credentials, order=order, refunds=refunds),
        "refund_fee": yuan(refunded_fen(refunds)),
        "out_biz_no": refund.refund_no,
        "gmt_refund": time(refund.finished_at or refund.created_at) + ".000",
    }

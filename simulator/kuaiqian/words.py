"""The books in 99bill's fields."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.books import Order, Payout, Refund
from simulator.clock import moment
from simulator.kuaiqian.codes import BANKS
from simulator.kuaiqian.keys import KuaiqianCredentials

PAY_TYPE = "10"
"""A bank card."""
PAID = "10"
PAYOUT_STATES: Mapping[str, str] = {
    "WAITING": "101",
    "PROCESSING": "101",
    "CANCELLING": "101",
    "SUCCESS": "111",
    "FAILED": "112",
    "CANCELLED": "112",
    "RETURNED": "114",
}
REFUND_STATES: Mapping[str, str] = {"PROCESSING": "0", "ABNORMAL": "0", "SUCCESS": "1", "CLOSED": "2"}
"""An abnormal refund is one that never ends."""
ORDER_DETAIL = ["orderId", "orderAmount", "orderTime", "dealTime", "payResult", "payType", "payAmount", "fee", "dealId"]
"""In the order in which they are signed."""
REFUND_DETAIL = ["orderId", "rOrderId", "sequenceId", "orderAmout", "orderTime", "lastUpdateTime", "status"]


def compact(seconds: float) -> str:
    return f"{moment(seconds):%Y%m%d%H%M%S}"


def long(seconds: float) -> str:
    return f"{moment(seconds):%Y-%m-%d %H:%M:%S}"


def payment_notice(*, credentials: KuaiqianCredentials, order: Order) -> dict[str, str]:
    """Of a paid order."""
    asked = order.parameters
    assert order.paid_at is not None
    return {
        "merchantAcctId": credentials.account_id,
        "version": str(asked["version"]),
        "language": "1",
        "signType": str(asked["signType"]),
        "payType": PAY_TYPE,
        "bankId": order.payer if order.payer and order.payer in BANKS else next(iter(BANKS)),
        "orderId": order.attempt_no,
        "orderTime": str(asked["orderTime"]),
        "orderAmount": str(order.amount_fen),
        "bindCard": "",
        "bindMobile": "",
        "dealId": order.transaction_id or "",
        "bankDealId": "",
        "dealTime": compact(order.paid_at),
        "payAmount": str(order.paid_fen),
        "fee": "",
        "ext1": str(asked.get("ext1", "")),
        "ext2": str(asked.get("ext2", "")),
        "payResult": PAID,
        "aggregatePay": "",
        "errCode": "",
    }


def order_detail(*, order: Order) -> dict[str, str]:
    """Of a paid order."""
    assert order.paid_at is not None
    return {
        "orderId": order.attempt_no,
        "orderAmount": str(order.amount_fen),
        "orderTime": str(order.parameters["orderTime"]),
        "dealTime": compact(order.paid_at),
        "payResult": PAID,
        "payType": PAY_TYPE,
        "payAmount": str(order.paid_fen),
        "fee": "0",
        "dealId": order.transaction_id or "",
    }


def refund_detail(*, refund: Refund) -> dict[str, str]:
    """`orderAmout` is 99bill's spelling."""
    return {
        "orderId": refund.refund_no,
        "rOrderId": refund.attempt_no,
        "sequenceId": refund.refund_id,
        "orderAmout": str(refund.amount_fen),
        "orderTime": compact(refund.created_at),
        "lastUpdateTime": compact(refund.created_at if refund.finished_at is None else refund.finished_at),
        "status": REFUND_STATES[refund.state],
    }


def payout_detail(*, payout: Payout) -> dict[str, str]:
    """One `resultList` of the query."""
    state = PAYOUT_STATES[payout.state]
    return {
        "orderId": payout.payout_no,
        "bankName": str(payout.parameters["bankName"]),
        "branchName": str(payout.parameters["branchName"]),
        "creditName": payout.name,
        "bankAcctId": payout.account,
        "applyDate": long(payout.created_at),
        "orderSeqId": payout.payout_id,
        "amount": str(payout.amount_fen),
        "fee": "100",
        "feeAction": "1",
        "status": state,
        "errorCode": "0000" if state in ("101", "111") else "2001",
        "errorMsg": payout.reason,
        "endDate": "" if state == "101" else long(payout.updated_at),
    }


def payout_notice(*, credentials: KuaiqianCredentials, payout: Payout) -> dict[str, str]:
    """What is sealed in the notice."""
    detail = payout_detail(payout=payout)
    return {
        "membercode": credentials.member_code,
        "merchant_id": detail["orderId"],
        "apply_date": detail["applyDate"],
        "order_seq_id": detail["orderSeqId"],
        "fee": detail["fee"],
        "status": detail["status"],
        "error_code": detail["errorCode"],
        "error_msg": detail["errorMsg"],
        "amt": detail["amount"],
        "bank": detail["bankName"],
        "name": detail["creditName"],
        "bank_card_no": detail["bankAcctId"],
        "end_date": detail["endDate"],
    }

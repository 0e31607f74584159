"""The books in WeChat's words: JSON objects of orders and refunds."""

from __future__ import annotations

from typing import Any

from simulator.books import Order, Payout, Refund
from simulator.clock import rfc3339
from simulator.credentials import Credentials

CURRENCY = "CNY"
BANK_TYPE = "OTHERS"
SCENE_FIELD = "simulator/scene"
"""Among an order's parameters: the endpoint that placed it. No merchant can send such a name by chance."""
TRADE_TYPES = {"native": "NATIVE", "jsapi": "JSAPI", "h5": "MWEB"}
"""`trade_type` of a query, by the scene the order was placed in."""
RECEIVED_ACCOUNT = "支付用户零钱"
"""Where a refund arrives: the payer's balance."""
STATE_WORDS = {"SUCCESS": "支付成功", "NOTPAY": "订单未支付", "CLOSED": "订单已关闭", "REFUND": "转入退款"}


def trade_state(*, order: Order, refunds: list[Refund]) -> str:
    """WeChat shows REFUND as soon as one refund is under way, and for ever when one was made."""
    if order.state != "PAID":
        return {"OPEN": "NOTPAY", "CLOSED": "CLOSED"}[order.state]
    return "REFUND" if any(refund.state != "CLOSED" for refund in refunds) else "SUCCESS"


def scene(order: Order) -> str:
    """native, jsapi or h5."""
    return str(order.parameters.get(SCENE_FIELD, "native"))


def trade_type(order: Order) -> str:
    return TRADE_TYPES[scene(order)]


def merchant(*, credentials: Credentials, order: Order) -> dict[str, str]:
    """Whose the transaction is, in the words of the one or the other mode."""
    if not order.receiver:
        return {"appid": credentials.appid, "mchid": credentials.mchid}
    said = {"sp_appid": credentials.appid, "sp_mchid": credentials.mchid, "sub_mchid": order.receiver}
    sub_appid = str(order.parameters.get("sub_appid") or "")
    return {**said, "sub_appid": sub_appid} if sub_appid else said


def transaction(*, credentials: Credentials, order: Order, refunds: list[Refund]) -> dict[str, Any]:
    """The object of the query and, for a payment just made, of TRANSACTION.SUCCESS."""
    state = trade_state(order=order, refunds=refunds)
    common = {
        **merchant(credentials=credentials, order=order),
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
        "trade_type": trade_type(order),
        "bank_type": BANK_TYPE,
        "success_time": rfc3339(order.paid_at),
        "payer": {"sp_openid" if order.receiver else "openid": order.payer},
        "amount": {
            "total": order.paid_fen,
            "payer_total": order.paid_fen,
            "currency": CURRENCY,
            "payer_currency": CURRENCY,
        },
    }


def transfer_state(payout: Payout) -> str:
    """A returned transfer is shown as failed, with its own reason: WeChat has no word for it."""
    return {
        "WAITING": "WAIT_USER_CONFIRM",
        "PROCESSING": "TRANSFERING",
        "CANCELLING": "CANCELING",
        "SUCCESS": "SUCCESS",
        "FAILED": "FAIL",
        "CANCELLED": "CANCELLED",
        "RETURNED": "FAIL",
    }[payout.state]


def transfer_answer(payout: Payout) -> dict[str, Any]:
    """The object of 发起转账: `package_info` only while the payee has not confirmed."""
    answer = {
        "out_bill_no": payout.payout_no,
        "transfer_bill_no": payout.payout_id,
        "create_time": rfc3339(payout.created_at),
        "state": transfer_state(payout),
    }
    if payout.state == "WAITING":
        answer["package_info"] = payout.code
    return {**answer, **_fail_reason(payout)}


def transfer_cancel_answer(payout: Payout) -> dict[str, Any]:
    return {
        "out_bill_no": payout.payout_no,
        "transfer_bill_no": payout.payout_id,
        "state": transfer_state(payout),
        "update_time": rfc3339(payout.updated_at),
    }


def transfer(*, credentials: Credentials, payout: Payout) -> dict[str, Any]:
    """The object of the query; the merchant's number is called `mch_id` here."""
    return {
        "mch_id": credentials.mchid,
        "out_bill_no": payout.payout_no,
        "transfer_bill_no": payout.payout_id,
        "appid": credentials.appid,
        "state": transfer_state(payout),
        "transfer_amount": payout.amount_fen,
        "transfer_remark": payout.remark,
        "openid": payout.account,
        "create_time": rfc3339(payout.created_at),
        "update_time": rfc3339(payout.updated_at),
        **_fail_reason(payout),
    }


def transfer_notice(*, credentials: Credentials, payout: Payout) -> dict[str, Any]:
    """The object inside MCHTRANSFER.BILL.FINISHED; the merchant's number is called `mchid` here."""
    return {
        "mchid": credentials.mchid,
        "out_bill_no": payout.payout_no,
        "transfer_bill_no": payout.payout_id,
        "state": transfer_state(payout),
        "transfer_amount": payout.amount_fen,
        "openid": payout.account,
        "create_time": rfc3339(payout.created_at),
        "update_time": rfc3339(payout.updated_at),
        **_fail_reason(payout),
    }


def _fail_reason(payout: Payout) -> dict[str, str]:
    return {"fail_reason": payout.reason} if payout.reason else {}


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
    ours = {
        name: value for name, value in merchant(credentials=credentials, order=order).items() if "appid" not in name
    }
    content = {
        **ours,
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

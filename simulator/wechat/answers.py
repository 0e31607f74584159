"""What an endpoint answers before it is signed, and the refusals of the books in WeChat's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator import desk, payouts


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`content` None: 204 without a body."""

    status: int
    content: Mapping[str, Any] | None


class Failure(Exception):
    """An answer with WeChat's `code` and `message`."""

    def __init__(self, *, status: int, code: str, message: str, detail: Mapping[str, Any] | None = None) -> None:
        self.answer = Answer(
            status=status, content={"code": code, "message": message, **({"detail": detail} if detail else {})}
        )
        super().__init__(message)


REFUSALS: Mapping[type[desk.Refused], tuple[int, str, str]] = {
    desk.UnknownOrder: (404, "ORDER_NOT_EXIST", "订单不存在"),
    desk.UnknownRefund: (404, "RESOURCE_NOT_EXISTS", "退款单不存在"),
    desk.OrderPaid: (400, "ORDERPAID", "该订单已支付"),
    desk.OrderClosed: (400, "ORDER_CLOSED", "该订单已关闭"),
    desk.NumberReused: (400, "INVALID_REQUEST", "商户单号重复，且参数与首次请求不一致"),
    desk.OrderNotPaid: (400, "INVALID_REQUEST", "订单未支付，不能退款"),
    desk.TotalMismatch: (400, "INVALID_REQUEST", "订单金额与退款请求中的原订单金额不一致"),
    desk.RefundTooLarge: (400, "INVALID_REQUEST", "累计退款金额大于支付金额"),
    desk.RefundNotAllowed: (400, "INVALID_REQUEST", "退款次数或期限超出限制"),
    payouts.UnknownPayout: (404, "NOT_FOUND", "记录不存在"),
    payouts.PayoutRefused: (400, "INVALID_REQUEST", "超过单笔转账上下限，核实产品设置是否准确"),
    payouts.NotEnough: (403, "NOT_ENOUGH", "账户余额不足，请充值"),
    payouts.PayoutOver: (400, "INVALID_REQUEST", "当前单据状态不支持撤销"),
}


def parameter_error(*, field: str, issue: str) -> Failure:
    return Failure(
        status=400, code="PARAM_ERROR", message=f"参数错误：{issue}", detail={"field": field, "issue": issue}
    )

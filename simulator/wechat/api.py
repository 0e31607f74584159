"""The endpoints the merchant calls. Every answer is signed, errors and 204 included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.wrappers import Request, Response

from simulator import desk
from simulator.books import Order
from simulator.faults import ANSWER_FAULTS
from simulator.wechat import fields, wire, words
from simulator.wechat.codes import CODE_PREFIX, new_code
from simulator.world import Channel, World

NONCE_TTL_SECONDS = 2 * wire.WINDOW_SECONDS
"""A request older than the window is refused by its timestamp, so its nonce need not be kept longer."""
ORDER_LIFE_SECONDS = 7 * 86_400.0
"""Of an order without time_expire."""


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
}


class Api:
    """Verifies, lets faults strike, acts, signs."""

    def __init__(self, *, world: World, channel: Channel) -> None:
        self._world = world
        self._channel = channel
        self._actions = {
            "native": self._native,
            "query": self._query,
            "query_by_id": self._query,
            "close": self._close,
            "refund": self._refund,
            "refund_query": self._query_refund,
        }

    def handle(self, *, action: str, request: Request, arguments: Mapping[str, Any]) -> Response:
        body = request.get_data()
        try:
            self._verify(request=request, body=body)
        except Failure as failure:
            return self._sign(failure.answer)
        if action not in self._actions:
            return self._sign(_unserved(action))
        operation = "query" if action == "query_by_id" else action
        struck = self._world.faults.draw(
            among=ANSWER_FAULTS,
            channel=self._channel.name,
            operation=operation,
            attempt_no=_attempt_no(body=body, arguments=arguments),
        )
        if "system_error_not_done" in struck:
            return self._sign(_system_error())
        answer = self._act(action=action, request=request, body=body, arguments=arguments)
        if "system_error_but_done" in struck:
            answer = _system_error()
        if "timeout_after_effect" in struck:
            self._world.stopping.wait(struck["timeout_after_effect"].delay)
        return self._sign(answer, is_forged="response_bad_signature" in struck)

    def _act(self, *, action: str, request: Request, body: bytes, arguments: Mapping[str, Any]) -> Answer:
        try:
            return self._actions[action](request=request, body=body, arguments=arguments)
        except Failure as failure:
            return failure.answer
        except fields.ParameterInvalid as error:
            return _parameter_error(field=error.field, issue=str(error)).answer
        except desk.Refused as refusal:
            status, code, message = REFUSALS[type(refusal)]
            return Answer(status=status, content={"code": code, "message": message})

    def _verify(self, *, request: Request, body: bytes) -> None:
        """Form, merchant, serial, age, signature; then the nonce, so that only the merchant can use one up."""
        credentials, now = self._world.credentials, self._world.clock.seconds()
        try:
            given = wire.read_authorization(request.headers.get("Authorization", ""))
        except wire.AuthorizationInvalid as error:
            raise _sign_error(str(error)) from error
        if given.mchid != credentials.mchid or given.serial_no != credentials.merchant_serial_no:
            raise _sign_error("商户号或商户证书序列号有误")
        if abs(now - given.timestamp) >= wire.WINDOW_SECONDS:
            raise _sign_error("Http头Authorization中的timestamp与发起请求的时间不得超过5分钟")
        message = wire.request_message(
            method=request.method,
            target=str(request.environ.get("RAW_URI") or request.full_path.removesuffix("?")),
            timestamp=given.timestamp,
            nonce=given.nonce_str,
            body=body,
        )
        if not wire.is_signed(key=credentials.merchant_public_key, message=message, signature=given.signature):
            raise _sign_error("错误的签名，验签失败")
        if not self._world.books.use_nonce(nonce=given.nonce_str, now=now, ttl_seconds=NONCE_TTL_SECONDS):
            raise _sign_error("nonce_str 重复")

    def _sign(self, answer: Answer, *, is_forged: bool = False) -> Response:
        body = b"" if answer.content is None else json.dumps(answer.content, ensure_ascii=False).encode()
        credentials = self._world.credentials
        headers = wire.sealed_headers(
            key=credentials.platform_private_key,
            serial=credentials.platform_public_key_id,
            timestamp=int(self._world.clock.seconds()),
            body=body,
        )
        if is_forged:
            headers["Wechatpay-Signature"] = wire.sign(key=credentials.platform_private_key, message=b"another message")
        response = Response(body, status=answer.status, headers=headers)
        if answer.content is None:
            response.headers.remove("Content-Type")
        else:
            response.headers["Content-Type"] = "application/json; charset=utf-8"
        return response

    # --- Actions ----------------------------------------------------------------------------------------------------

    def _native(self, *, request: Request, body: bytes, arguments: Mapping[str, Any]) -> Answer:
        parameters = fields.read_body(body)
        asked = fields.read_native(parameters)
        self._check_mchid(asked.mchid)
        if asked.appid != self._world.credentials.appid:
            raise Failure(status=400, code="APPID_MCHID_NOT_MATCH", message="appid和mch_id不匹配，请检查后再试")
        now = self._world.clock.seconds()
        is_known = self._world.books.find_order(channel=self._channel.name, attempt_no=asked.out_trade_no) is not None
        if asked.expires_at is not None and asked.expires_at <= now and not is_known:
            raise fields.ParameterInvalid(field="/body/time_expire", issue="必须晚于当前时间")
        order = desk.place_order(
            world=self._world,
            wanted=desk.OrderRequest(
                channel=self._channel.name,
                attempt_no=asked.out_trade_no,
                code=new_code(),
                subject=asked.description,
                amount_fen=asked.total_fen,
                notify_url=asked.notify_url,
                parameters=parameters,
                expires_at=now + ORDER_LIFE_SECONDS if asked.expires_at is None else asked.expires_at,
            ),
        )
        return Answer(status=200, content={"code_url": order.code})

    def _query(self, *, request: Request, body: bytes, arguments: Mapping[str, Any]) -> Answer:
        self._check_mchid(request.args.get("mchid", ""))
        order = desk.get_order(world=self._world, channel=self._channel.name, **arguments)
        refunds = self._world.books.list_refunds(order=order)
        return Answer(
            status=200, content=words.transaction(credentials=self._world.credentials, order=order, refunds=refunds)
        )

    def _close(self, *, request: Request, body: bytes, arguments: Mapping[str, Any]) -> Answer:
        self._check_mchid(fields.read_close(fields.read_body(body)))
        desk.close_order(world=self._world, channel=self._channel.name, attempt_no=arguments["attempt_no"])
        return Answer(status=204, content=None)

    def _refund(self, *, request: Request, body: bytes, arguments: Mapping[str, Any]) -> Answer:
        parameters = fields.read_body(body)
        asked = fields.read_refund(parameters)
        order = self._refunded_order(asked)
        refund = desk.accept_refund(
            world=self._world,
            channel=self._channel,
            order=order,
            wanted=desk.RefundRequest(
                refund_no=asked.out_refund_no,
                amount_fen=asked.refund_fen,
                paid_fen=asked.total_fen,
                notify_url=asked.notify_url,
                parameters=parameters,
            ),
        )
        return Answer(status=200, content=words.refund_answer(order=order, refund=refund))

    def _refunded_order(self, asked: fields.RefundFields) -> Order:
        try:
            return desk.get_order(
                world=self._world,
                channel=self._channel.name,
                attempt_no=asked.out_trade_no,
                transaction_id=asked.transaction_id,
            )
        except desk.UnknownOrder as error:
            raise Failure(status=404, code="RESOURCE_NOT_EXISTS", message="订单不存在") from error

    def _query_refund(self, *, request: Request, body: bytes, arguments: Mapping[str, Any]) -> Answer:
        refund = desk.get_refund(world=self._world, channel=self._channel.name, refund_no=arguments["refund_no"])
        order = desk.get_order(world=self._world, channel=self._channel.name, attempt_no=refund.attempt_no)
        return Answer(status=200, content=words.refund_answer(order=order, refund=refund))

    def _check_mchid(self, mchid: str) -> None:
        if mchid != self._world.credentials.mchid:
            raise _parameter_error(field="mchid", issue="商户号与签名的商户号不一致")


def code_of(payment: Mapping[str, Any]) -> str | None:
    """The scanned text of api.md's native `payment`."""
    code = payment.get("code_url") if payment.get("kind") == "code_url" else None
    return code if isinstance(code, str) and code.startswith(CODE_PREFIX) else None


def _attempt_no(*, body: bytes, arguments: Mapping[str, Any]) -> str | None:
    """Which attempt fault rules match; None when the request names none."""
    if "attempt_no" in arguments:
        return str(arguments["attempt_no"])
    try:
        number = fields.read_body(body).get("out_trade_no")
    except fields.ParameterInvalid:
        return None
    return number if isinstance(number, str) else None


def _unserved(action: str) -> Answer:
    """Scenes this merchant has no contract for, and paths that do not exist."""
    if action == "scene":
        return Answer(status=403, content={"code": "NO_AUTH", "message": "商户未开通此产品权限"})
    return Answer(status=404, content={"code": "RESOURCE_NOT_EXISTS", "message": "请求的接口不存在"})


def _system_error() -> Answer:
    return Answer(status=500, content={"code": "SYSTEM_ERROR", "message": "系统错误，请使用相同参数重试"})


def _sign_error(issue: str) -> Failure:
    return Failure(status=401, code="SIGN_ERROR", message=issue, detail={"issue": "sign not match"})


def _parameter_error(*, field: str, issue: str) -> Failure:
    return Failure(
        status=400, code="PARAM_ERROR", message=f"参数错误：{issue}", detail={"field": field, "issue": issue}
    )

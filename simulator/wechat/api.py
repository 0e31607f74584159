"""The endpoints the merchant calls. Every answer is signed, errors and 204 included."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from werkzeug.wrappers import Request, Response

from simulator import desk
from simulator.books import Order
from simulator.credentials import Credentials
from simulator.faults import ANSWER_FAULTS, Rule
from simulator.wechat import fields, wire, words
from simulator.wechat.answers import REFUSALS, Answer, Failure, parameter_error
from simulator.wechat.bill_desk import BillDesk
from simulator.wechat.codes import CODE_PREFIX, new_code, new_prepay_id
from simulator.wechat.transfers import Transfers
from simulator.world import Channel, World

NONCE_TTL_SECONDS = 2 * wire.WINDOW_SECONDS
"""A request older than the window is refused by its timestamp, so its nonce need not be kept longer."""
ORDER_LIFE_SECONDS = 7 * 86_400.0
"""Of an order without time_expire."""
H5_PATH = "cgi-bin/mmpayweb-bin/checkmweb"
"""As at the real wx.tenpay.com; here it leads to the page of the order."""


UNDOCUMENTED = "MCH_POLICY_20261123"
"""An error code that no document lists."""


class Api:
    """Verifies, lets faults strike, acts, signs."""

    def __init__(self, *, world: World, channel: Channel) -> None:
        self._world = world
        self._channel = channel
        transfers = Transfers(world=world, channel_name=channel.name)
        self._bills = BillDesk(world=world, channel_name=channel.name)
        self._actions: Mapping[str, Callable[..., Answer]] = {
            "native": functools.partial(self._prepay, scene="native"),
            "jsapi": functools.partial(self._prepay, scene="jsapi"),
            "h5": functools.partial(self._prepay, scene="h5"),
            "partner_native": functools.partial(self._prepay, scene="native", is_partner=True),
            "partner_jsapi": functools.partial(self._prepay, scene="jsapi", is_partner=True),
            "partner_h5": functools.partial(self._prepay, scene="h5", is_partner=True),
            "partner_query": functools.partial(self._query, is_partner=True),
            "partner_close": functools.partial(self._close, is_partner=True),
            "query": self._query,
            "query_by_id": self._query,
            "close": self._close,
            "refund": self._refund,
            "refund_query": self._query_refund,
            "transfer": transfers.place,
            "transfer_query": transfers.query,
            "transfer_query_by_id": transfers.query,
            "transfer_cancel": transfers.cancel,
            "trade_bill": self._bills.ask_trade,
            "fund_flow_bill": self._bills.ask_fund_flow,
        }

    def handle(self, *, action: str, request: Request, arguments: Mapping[str, Any]) -> Response:
        body = request.get_data()
        try:
            self._verify(request=request, body=body)
        except Failure as failure:
            return self._sign(failure.answer)
        if action not in self._actions and action != "bill_download":
            return self._sign(_unserved(action))
        struck = self._world.faults.draw(
            among=ANSWER_FAULTS,
            channel=self._channel.name,
            operation=action.removesuffix("_by_id").removeprefix("partner_"),
            attempt_no=_number(request=request, body=body, arguments=arguments),
        )
        if "timeout_before_effect" in struck:
            self._world.stopping.wait(struck["timeout_before_effect"].delay)
            return self._sign(_system_error())
        if "system_error_not_done" in struck:
            return self._sign(_system_error())
        if "unknown_code_not_done" in struck:
            return self._sign(_undocumented())
        if action == "bill_download":
            response = self._download(request)
        else:
            response = self._answer(action=action, request=request, body=body, arguments=arguments, struck=struck)
        if "timeout_after_effect" in struck:
            self._world.stopping.wait(struck["timeout_after_effect"].delay)
        return response

    def _answer(
        self,
        *,
        action: str,
        request: Request,
        body: bytes,
        arguments: Mapping[str, Any],
        struck: Mapping[str, Rule],
    ) -> Response:
        answer = self._act(action=action, request=request, body=body, arguments=arguments)
        if "system_error_but_done" in struck:
            answer = _system_error()
        if "unknown_code_but_done" in struck:
            answer = _undocumented()
        return self._sign(answer, is_forged="response_bad_signature" in struck, is_cut="response_malformed" in struck)

    def _download(self, request: Request) -> Response:
        """The only answer that is not signed: the file's hash is in the signed answer before."""
        file = self._bills.fetch(request.args.get("token", ""))
        if file is None:
            failure = Failure(status=400, code="INVALID_REQUEST", message="下载地址已失效，请重新申请账单")
            return self._sign(failure.answer)
        return Response(file, content_type="application/octet-stream")

    def _act(self, *, action: str, request: Request, body: bytes, arguments: Mapping[str, Any]) -> Answer:
        try:
            return self._actions[action](request=request, body=body, arguments=arguments)
        except Failure as failure:
            return failure.answer
        except fields.ParameterInvalid as error:
            return parameter_error(field=error.field, issue=str(error)).answer
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

    def _sign(self, answer: Answer, *, is_forged: bool = False, is_cut: bool = False) -> Response:
        body = b"" if answer.content is None else json.dumps(answer.content, ensure_ascii=False).encode()
        if is_cut:
            body = body[: len(body) // 2].decode("utf-8", "ignore").encode()
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

    def _prepay(
        self, *, request: Request, body: bytes, arguments: Mapping[str, Any], scene: str, is_partner: bool = False
    ) -> Answer:
        content = fields.read_body(body)
        asked = fields.read_prepay(content, scene=scene, is_partner=is_partner)
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
                code=new_code() if scene == "native" else new_prepay_id(now=now),
                subject=asked.description,
                amount_fen=asked.total_fen,
                notify_url=asked.notify_url,
                parameters={**content, words.SCENE_FIELD: scene},
                expires_at=now + ORDER_LIFE_SECONDS if asked.expires_at is None else asked.expires_at,
                receiver=asked.sub_mchid,
            ),
        )
        if scene == "native":
            return Answer(status=200, content={"code_url": order.code})
        if scene == "jsapi":
            return Answer(status=200, content={"prepay_id": order.code})
        return Answer(status=200, content={"h5_url": f"{request.host_url}{H5_PATH}?prepay_id={order.code}"})

    def _query(
        self, *, request: Request, body: bytes, arguments: Mapping[str, Any], is_partner: bool = False
    ) -> Answer:
        self._check_mchid(request.args.get("sp_mchid" if is_partner else "mchid", ""))
        order = desk.get_order(world=self._world, channel=self._channel.name, **arguments)
        _check_sub_mchid(order, request.args.get("sub_mchid", "") if is_partner else "")
        refunds = self._world.books.list_refunds(order=order)
        return Answer(
            status=200, content=words.transaction(credentials=self._world.credentials, order=order, refunds=refunds)
        )

    def _close(
        self, *, request: Request, body: bytes, arguments: Mapping[str, Any], is_partner: bool = False
    ) -> Answer:
        mchid, sub_mchid = fields.read_close(fields.read_body(body), is_partner=is_partner)
        self._check_mchid(mchid)
        _check_sub_mchid(
            desk.get_order(world=self._world, channel=self._channel.name, attempt_no=arguments["attempt_no"]), sub_mchid
        )
        desk.close_order(world=self._world, channel=self._channel.name, attempt_no=arguments["attempt_no"])
        return Answer(status=204, content=None)

    def _refund(self, *, request: Request, body: bytes, arguments: Mapping[str, Any]) -> Answer:
        parameters = fields.read_body(body)
        asked = fields.read_refund(parameters)
        order = self._refunded_order(asked)
        _check_sub_mchid(order, asked.sub_mchid)
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
        _check_sub_mchid(order, request.args.get("sub_mchid", ""))
        return Answer(status=200, content=words.refund_answer(order=order, refund=refund))

    def _check_mchid(self, mchid: str) -> None:
        if mchid != self._world.credentials.mchid:
            raise parameter_error(field="mchid", issue="商户号与签名的商户号不一致")


def _check_sub_mchid(order: Order, sub_mchid: str) -> None:
    """An order is nobody else's: not a sub-merchant's without its number, nor our own with one."""
    if order.receiver != sub_mchid:
        raise Failure(status=404, code="ORDER_NOT_EXIST", message="订单不存在")


def code_of(payment: Mapping[str, Any], *, credentials: Credentials) -> str | None:
    """The code in api.md's `payment`: scanned (native), opened (h5), or handed to the client signed (jsapi)."""
    kind = payment.get("kind")
    if kind == "code_url":
        code = payment.get("code_url")
        return code if isinstance(code, str) and code.startswith(CODE_PREFIX) else None
    if kind == "redirect":
        url = payment.get("url")
        parts = urlsplit(url) if isinstance(url, str) else None
        is_ours = parts is not None and parts.path == f"/{H5_PATH}"
        return parse_qs(parts.query).get("prepay_id", [""])[0] or None if parts is not None and is_ours else None
    return _jsapi_code(payment, credentials=credentials) if kind == "jsapi" else None


def _jsapi_code(payment: Mapping[str, Any], *, credentials: Credentials) -> str | None:
    """None unless the client would open it: the merchant's paySign over appId, timeStamp, nonceStr and package."""
    names = ("appId", "timeStamp", "nonceStr", "package", "signType", "paySign")
    values = [payment.get(name) for name in names]
    if not all(isinstance(value, str) and value for value in values):
        return None
    app_id, timestamp, nonce, package, sign_type, signature = map(str, values)
    message = f"{app_id}\n{timestamp}\n{nonce}\n{package}\n".encode()
    is_right = app_id == credentials.appid and sign_type == "RSA" and package.startswith("prepay_id=")
    if not is_right or not wire.is_signed(key=credentials.merchant_public_key, message=message, signature=signature):
        return None
    return package.removeprefix("prepay_id=")


def _number(*, request: Request, body: bytes, arguments: Mapping[str, Any]) -> str | None:
    """Which attempt, payout or day fault rules match; None when the request names none."""
    for name in ("attempt_no", "payout_no"):
        if name in arguments:
            return str(arguments[name])
    if "bill_date" in request.args:
        return request.args["bill_date"]
    try:
        content = fields.read_body(body)
    except fields.ParameterInvalid:
        return None
    number = content.get("out_trade_no", content.get("out_bill_no"))
    return number if isinstance(number, str) else None


def _unserved(action: str) -> Answer:
    """Scenes this merchant has no contract for, and paths that do not exist."""
    if action == "scene":
        return Answer(status=403, content={"code": "NO_AUTH", "message": "商户未开通此产品权限"})
    return Answer(status=404, content={"code": "RESOURCE_NOT_EXISTS", "message": "请求的接口不存在"})


def _system_error() -> Answer:
    return Answer(status=500, content={"code": "SYSTEM_ERROR", "message": "系统错误，请使用相同参数重试"})


def _undocumented() -> Answer:
    return Answer(status=400, content={"code": UNDOCUMENTED, "message": "请求被拒绝"})


def _sign_error(issue: str) -> Failure:
    return Failure(status=401, code="SIGN_ERROR", message=issue, detail={"issue": "sign not match"})

"""gateway.do: verifies, lets faults strike, acts, signs. Pages (page and wap payments) are opened by the person."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from werkzeug.wrappers import Request, Response

from simulator import desk, payouts
from simulator.alipay import fields, wire, words
from simulator.alipay.bills import BillDesk, BillNotExist
from simulator.alipay.codes import new_cashier_code, new_qr_code
from simulator.alipay.transfers import Transfers
from simulator.books import Order
from simulator.faults import ANSWER_FAULTS
from simulator.world import Channel, World

WINDOW_SECONDS = 600
"""A request whose timestamp is this far from Beijing's time is refused: so is one in UTC."""
PAGE_WINDOW_SECONDS = 2 * 3600
"""The person may take his time to open a page."""
SELLER_ID = re.compile(r"2088[0-9]{12}", re.ASCII)
ORDER_LIFE_SECONDS = 15 * 86_400.0
"""Of an order without time_expire."""
MAX_BODY_BYTES = 128 * 1024
GATEWAY_PATH = "/gateway.do"
COMMON = frozenset(
    {
        *("app_id", "method", "format", "charset", "sign_type", "sign", "timestamp", "version", "biz_content"),
        *("notify_url", "return_url", "app_cert_sn", "alipay_root_cert_sn"),
    }
)
PAGES = {
    "alipay.trade.page.pay": ("page", "FAST_INSTANT_TRADE_PAY"),
    "alipay.trade.wap.pay": ("wap", "QUICK_WAP_PAY"),
}
METHODS: Mapping[str, str] = {
    **{method: operation for method, (operation, _) in PAGES.items()},
    "alipay.trade.precreate": "precreate",
    "alipay.trade.query": "query",
    "alipay.trade.close": "close",
    "alipay.trade.refund": "refund",
    "alipay.trade.fastpay.refund.query": "refund_query",
    "alipay.fund.trans.uni.transfer": "transfer",
    "alipay.fund.trans.common.query": "transfer_query",
    "alipay.data.dataservice.bill.downloadurl.query": "bill",
}
"""Operations as fault rules name them."""

REFUSALS: Mapping[type[desk.Refused], tuple[str, str]] = {
    desk.UnknownOrder: ("ACQ.TRADE_NOT_EXIST", "交易不存在"),
    desk.OrderPaid: ("ACQ.TRADE_HAS_SUCCESS", "交易已被支付"),
    desk.OrderClosed: ("ACQ.TRADE_HAS_CLOSE", "交易已经关闭"),
    desk.NumberReused: ("ACQ.CONTEXT_INCONSISTENT", "交易信息被篡改"),
    desk.OrderNotPaid: ("ACQ.TRADE_STATUS_ERROR", "交易状态不合法"),
    desk.RefundTooLarge: ("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限"),
    desk.TotalMismatch: ("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限"),
    desk.RefundNotAllowed: ("ACQ.TRADE_HAS_FINISHED", "交易已完结"),
    payouts.UnknownPayout: ("ORDER_NOT_EXIST", "转账订单不存在"),
    payouts.PayoutRefused: ("PAYEE_NOT_EXIST", "收款账号不存在"),
    payouts.NotEnough: ("PAYER_BALANCE_NOT_ENOUGH", "付款方余额不足"),
}

Content = dict[str, Any]


class Failure(Exception):
    """An answer that is not 10000. `is_signed`: not for who could not be recognised."""

    def __init__(self, *, code: str, sub_code: str, sub_msg: str, is_signed: bool = True) -> None:
        words_of_code = {"40002": "Invalid Arguments", "40004": "Business Failed", "40006": "Insufficient Permissions"}
        self.content: Content = {
            "code": code,
            "msg": words_of_code.get(code, "Service Currently Unavailable"),
            "sub_code": sub_code,
            "sub_msg": sub_msg,
        }
        self.is_signed = is_signed
        super().__init__(sub_msg)


class Api:
    """One merchant's gateway."""

    def __init__(self, *, world: World, channel: Channel) -> None:
        self._world = world
        self._channel = channel
        self._actions: Mapping[str, Callable[[Mapping[str, str], Content, str], Content]] = {
            "precreate": self._precreate,
            "query": self._query,
            "close": self._close,
            "refund": self._refund,
            "refund_query": self._query_refund,
            "transfer": self._transfer,
            "transfer_query": lambda parameters, content, host_url: self._transfers.query(content),
            "bill": self._bill,
        }
        self._transfers = Transfers(world=world, channel=channel)
        self._bills = BillDesk(world=world, channel=channel)

    # --- The gateway ------------------------------------------------------------------------------------------------

    def handle(self, request: Request) -> Response:
        """An API call, answered by JSON; a page, answered by a redirect to this simulator's own page."""
        if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
            return _plain("request too large", status=413)
        try:
            parameters = self._read(request)
            method = self._recognise(parameters)
        except Failure as failure:
            return _json(wire.unsigned_body(content=failure.content))
        if method in PAGES:
            return self._show(parameters)
        return self._call(parameters, method, host_url=request.host_url)

    def open_page(self, url: str, more: Mapping[str, str]) -> Order:
        """The person's browser opens or posts a signed page; the order it is about. Failure when it is refused."""
        pairs = parse_qsl(url.partition("?")[2], keep_blank_values=True)
        parameters = _unique([*pairs, *more.items()])
        method = self._recognise(parameters)
        if method not in PAGES:
            raise _invalid("isv.invalid-method", "不是页面接口")
        return self._open(parameters)

    def _call(self, parameters: Mapping[str, str], method: str, *, host_url: str) -> Response:
        node = method.replace(".", "_") + "_response"
        operation = METHODS[method]
        try:
            self._verify(parameters, window_seconds=WINDOW_SECONDS)
            content = self._content(parameters)
        except Failure as failure:
            return self._sign(node, failure.content)
        struck = self._world.faults.draw(
            among=ANSWER_FAULTS,
            channel=self._channel.name,
            operation=operation,
            attempt_no=_number_of(content),
        )
        if "timeout_before_effect" in struck:
            self._world.stopping.wait(struck["timeout_before_effect"].delay)
            return self._sign(node, _unavailable().content)
        if "system_error_not_done" in struck:
            return self._sign(node, _unavailable().content)
        if "unknown_code_not_done" in struck:
            return self._sign(node, _undocumented().content)
        answer = self._act(operation, parameters, content, host_url)
        if "system_error_but_done" in struck:
            answer = _system_error(operation).content
        if "unknown_code_but_done" in struck:
            answer = _undocumented().content
        if "timeout_after_effect" in struck:
            self._world.stopping.wait(struck["timeout_after_effect"].delay)
        return self._sign(
            node, answer, is_forged="response_bad_signature" in struck, is_cut="response_malformed" in struck
        )

    def _act(self, operation: str, parameters: Mapping[str, str], content: Content, host_url: str) -> Content:
        try:
            return self._actions[operation](parameters, content, host_url)
        except Failure as failure:
            return failure.content
        except fields.ParameterInvalid as error:
            prefix = "" if operation in ("transfer", "transfer_query", "bill") else "ACQ."
            return _business(f"{prefix}INVALID_PARAMETER", f"参数无效：{error}").content
        except desk.Refused as refusal:
            return _business(*REFUSALS[type(refusal)]).content

    # --- Who asks ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _read(request: Request) -> dict[str, str]:
        """Query and form together, each name once."""
        return _unique([*request.args.items(multi=True), *request.form.items(multi=True)])

    def _recognise(self, parameters: Mapping[str, str]) -> str:
        """Application and method; before they are known nothing can be signed for them."""
        if parameters.get("app_id") != self._world.credentials.alipay.app_id:
            raise _invalid("isv.invalid-app-id", "无效的AppID参数", is_signed=False)
        method = parameters.get("method", "")
        if method not in METHODS:
            raise _invalid("isv.invalid-method", "不存在的方法名", is_signed=False)
        return method

    def _verify(self, parameters: Mapping[str, str], *, window_seconds: int) -> None:
        credentials = self._world.credentials.alipay
        for name, value in (("charset", "utf-8"), ("sign_type", wire.SIGN_TYPE), ("version", "1.0")):
            if parameters.get(name, "").lower() != value.lower():
                raise _invalid(f"isv.invalid-{name.replace('_', '-')}", f"{name} 必须是 {value}")
        if parameters.get("format", "JSON").upper() != "JSON":
            raise _invalid("isv.invalid-format", "format 必须是 JSON")
        if unknown := set(parameters) - COMMON:
            raise _invalid("isv.invalid-parameter", f"未知的公共参数 {', '.join(sorted(unknown))}")
        message = wire.request_text(parameters)
        if not wire.is_signed(key=credentials.app_public_key, message=message, signature=parameters.get("sign", "")):
            raise _invalid("isv.invalid-signature", "验签出错，请检查签名字符串、签名私钥与应用公钥是否匹配")
        try:
            asked_at = fields.read_moment(parameters.get("timestamp"), "timestamp")
        except fields.ParameterInvalid as error:
            raise _invalid("isv.invalid-timestamp", str(error)) from error
        if abs(self._world.clock.seconds() - asked_at) >= window_seconds:
            raise _invalid("isv.invalid-timestamp", "非法的时间戳参数")
        for name, number in (
            ("app_cert_sn", credentials.app_cert_sn),
            ("alipay_root_cert_sn", credentials.alipay_root_cert_sn),
        ):
            if parameters.get(name, number) != number:
                raise _invalid("isv.invalid-cert-sn", f"{name} 与应用不匹配")
        for name in ("notify_url", "return_url"):
            if name in parameters and not fields.is_address(parameters[name]):
                raise _invalid(f"isv.invalid-{name.replace('_', '-')}", f"{name} 不是合法地址")

    @staticmethod
    def _content(parameters: Mapping[str, str]) -> Content:
        try:
            return fields.read_content(parameters.get("biz_content", ""))
        except fields.ParameterInvalid as error:
            raise _invalid("isv.invalid-parameter", str(error)) from error

    def _sign(self, node: str, content: Content, *, is_forged: bool = False, is_cut: bool = False) -> Response:
        credentials = self._world.credentials.alipay
        body = wire.answer_body(
            node=node,
            content=content,
            key=credentials.alipay_private_key,
            cert_sn=credentials.alipay_cert_sn,
            is_forged=is_forged,
        )
        return _json(body[: len(body) // 2] if is_cut else body)

    # --- Payments ---------------------------------------------------------------------------------------------------

    def _precreate(self, parameters: Mapping[str, str], content: Content, host_url: str) -> Content:
        asked = fields.read_trade(content, product="")
        order = self._place(parameters, content, asked, code=new_qr_code())
        return {**words.DONE, "out_trade_no": order.attempt_no, "qr_code": order.code}

    def _show(self, parameters: Mapping[str, str]) -> Response:
        try:
            order = self._open(parameters)
        except Failure as failure:
            return _plain(f"{failure.content['sub_code']} {failure.content['sub_msg']}", status=400)
        return Response(status=302, headers={"Location": f"/pay?{urlencode({'code_url': order.code})}"})

    def _open(self, parameters: Mapping[str, str]) -> Order:
        """The trade exists from the moment the person comes. Failure."""
        self._verify(parameters, window_seconds=PAGE_WINDOW_SECONDS)
        content = self._content(parameters)
        try:
            asked = fields.read_trade(content, product=PAGES[parameters["method"]][1])
            order = self._place(parameters, content, asked, code=new_cashier_code())
            return desk.scan_order(world=self._world, code=order.code)
        except fields.ParameterInvalid as error:
            raise _business("ACQ.INVALID_PARAMETER", f"参数无效：{error}") from error
        except desk.Refused as refusal:
            raise _business(*REFUSALS[type(refusal)]) from refusal

    def _place(self, parameters: Mapping[str, str], content: Content, asked: fields.Trade, *, code: str) -> Order:
        notify_url = parameters.get("notify_url", "")
        seller = str(content.get("seller_id") or "")
        receiver = "" if seller == self._world.credentials.alipay.seller_id else seller
        if receiver and not SELLER_ID.fullmatch(receiver):  # all others have authorised the application here
            raise _business("ACQ.PARTNER_ERROR", "卖家不匹配")
        now = self._world.clock.seconds()
        is_known = self._world.books.find_order(channel=self._channel.name, attempt_no=asked.out_trade_no) is not None
        if asked.expires_at is not None and asked.expires_at <= now and not is_known:
            raise fields.ParameterInvalid(field="time_expire", issue="必须晚于当前时间")
        return desk.place_order(
            world=self._world,
            wanted=desk.OrderRequest(
                channel=self._channel.name,
                attempt_no=asked.out_trade_no,
                code=code,
                subject=asked.subject,
                amount_fen=asked.total_fen,
                notify_url=notify_url,
                parameters={
                    "content": content,
                    "method": parameters["method"],
                    "notify_url": notify_url,
                    "return_url": parameters.get("return_url", ""),
                },
                expires_at=now + ORDER_LIFE_SECONDS if asked.expires_at is None else asked.expires_at,
                receiver=receiver,
            ),
        )

    def _find(self, out_trade_no: str, trade_no: str) -> Order:
        """UnknownOrder also for a code that nobody has scanned: it is no trade yet."""
        order = desk.get_order(
            world=self._world, channel=self._channel.name, attempt_no=out_trade_no, transaction_id=trade_no
        )
        if not words.is_trade(order):
            raise desk.UnknownOrder
        return order

    def _query(self, parameters: Mapping[str, str], content: Content, host_url: str) -> Content:
        order = self._find(*fields.read_either(content, more=frozenset({"query_options"})))
        return words.trade(order=order, refunds=self._world.books.list_refunds(order=order))

    def _close(self, parameters: Mapping[str, str], content: Content, host_url: str) -> Content:
        order = self._find(*fields.read_either(content, more=frozenset({"operator_id"})))
        if order.state != "OPEN":
            raise _business("ACQ.TRADE_STATUS_ERROR", "交易状态不合法")
        desk.close_order(world=self._world, channel=self._channel.name, attempt_no=order.attempt_no)
        return {**words.DONE, "out_trade_no": order.attempt_no, **words.trade_no(order)}

    # --- Refunds ----------------------------------------------------------------------------------------------------

    def _refund(self, parameters: Mapping[str, str], content: Content, host_url: str) -> Content:
        """Made at once. Repeated, or one that does not succeed, it changes no money: fund_change N."""
        asked = fields.read_refund(content)
        order = self._find(asked.out_trade_no, asked.trade_no)
        wanted = desk.RefundRequest(
            refund_no=asked.out_request_no,
            amount_fen=asked.refund_fen,
            paid_fen=order.paid_fen or asked.refund_fen,
            notify_url=order.notify_url,
            parameters={"refund_fen": asked.refund_fen},
        )
        with self._world.books.transaction():
            refund = self._accept(order, wanted)
            is_changed = refund.state == "PROCESSING" and refund.outcome == "SUCCESS"
            if is_changed:
                desk.settle_refund(world=self._world, channel=self._channel, refund=refund)
            refunds = self._world.books.list_refunds(order=order)
        self._world.wake.set()
        return words.refund_answer(order=order, refunds=refunds, is_changed=is_changed, now=self._world.clock.seconds())

    def _accept(self, order: Order, wanted: desk.RefundRequest) -> Any:
        try:
            return desk.accept_refund(world=self._world, channel=self._channel, order=order, wanted=wanted)
        except desk.NumberReused as error:
            raise _business("ACQ.DISCORDANT_REPEAT_REQUEST", "不一致的请求") from error

    def _query_refund(self, parameters: Mapping[str, str], content: Content, host_url: str) -> Content:
        """Answers 10000 without any data for a refund that was not made."""
        out_trade_no, trade_no, out_request_no = fields.read_refund_query(content)
        order = self._find(out_trade_no, trade_no)
        try:
            refund = desk.get_refund(world=self._world, channel=self._channel.name, refund_no=out_request_no)
        except desk.UnknownRefund:
            return dict(words.DONE)
        return words.refund_found(order=order, refund=refund) if refund.attempt_no == order.attempt_no else words.DONE

    # --- Transfers, bills -------------------------------------------------------------------------------------------

    def _transfer(self, parameters: Mapping[str, str], content: Content, host_url: str) -> Content:
        """Only for a merchant who shows his certificates, as Alipay asks for movements of his own money."""
        if not ("app_cert_sn" in parameters and "alipay_root_cert_sn" in parameters):
            raise Failure(code="40006", sub_code="isv.insufficient-isv-permissions", sub_msg="请使用公钥证书模式调用")
        try:
            return self._transfers.place(content)
        except desk.NumberReused as error:
            raise _business("REQUEST_PARAM_INCONSISTENT", "单号重复且参数与首次请求不一致") from error

    def _bill(self, parameters: Mapping[str, str], content: Content, host_url: str) -> Content:
        kind, day = fields.read_bill(content)
        try:
            token = self._bills.ask(kind=kind, day=day)
        except BillNotExist as error:
            raise _business("isp.bill_not_exist", "账单不存在") from error
        return {**words.DONE, "bill_download_url": f"{host_url}alipay/bill/{token}.zip"}

    def fetch_bill(self, token: str) -> Response:
        """Needs no signature: who has the address has the file."""
        content = self._bills.fetch(token)
        if content is None:
            return _plain("the address is not good any more", status=404)
        return Response(content, content_type="application/zip")

    # --- Pages ------------------------------------------------------------------------------------------------------

    def return_address(self, order: Order) -> str:
        """return_url with Alipay's signed parameters: they say nothing of success."""
        address = str(order.parameters.get("return_url") or "")
        if not address or order.state != "PAID":
            return ""
        credentials = self._world.credentials.alipay
        parameters = {
            "app_id": credentials.app_id,
            "seller_id": order.receiver or credentials.seller_id,
            "auth_app_id": credentials.app_id,
            "charset": "utf-8",
            "version": "1.0",
            "method": f"{order.parameters['method']}.return",
            "out_trade_no": order.attempt_no,
            **words.trade_no(order),
            "total_amount": words.yuan(order.paid_fen or 0),
            "timestamp": words.time(self._world.clock.seconds()),
        }
        signature = wire.sign(key=credentials.alipay_private_key, message=wire.notice_text(parameters))
        query = urlencode({**parameters, "sign_type": wire.SIGN_TYPE, "sign": signature})
        return f"{address}{'&' if '?' in address else '?'}{query}"


def _unique(pairs: list[tuple[str, str]]) -> dict[str, str]:
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise _invalid("isv.invalid-parameter", "参数重复", is_signed=False)
    return parameters


def _number_of(content: Mapping[str, Any]) -> str | None:
    """Which number fault rules match: the order's, the transfer's, or the day of a bill."""
    for name in ("out_trade_no", "out_biz_no", "bill_date"):
        if isinstance(content.get(name), str):
            return str(content[name])
    return None


def _invalid(sub_code: str, sub_msg: str, *, is_signed: bool = True) -> Failure:
    return Failure(code="40002", sub_code=sub_code, sub_msg=sub_msg, is_signed=is_signed)


def _business(sub_code: str, sub_msg: str) -> Failure:
    return Failure(code="40004", sub_code=sub_code, sub_msg=sub_msg)


def _unavailable() -> Failure:
    return Failure(code="20000", sub_code="isp.unknow-error", sub_msg="系统繁忙")


def _system_error(operation: str) -> Failure:
    """Transfers know no prefix."""
    return _business("SYSTEM_ERROR" if operation.startswith("transfer") else "ACQ.SYSTEM_ERROR", "系统错误")


def _undocumented() -> Failure:
    return _business(f"ACQ.SIMULATED_{secrets.token_hex(3).upper()}", "未知错误")


def _json(text: str) -> Response:
    return Response(text, content_type="text/html;charset=utf-8")


def _plain(text: str, *, status: int) -> Response:
    return Response(text, status=status, content_type="text/plain; charset=utf-8")

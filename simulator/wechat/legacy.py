"""企业付款 (WeChat Pay v2) on a port of its own: XML over TLS, and nobody without the merchant's certificate gets in.

Its payouts stand in the books under a channel of their own and in the fund-flow bill of the merchant's account.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
import ssl
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from typing import Any

from werkzeug.routing import Rule as Route
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from simulator import desk, payouts
from simulator.books import BooksClosed, Payout
from simulator.clock import moment
from simulator.faults import ANSWER_FAULTS
from simulator.wechat import codes
from simulator.wechat.bill_files import LEGACY_SUFFIX
from simulator.wechat.channel import WechatChannel
from simulator.wechat.legacy_keys import LegacyKeys
from simulator.world import Channel, NoticeDraft, World

CHANNEL = f"wechat{LEGACY_SUFFIX}"
OPERATIONS = {
    "/mmpaymkttransfers/promotion/transfers": "legacy_payout",
    "/mmpaymkttransfers/gettransferinfo": "legacy_payout_query",
}
MAX_BODY_BYTES = 64 * 1024
POLL_SECONDS = 0.05
QUERY_SECONDS = 30 * 86_400.0
STATUSES = {"SUCCESS": "SUCCESS", "FAILED": "FAILED", "RETURNED": "FAILED", "PROCESSING": "PROCESSING"}
_DECLARATION = re.compile(r"<!(?!\[CDATA\[)")
_NUMBER = re.compile(r"[0-9A-Za-z]{1,32}", re.ASCII)
_FEN = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)


class WechatLegacyChannel(WechatChannel):
    """Names for fault rules and the books; the endpoints are on the other port, and there are no notices."""

    name = CHANNEL
    operations = frozenset(OPERATIONS.values())

    def routes(self) -> list[Route]:
        return []

    def read_confirmation(self, payment: Mapping[str, Any]) -> None:
        """Nobody confirms these."""

    def read_code(self, payment: Mapping[str, Any]) -> None:
        """Nothing is paid in here."""

    def draft_payout_notice(self, payout: Payout) -> NoticeDraft | None:  # type: ignore[override]
        return None

    def write_bill(self, *, kind: str, day: dt.date) -> bytes:
        raise ValueError("its payouts stand in the fund flow of wechat")


class Refusal(Exception):
    """`err_code` and its description under return_code SUCCESS; with no code, return_code FAIL."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class LegacyApplication:
    """WSGI."""

    def __init__(self, *, world: World, channels: Mapping[str, Channel], keys: LegacyKeys) -> None:
        self._world = world
        self._channels = channels
        self._keys = keys

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        operation = OPERATIONS.get(request.path) if request.method == "POST" else None
        try:
            response = Response(status=404) if operation is None else self._answer(request, operation)
        except BooksClosed:
            response = Response(status=503)
        return response(environ, start_response)

    def _answer(self, request: Request, operation: str) -> Response:
        try:
            given = self._verified(request.get_data())
            number = given.get("partner_trade_no", "")
            struck = self._world.faults.draw(
                among=ANSWER_FAULTS, channel=CHANNEL, operation=operation, attempt_no=number
            )
            if "timeout_before_effect" in struck:
                self._world.stopping.wait(struck["timeout_before_effect"].delay)
            if struck.keys() & {"timeout_before_effect", "system_error_not_done"}:
                raise Refusal("SYSTEMERROR", "系统繁忙，请稍后再试")
            if "unknown_code_not_done" in struck:
                raise Refusal("NEW_POLICY", "请求被拒绝")
            answer = self._pay(given) if operation == "legacy_payout" else self._query(given)
            if "timeout_after_effect" in struck:
                self._world.stopping.wait(struck["timeout_after_effect"].delay)
            if "system_error_but_done" in struck:
                raise Refusal("SYSTEMERROR", "系统繁忙，请稍后再试")
            if "unknown_code_but_done" in struck:
                raise Refusal("NEW_POLICY", "请求被拒绝")
            content = _xml({"return_code": "SUCCESS", "return_msg": "", "result_code": "SUCCESS", **answer})
            if "response_malformed" in struck:
                content = content[: len(content) // 2]
        except Refusal as refusal:
            content = _xml(_refused(refusal))
        return Response(content, content_type="text/xml; charset=utf-8")

    def _verified(self, content: bytes) -> dict[str, str]:
        given = _read(content)
        sign = given.get("sign", "")
        parts = [f"{name}={given[name]}" for name in sorted(given) if name != "sign" and given[name]]
        message = "&".join([*parts, f"key={self._keys.api_key}"])
        if sign != hashlib.md5(message.encode(), usedforsecurity=False).hexdigest().upper():
            raise Refusal("SIGN_ERROR", "签名错误")
        if not given.get("nonce_str") or len(given["nonce_str"]) > 32:
            raise Refusal("PARAM_ERROR", "nonce_str")
        if not _NUMBER.fullmatch(given.get("partner_trade_no", "")):
            raise Refusal("PARAM_ERROR", "partner_trade_no 只能是字母和数字，不超过 32 位")
        return given

    def _pay(self, given: Mapping[str, str]) -> dict[str, str]:
        credentials, now = self._world.credentials, self._world.clock.seconds()
        if (given.get("mch_appid"), given.get("mchid")) != (credentials.appid, credentials.mchid):
            raise Refusal("PARAM_ERROR", "mch_appid 或 mchid 有误")
        for name in ("openid", "desc", "spbill_create_ip"):
            if not given.get(name):
                raise Refusal("PARAM_ERROR", name)
        if not _FEN.fullmatch(given.get("amount", "")):
            raise Refusal("PARAM_ERROR", "amount")
        must_check = given.get("check_name") == "FORCE_CHECK"
        if given.get("check_name") not in ("FORCE_CHECK", "NO_CHECK") or (must_check and not given.get("re_user_name")):
            raise Refusal("PARAM_ERROR", "check_name")
        try:
            payout = payouts.accept(
                world=self._world,
                wanted=payouts.PayoutRequest(
                    channel=CHANNEL,
                    payout_no=given["partner_trade_no"],
                    payout_id=f"1000018{codes.new_transaction_id(now=now)}",
                    code=f"legacy {secrets.token_hex(16)}",
                    amount_fen=int(given["amount"]),
                    account=given["openid"],
                    name=given.get("re_user_name", ""),
                    remark=given["desc"],
                    notify_url="",
                    parameters={name: given[name] for name in given if name not in ("nonce_str", "sign")},
                    expires_at=None,
                ),
                operation="legacy_payout",
            )
        except desk.NumberReused as error:
            raise Refusal("FATAL_ERROR", "两次请求参数不一致") from error
        except payouts.PayoutRefused as error:
            raise Refusal("OPENID_ERROR", "Openid错误") from error
        except payouts.NotEnough as error:
            raise Refusal("NOTENOUGH", "余额不足") from error
        if payout.state == "PROCESSING":
            payouts.finish(world=self._world, channels=self._channels, payout=payout)
            payout = payouts.get(world=self._world, channel=CHANNEL, payout_no=payout.payout_no)
        if payout.paid_at is None:
            raise Refusal("SEND_FAILED", "付款错误，请查单确认付款结果")
        return {
            "mch_appid": credentials.appid,
            "mchid": credentials.mchid,
            "nonce_str": given["nonce_str"],
            "partner_trade_no": payout.payout_no,
            "payment_no": payout.payout_id,
            "payment_time": _time(payout.paid_at),
        }

    def _query(self, given: Mapping[str, str]) -> dict[str, str]:
        credentials = self._world.credentials
        if (given.get("appid"), given.get("mch_id")) != (credentials.appid, credentials.mchid):
            raise Refusal("PARAM_ERROR", "appid 或 mch_id 有误")
        try:
            payout = payouts.get(world=self._world, channel=CHANNEL, payout_no=given["partner_trade_no"])
            if payout.created_at + QUERY_SECONDS < self._world.clock.seconds():
                raise payouts.UnknownPayout
        except payouts.UnknownPayout as error:
            raise Refusal("NOT_FOUND", "指定单号数据不存在") from error
        times = {} if payout.paid_at is None else {"payment_time": _time(payout.paid_at)}
        return {
            "partner_trade_no": payout.payout_no,
            "mch_id": credentials.mchid,
            "appid": credentials.appid,
            "detail_id": payout.payout_id,
            "status": STATUSES[payout.state],
            "reason": payout.reason,
            "openid": payout.account,
            "transfer_name": payout.name,
            "payment_amount": str(payout.amount_fen),
            "transfer_time": _time(payout.created_at),
            "desc": payout.remark,
            **times,
        }


class QuietHandler(WSGIRequestHandler):
    """No line for each request, none for a client that fails to show a certificate."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Quiet."""

    def log_error(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Quiet."""


class LegacyServer:
    """Serves in a thread; port 0 takes a free one."""

    def __init__(self, *, application: LegacyApplication, keys: LegacyKeys, host: str, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(keys.server_certificate_file, keys.server_private_key_file)
        context.load_verify_locations(keys.authority_file)
        context.verify_mode = ssl.CERT_REQUIRED
        self._server = make_server(
            host, port, application, threaded=True, request_handler=QuietHandler, ssl_context=context
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": POLL_SECONDS}, daemon=True
        )
        self._thread.start()
        self.url = f"https://{host}:{self._server.port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()


def _read(content: bytes) -> dict[str, str]:
    """A flat document without declarations; a doubled tag would be signed once and read twice."""
    try:
        text = content.decode("utf-8") if len(content) <= MAX_BODY_BYTES else "<!"
        if _DECLARATION.search(text):
            raise Refusal("", "XML格式错误")
        root = ET.fromstring(text)  # noqa: S314 - it declares nothing, so it has no entities but the five
    except (UnicodeDecodeError, ET.ParseError, ValueError) as error:
        raise Refusal("", "XML格式错误") from error
    values: dict[str, str] = {}
    for element in root:
        if element.tag in values or len(element):
            raise Refusal("", "XML格式错误")
        values[element.tag] = element.text or ""
    return values


def _refused(refusal: Refusal) -> dict[str, str]:
    if not refusal.code:
        return {"return_code": "FAIL", "return_msg": str(refusal)}
    return {
        "return_code": "SUCCESS",
        "return_msg": str(refusal),
        "result_code": "FAIL",
        "err_code": refusal.code,
        "err_code_des": str(refusal),
    }


def _xml(values: Mapping[str, str]) -> bytes:
    parts = "\n".join(f"<{name}><![CDATA[{_section(value)}]]></{name}>" for name, value in values.items())
    return f"<xml>\n{parts}\n</xml>".encode()


def _section(value: str) -> str:
    """The end of a section cannot stand inside of one."""
    return value.replace("]]>", "]]]]><![CDATA[>")


def _time(seconds: float) -> str:
    return f"{moment(seconds):%Y-%m-%d %H:%M:%S}"

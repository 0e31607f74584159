"""What the merchant's backend calls: queries, refunds, payouts, card verification. Three wire formats, one manner.

Each action verifies and parses first; then the fault rules may strike; then the books are read or changed. An answer
that 99bill signs is signed always, refusals included.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from werkzeug.wrappers import Request, Response

from simulator import desk, payouts
from simulator.books import Refund
from simulator.clock import moment
from simulator.faults import ANSWER_FAULTS
from simulator.kuaiqian import codes, fields, wire, words
from simulator.kuaiqian.fields import Refusal
from simulator.world import Channel, World

CHANNEL = "kuaiqian"
BUSY = "30001"
"""Queries: the system is busy."""
UNHEARD_OF = "98765"
"""An error code that nobody documented."""
ORDER_ANSWER = [
    "version",
    "signType",
    "merchantAcctId",
    "errCode",
    "currentPage",
    "pageCount",
    "pageSize",
    "recordCount",
]
REFUND_ANSWER = [
    "version",
    "signType",
    "merchantAcctId",
    "recordCount",
    "pageCount",
    "currentPage",
    "pageSize",
    "errCode",
]
CARD_NAMESPACE = "http://www.99bill.com/mas_cnp_merchant_interface"


@dataclass(frozen=True, kw_only=True)
class Call:
    """A verified request: whom fault rules match, what it does, and how an error code is put into its answer."""

    operation: str
    number: str
    act: Callable[[bool], bytes]
    fail: Callable[[str, bool], bytes]


class Api:
    """See the module."""

    def __init__(self, *, world: World, channel: Channel) -> None:
        self._world = world
        self._credentials = world.credentials.kuaiqian
        self._channel = channel
        self._readers: Mapping[str, Callable[[Request], Call]] = {
            "query": self._read_query,
            "refund": self._read_refund,
            "refund_md5": self._read_refund_md5,
            "refund_query": self._read_refund_query,
            "payout": self._read_payout,
            "payout_query": self._read_payout_query,
            "card": self._read_card,
        }

    def handle(self, *, action: str, request: Request) -> Response:
        try:
            call = self._readers[action](request)
        except _Answered as answered:
            return _response(action, answered.body)
        struck = self._world.faults.draw(
            among=ANSWER_FAULTS, channel=CHANNEL, operation=call.operation, attempt_no=call.number
        )
        if "timeout_before_effect" in struck:
            self._world.stopping.wait(struck["timeout_before_effect"].delay)
            return Response(status=504)
        is_forged = "response_bad_signature" in struck
        if "system_error_not_done" in struck:
            return _response(action, call.fail(BUSY, is_forged))
        if "unknown_code_not_done" in struck:
            return _response(action, call.fail(UNHEARD_OF, is_forged))
        body = call.act(is_forged)
        if "system_error_but_done" in struck:
            body = call.fail(BUSY, is_forged)
        if "unknown_code_but_done" in struck:
            body = call.fail(UNHEARD_OF, is_forged)
        if "response_malformed" in struck:
            body = body[: len(body) // 2]
        if "timeout_after_effect" in struck:
            self._world.stopping.wait(struck["timeout_after_effect"].delay)
        return _response(action, body)

    # --- Queries (JSON) ---------------------------------------------------------------------------------------------

    def _read_query(self, request: Request) -> Call:
        def fail(code: str, is_forged: bool) -> bytes:
            return self._query_answer(ORDER_ANSWER, [], "orderDetail", words.ORDER_DETAIL, code, is_forged)

        given = self._query_fields(request, fields.ORDER_QUERY, ("startTime", "endTime"), fail)

        def act(is_forged: bool) -> bytes:
            try:
                order = desk.get_order(world=self._world, channel=CHANNEL, attempt_no=given["orderId"])
            except desk.UnknownOrder:
                return fail("31003", is_forged)
            if order.state != "PAID":
                return fail("31005", is_forged)
            rows = [words.order_detail(order=order)]
            return self._query_answer(ORDER_ANSWER, rows, "orderDetail", words.ORDER_DETAIL, "", is_forged)

        return Call(operation="query", number=given["orderId"], act=act, fail=fail)

    def _read_refund_query(self, request: Request) -> Call:
        def fail(code: str, is_forged: bool) -> bytes:
            return self._query_answer(REFUND_ANSWER, [], "results", words.REFUND_DETAIL, code, is_forged)

        may_lack = ("rOrderId", "seqId", "extra_output_column")
        given = self._query_fields(request, fields.REFUND_QUERY, may_lack, fail)
        try:
            start, end = fields.read_days(given)
        except Refusal as refusal:
            raise _Answered(fail(refusal.code, False)) from refusal

        def act(is_forged: bool) -> bytes:
            refund = self._find_refund(given["orderId"])
            if refund is None or not start <= refund.created_at < end:
                return fail("10012", is_forged)
            rows = [words.refund_detail(refund=refund)]
            return self._query_answer(REFUND_ANSWER, rows, "results", words.REFUND_DETAIL, "", is_forged)

        number = given["orderId"] if (refund := self._find_refund(given["orderId"])) is None else refund.attempt_no
        return Call(operation="refund_query", number=number, act=act, fail=fail)

    def _find_refund(self, refund_no: str) -> Refund | None:
        return self._world.books.find_refund(channel=CHANNEL, refund_no=refund_no)

    def _query_fields(
        self, request: Request, known: list[str], may_lack: tuple[str, ...], fail: Callable[[str, bool], bytes]
    ) -> dict[str, str]:
        try:
            given = fields.read_json(request.get_data(), known, "signMsg", may_lack=may_lack)
            if given["version"] != "v2.0" or given["signType"] != ("2" if self._credentials.is_pki else "1"):
                raise Refusal("10002", "version or signType")
            if given["merchantAcctId"] != self._credentials.account_id:
                raise Refusal("20001", "merchantAcctId")
            fields.read_order_id(given["orderId"])
            text = f"{wire.text_of(given, known)}&key={self._credentials.query_key}"
            if not self._is_signed(text, given["signMsg"]):
                raise Refusal("11003", "signature")
        except Refusal as refusal:
            raise _Answered(fail(refusal.code, False)) from refusal
        return given

    def _is_signed(self, text: str, signature: str) -> bool:
        held = self._credentials
        if not held.is_pki:
            return wire.md5(text) == signature.upper()
        return wire.is_signed(
            key=held.merchant_public_key, hash_name=held.hash_name, content=text.encode(), signature=signature
        )

    def _query_answer(
        self,
        order: list[str],
        rows: list[dict[str, str]],
        rows_name: str,
        detail: list[str],
        code: str,
        is_forged: bool,
    ) -> bytes:
        head = {
            "version": "v2.0",
            "signType": "2" if self._credentials.is_pki else "1",
            "merchantAcctId": self._credentials.account_id,
            "errCode": code,
            "currentPage": "1",
            "pageCount": "1" if rows else "0",
            "pageSize": "20",
            "recordCount": str(len(rows)),
        }
        signed = [{**row, "signInfo": self._query_signature(row, detail, is_forged)} for row in rows]
        answer = {**head, rows_name: signed, "signMsg": self._query_signature(head, order, is_forged)}
        return json.dumps(answer, ensure_ascii=False).encode()

    def _query_signature(self, values: Mapping[str, str], order: list[str], is_forged: bool) -> str:
        text = f"{wire.text_of(values, order)}&key={'another' if is_forged else self._credentials.query_key}"
        if not self._credentials.is_pki:
            return wire.md5(text)
        held = self._credentials
        return wire.sign(key=held.platform_private_key, hash_name=held.hash_name, content=text.encode())

    # --- Refunds (JSON, or form and XML); answers are not signed ----------------------------------------------------

    def _read_refund(self, request: Request) -> Call:
        held = self._credentials
        try:
            given = fields.read_json(request.get_data(), fields.REFUND, "mac")
            content = wire.text_of(given, fields.REFUND).encode()
            if not held.is_pki or not wire.is_signed(
                key=held.merchant_public_key, hash_name=held.hash_name, content=content, signature=given["mac"]
            ):
                raise Refusal("MAC", "wrong signature")
        except Refusal as refusal:
            raise _Answered(_refund_json({}, "N", refusal.code)) from refusal
        return self._refund_call(given, _refund_json)

    def _read_refund_md5(self, request: Request) -> Call:
        held = self._credentials
        try:
            given = fields.check_names(request.form.to_dict(), fields.REFUND, "mac")
            text = "".join(f"{name}={given[name]}" for name in fields.REFUND) + f"merchant_key={held.refund_key}"
            if held.is_pki or wire.md5(text) != given["mac"].upper():
                raise Refusal("MAC", "wrong signature")
        except Refusal as refusal:
            raise _Answered(_refund_xml({}, "N", refusal.code)) from refusal
        return self._refund_call(given, _refund_xml)

    def _refund_call(self, given: dict[str, str], put: Callable[[Mapping[str, str], str, str], bytes]) -> Call:
        def act(is_forged: bool) -> bytes:
            try:
                self._refund(given)
            except (Refusal, desk.Refused) as refusal:
                return put(given, "N", getattr(refusal, "code", type(refusal).__name__))
            return put(given, "Y", "")

        return Call(
            operation="refund",
            number=given["orderid"],
            act=act,
            fail=lambda code, is_forged: put(given, "N", code),
        )

    def _refund(self, given: dict[str, str]) -> None:
        """Raises Refusal, desk.Refused. A txOrder that was used is refused, whatever else the request says."""
        if given["merchant_id"] != self._credentials.member_code:
            raise Refusal("MERCHANT", "merchant_id")
        if given["version"] != "bill_drawback_api_1" or given["command_type"] != "001":
            raise Refusal("VERSION", "version or command_type")
        fields.read_order_id(given["txOrder"])
        posted_at = fields.read_compact(given["postdate"], "postdate")
        if abs(posted_at - self._world.clock.seconds()) > 86_400:
            raise Refusal("POSTDATE", "postdate is more than a day off")
        amount_fen = fields.read_yuan(given["amount"])
        if self._find_refund(given["txOrder"]) is not None:
            raise Refusal("TXORDER_REPEATED", "txOrder was used before")
        order = desk.get_order(world=self._world, channel=CHANNEL, attempt_no=given["orderid"])
        desk.accept_refund(
            world=self._world,
            channel=self._channel,
            order=order,
            wanted=desk.RefundRequest(
                refund_no=given["txOrder"],
                amount_fen=amount_fen,
                paid_fen=order.paid_fen or 0,
                notify_url="",
                parameters={"orderid": given["orderid"], "amount": amount_fen},
            ),
        )

    # --- Payouts (sealed XML) ---------------------------------------------------------------------------------------

    def _read_payout(self, request: Request) -> Call:
        envelope = _Envelope("pay2BankRequest", "pay2bankHead", "requestBody", "pay2bankResponse", "responseBody")
        plain = self._open(request, envelope)
        try:
            if plain.name != "pay2BankOrder":
                raise Refusal("1001", "pay2BankOrder is expected")
            given = wire.leaves(plain, fields.PAYOUT, optional=fields.PAYOUT_OPTIONAL)
            wanted = fields.read_payout(given)
        except (wire.Unreadable, Refusal) as error:
            code = getattr(error, "code", "1001")
            raise _Answered(self._sealed_answer(envelope, code, str(error), "")) from error
        echo = wire.element("pay2BankOrder", wire.leaves_of(given))

        def fail(code: str, is_forged: bool) -> bytes:
            return self._sealed_answer(envelope, code, "系统繁忙", echo, is_forged=is_forged)

        def act(is_forged: bool) -> bytes:
            try:
                self._accept_payout(given, wanted)
            except desk.NumberReused:
                return fail("1105", is_forged)
            except payouts.NotEnough:
                return fail("1106", is_forged)
            except desk.Refused:
                return fail("1107", is_forged)
            return self._sealed_answer(envelope, "0000", "", echo, is_forged=is_forged)

        return Call(operation="payout", number=wanted.order_id, act=act, fail=fail)

    def _accept_payout(self, given: dict[str, str], wanted: fields.PayoutOrder) -> None:
        """An orderId that was used is refused, whatever else the order says."""
        if self._world.books.find_payout(channel=CHANNEL, payout_no=wanted.order_id) is not None:
            raise desk.NumberReused
        payouts.accept(
            world=self._world,
            wanted=payouts.PayoutRequest(
                channel=CHANNEL,
                payout_no=wanted.order_id,
                payout_id=codes.new_deal_id(),
                code=codes.new_code(),
                amount_fen=wanted.amount_fen,
                account=wanted.account,
                name=wanted.name,
                remark=wanted.remark,
                notify_url=self._world.options.kuaiqian_payout_notify_url,
                parameters=given,
                expires_at=None,
            ),
            operation="payout",
        )

    def _read_payout_query(self, request: Request) -> Call:
        envelope = _Envelope(
            "pay2BankSearchRequest",
            "pay2bankSearchHead",
            "searchRequestBody",
            "pay2bankSearchResponse",
            "searchResponseBody",
        )
        plain = self._open(request, envelope)
        try:
            if plain.name != "pay2BankSearchRequestParam":
                raise Refusal("1001", "pay2BankSearchRequestParam is expected")
            given = wire.leaves(plain, fields.PAYOUT_QUERY)
            start, end = fields.read_period(given)
        except (wire.Unreadable, Refusal) as error:
            code = getattr(error, "code", "1001")
            raise _Answered(self._sealed_answer(envelope, code, str(error), "")) from error

        def fail(code: str, is_forged: bool) -> bytes:
            return self._sealed_answer(envelope, code, "系统繁忙", "", is_forged=is_forged)

        def act(is_forged: bool) -> bytes:
            found = self._world.books.find_payout(channel=CHANNEL, payout_no=given["orderId"])
            # The period is named in whole seconds.
            is_inside = found is not None and start <= int(found.created_at) <= end
            rows = [words.payout_detail(payout=found)] if found is not None and is_inside else []
            listed = "".join(wire.element("resultList", wire.leaves_of(row)) for row in rows)
            result = wire.element("pay2bankSearchResult", listed)
            return self._sealed_answer(envelope, "0000", "", result, is_forged=is_forged)

        return Call(operation="payout_query", number=given["orderId"], act=act, fail=fail)

    def _open(self, request: Request, envelope: _Envelope) -> wire.Element:
        held = self._credentials
        try:
            root = wire.parse(request.get_data())
            if root.name != envelope.root:
                raise wire.Unreadable(f"{envelope.root} is expected")
            head, body = wire.only(root, envelope.head, envelope.body)
            if wire.leaves(head, ("version", "memberCode")) != {"version": "1.0", "memberCode": held.member_code}:
                raise wire.Unreadable("version or memberCode")
            (sealed,) = wire.only(body, "sealDataType")
            return wire.parse(
                wire.unseal(
                    own=held.platform_private_key,
                    other=held.merchant_public_key,
                    hash_name=held.payout_hash_name,
                    sealed=sealed,
                )
            )
        except wire.Unreadable as error:
            raise _Answered(self._sealed_answer(envelope, "1002", str(error), "")) from error

    def _sealed_answer(
        self, envelope: _Envelope, code: str, message: str, plain: str, *, is_forged: bool = False
    ) -> bytes:
        held = self._credentials
        sealed = ""
        if plain:
            sealed = wire.seal(
                own=held.platform_private_key,
                other=held.merchant_public_key,
                hash_name=held.payout_hash_name,
                plain=(wire.DECLARATION + plain).encode(),
                signed=b"another message" if is_forged else None,
            )
        head = wire.leaves_of({"version": "1.0", "memberCode": held.member_code})
        body = wire.leaves_of({"errorCode": code, "errorMsg": message}) + sealed
        answer = wire.element(
            envelope.answer, wire.element(envelope.head, head), wire.element(envelope.answer_body, body)
        )
        return (wire.DECLARATION + answer).encode()

    # --- Card verification (XML, HTTP Basic) ------------------------------------------------------------------------

    def _read_card(self, request: Request) -> Call:
        held = self._credentials
        login = request.authorization
        try:
            if login is None or (login.username, login.password) != (held.card_merchant_id, held.card_password):
                raise Refusal("B.MGW.0110", "wrong merchant or password")
            root = wire.parse(request.get_data())
            version, content = wire.only(root, *(f"{CARD_NAMESPACE} {name}" for name in ("version", "indAuthContent")))
            if root.name != f"{CARD_NAMESPACE} MasMessage" or version.text != "1.0":
                raise Refusal("B.MGW.0120", "MasMessage 1.0 is expected")
            names = [f"{CARD_NAMESPACE} {name}" for name in fields.CARD]
            optional = [f"{CARD_NAMESPACE} {name}" for name in fields.CARD_OPTIONAL]
            given = {
                name.partition(" ")[2]: text for name, text in wire.leaves(content, names, optional=optional).items()
            }
            if (given["merchantId"], given["terminalId"]) != (held.card_merchant_id, held.card_terminal_id):
                raise Refusal("B.MGW.0130", "merchantId or terminalId")
        except (wire.Unreadable, Refusal) as error:
            code = getattr(error, "code", "B.MGW.0120")
            raise _Answered(_card_error(code, str(error))) from error
        answer = {
            "merchantId": given["merchantId"],
            "terminalId": given["terminalId"],
            "customerId": given["customerId"],
            "externalRefNumber": given["externalRefNumber"],
        }

        def put(code: str, text: str) -> bytes:
            inside = wire.leaves_of({**answer, "responseCode": code, "responseTextMessage": text})
            return _mas(wire.element("indAuthContent", inside))

        return Call(
            operation="card",
            number=given["externalRefNumber"],
            act=lambda is_forged: put(*codes.CARDS.get(given["pan"], ("00", "交易成功"))),
            fail=lambda code, is_forged: put("96" if code == BUSY else "?9", "系统异常、失效"),
        )


@dataclass(frozen=True)
class _Envelope:
    """Names of a sealed question and its answer."""

    root: str
    head: str
    body: str
    answer: str
    answer_body: str


class _Answered(Exception):
    """The request is refused before it does anything; `body` says so."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        super().__init__()


def new_refund_id(*, now: float) -> str:
    """Digits with the Beijing day inside."""
    return f"{moment(now):%Y%m%d}{codes.new_deal_id()}"


def _refund_json(given: Mapping[str, str], result: str, code: str) -> bytes:
    return json.dumps(_refund_fields(given, result, code), ensure_ascii=False).encode()


def _refund_xml(given: Mapping[str, str], result: str, code: str) -> bytes:
    values = {name.upper(): value for name, value in _refund_fields(given, result, code).items()}
    return (wire.DECLARATION + wire.element("RETURN", wire.leaves_of(values))).encode()


def _refund_fields(given: Mapping[str, str], result: str, code: str) -> dict[str, str]:
    return {
        "merchant": given.get("merchant_id", ""),
        "orderid": given.get("orderid", ""),
        "txorder": given.get("txOrder", ""),
        "amount": given.get("amount", ""),
        "result": result,
        "code": code,
    }


def _card_error(code: str, message: str) -> bytes:
    inside = wire.leaves_of({"errorCode": code, "errorMessage": message})
    return _mas(wire.element("ErrorMsgContent", inside))


def _mas(content: str) -> bytes:
    root = wire.element("MasMessage", wire.leaf("version", "1.0"), content, attributes=f' xmlns="{CARD_NAMESPACE}"')
    return (wire.DECLARATION + root).encode()


def _response(action: str, body: bytes) -> Response:
    is_json = action in ("query", "refund", "refund_query")
    kind = "application/json" if is_json else "text/xml"
    return Response(body, content_type=f"{kind};charset=utf-8")

"""world.Channel for Alipay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from werkzeug.routing import Rule as Route
from werkzeug.wrappers import Request, Response

from simulator.alipay import codes, notices, words
from simulator.alipay.api import GATEWAY_PATH, METHODS, Api, Failure
from simulator.books import Notice, Order, Refund
from simulator.control import ControlRefused
from simulator.desk import OPERATION_PAYMENT_NOTICE, OPERATION_REFUND_NOTICE
from simulator.world import NoticeDraft, OutgoingMessage, World

_MINUTE = 60.0
_HOUR = 3600.0


class AlipayChannel:
    """See the package."""

    name = "alipay"
    operations = frozenset({*METHODS.values(), OPERATION_PAYMENT_NOTICE, OPERATION_REFUND_NOTICE})
    retry_seconds: tuple[float, ...] = (
        *(4 * _MINUTE, 10 * _MINUTE, 10 * _MINUTE),
        *(_HOUR, 2 * _HOUR, 6 * _HOUR, 15 * _HOUR),
    )
    """4m, 10m, 10m, 1h, 2h, 6h, 15h: 8 deliveries in 25 h."""

    def __init__(self, *, world: World) -> None:
        self._world = world
        self._api = Api(world=world, channel=self)

    def routes(self) -> list[Route]:
        return [
            Route(GATEWAY_PATH, methods=["GET", "POST"], endpoint="alipay.gateway"),
            Route("/alipay/bill/<token>.zip", methods=["GET"], endpoint="alipay.bill"),
        ]

    def handle(self, *, endpoint: str, request: Request, arguments: Mapping[str, Any]) -> Response:
        if endpoint == "alipay.bill":
            return self._api.fetch_bill(arguments["token"])
        return self._api.handle(request)

    def read_code(self, payment: Mapping[str, Any]) -> str | None:
        """Of a redirect or a form: opened like a browser does, which makes the trade."""
        kind = payment.get("kind")
        if kind == "code_url":
            code = payment.get("code_url")
            return code if isinstance(code, str) and code.startswith(codes.QR_PREFIX) else None
        address = payment.get({"redirect": "url", "form": "action"}.get(str(kind), ""))
        inputs = payment.get("fields", {}) if kind == "form" else {}
        if not isinstance(address, str) or not isinstance(inputs, dict) or f"{GATEWAY_PATH}?" not in address:
            return None
        try:
            return self._api.open_page(address, {str(name): str(value) for name, value in inputs.items()}).code
        except Failure as failure:
            raise ControlRefused(status=409, message=f"{failure.content['sub_code']} {failure}") from failure

    def new_transaction_id(self) -> str:
        return codes.new_number(now=self._world.clock.seconds())

    def new_refund_id(self) -> str:
        return codes.new_number(now=self._world.clock.seconds())

    def draft_payment_notice(self, order: Order) -> NoticeDraft:
        content = words.notice(credentials=self._world.credentials.alipay, order=order, refunds=[])
        return NoticeDraft(event=content["trade_status"], content=content)

    def draft_refund_notice(self, *, refund: Refund, order: Order) -> NoticeDraft | None:
        """The trade's notice again; nothing is said of a refund that was not made."""
        if refund.state != "SUCCESS":
            return None
        content = words.refund_notice(
            credentials=self._world.credentials.alipay,
            order=order,
            refund=refund,
            refunds=self._world.books.list_refunds(order=order),
        )
        return NoticeDraft(event=content["trade_status"], content=content)

    def return_address(self, order: Order) -> str:
        return self._api.return_address(order)

    def compose(self, *, notice: Notice, mode: str) -> OutgoingMessage:
        return notices.compose(world=self._world, notice=notice, mode=mode)

    def is_accepted(self, *, status: int, body: str) -> bool:
        """Exactly seven bytes; a page, a blank or another case are failures."""
        return status == 200 and body == "success"

"""world.Channel for 99bill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from werkzeug.routing import Rule as Route
from werkzeug.wrappers import Request, Response

from simulator.books import Notice, Order, Payout, Refund
from simulator.control import ControlRefused
from simulator.desk import OPERATION_PAYMENT_NOTICE, OPERATION_PAYOUT_NOTICE
from simulator.kuaiqian import arrivals, codes, notices, words
from simulator.kuaiqian.api import Api, new_refund_id
from simulator.kuaiqian.fields import Refusal
from simulator.world import NoticeDraft, OutgoingMessage, World

_MINUTE = 60.0
_HOUR = 3600.0
GATEWAY_PATH = "/gateway/recvMerchantInfoAction.htm"
MOBILE_PATH = "/mobilegateway/recvMerchantInfoAction.htm"


class KuaiqianChannel:
    """See the package."""

    name = "kuaiqian"
    operations = frozenset(
        {
            "query",
            "refund",
            "refund_query",
            "payout",
            "payout_query",
            "card",
            OPERATION_PAYMENT_NOTICE,
            OPERATION_PAYOUT_NOTICE,
        }
    )
    retry_seconds: tuple[float, ...] = (
        *(15.0, 30.0, _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE),
        *(_HOUR, 2 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    )
    """99bill's schedule is not known; this one is ours."""
    banks = codes.BANKS

    def __init__(self, *, world: World) -> None:
        self._world = world
        self._credentials = world.credentials.kuaiqian
        self._api = Api(world=world, channel=self)

    def routes(self) -> list[Route]:
        return [
            Route(GATEWAY_PATH, methods=["GET", "POST"], endpoint="kuaiqian.arrival"),
            Route(MOBILE_PATH, methods=["GET", "POST"], endpoint="kuaiqian.mobile_arrival"),
            Route("/gatewayapi/gatewayOrderQuery.do", methods=["POST"], endpoint="kuaiqian.query"),
            Route("/gatewayapi/recievedrawbackPKI.do", methods=["POST"], endpoint="kuaiqian.refund"),
            Route("/webapp/receiveDrawbackAction.do", methods=["POST"], endpoint="kuaiqian.refund_md5"),
            Route("/gatewayapi/gatewayRefundQuery.do", methods=["POST"], endpoint="kuaiqian.refund_query"),
            Route("/fo-pay/pay2bank/pay", methods=["POST"], endpoint="kuaiqian.payout"),
            Route("/fo-pay-query/pay2bank/query", methods=["POST"], endpoint="kuaiqian.payout_query"),
            Route("/cnp/ind_auth", methods=["POST"], endpoint="kuaiqian.card"),
        ]

    def handle(self, *, endpoint: str, request: Request, arguments: Mapping[str, Any]) -> Response:
        action = endpoint.partition(".")[2]
        if action in ("arrival", "mobile_arrival"):
            is_mobile = action == "mobile_arrival"
            return arrivals.handle(
                world=self._world, credentials=self._credentials, request=request, is_mobile=is_mobile
            )
        return self._api.handle(action=action, request=request)

    def read_code(self, payment: Mapping[str, Any]) -> str | None:
        """Carries a form or a redirect of ours to the gateway, as the payer's browser would; ControlRefused."""
        path, values = _browsed(payment)
        if path not in (GATEWAY_PATH, MOBILE_PATH):
            return None
        try:
            order = arrivals.arrive(
                world=self._world, credentials=self._credentials, values=values, is_mobile=path == MOBILE_PATH
            )
        except Refusal as refusal:
            raise ControlRefused(status=409, message=f"errCode={refusal.code} {refusal}") from refusal
        return order.code

    def new_transaction_id(self) -> str:
        return codes.new_deal_id()

    def new_refund_id(self) -> str:
        return new_refund_id(now=self._world.clock.seconds())

    def draft_payment_notice(self, order: Order) -> NoticeDraft:
        content = words.payment_notice(credentials=self._credentials, order=order)
        return NoticeDraft(event=notices.PAYMENT_EVENT, content=content)

    def draft_refund_notice(self, *, refund: Refund, order: Order) -> NoticeDraft | None:
        """99bill says nothing of refunds."""
        return None

    def return_address(self, order: Order) -> str:
        """The merchant names it in its answer to the notice; the books do not keep that."""
        return ""

    def draft_payout_notice(self, payout: Payout) -> NoticeDraft:
        content = words.payout_notice(credentials=self._credentials, payout=payout)
        return NoticeDraft(event=notices.PAYOUT_EVENT, content=content)

    def compose(self, *, notice: Notice, mode: str) -> OutgoingMessage:
        return notices.compose(credentials=self._credentials, notice=notice, mode=mode)

    def is_accepted(self, *, status: int, body: str) -> bool:
        return notices.is_accepted(credentials=self._credentials, status=status, body=body)


def _browsed(payment: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Path and fields of api.md's `payment` of kind form or redirect; ("", {}) for another one."""
    kind, address = payment.get("kind"), payment.get("action") or payment.get("url")
    if kind not in ("form", "redirect") or not isinstance(address, str):
        return "", {}
    try:
        parts = urlsplit(address)
    except ValueError:
        return "", {}
    if kind == "redirect":
        return parts.path, dict(parse_qsl(parts.query))
    given = payment.get("fields")
    return parts.path, {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}

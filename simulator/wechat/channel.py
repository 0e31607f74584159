"""world.Channel for WeChat Pay v3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from werkzeug.routing import Rule as Route
from werkzeug.wrappers import Request, Response

from simulator.books import Notice, Order, Refund
from simulator.desk import OPERATION_PAYMENT_NOTICE, OPERATION_REFUND_NOTICE
from simulator.wechat import codes, notices, words
from simulator.wechat.api import Api, code_of
from simulator.world import NoticeDraft, OutgoingMessage, World

_MINUTE = 60.0
_HOUR = 3600.0


class WechatChannel:
    """See the package."""

    name = "wechat"
    operations = frozenset(
        {
            "native",
            "query",
            "close",
            "refund",
            "refund_query",
            OPERATION_PAYMENT_NOTICE,
            OPERATION_REFUND_NOTICE,
        }
    )
    retry_seconds: tuple[float, ...] = (
        *(15.0, 15.0, 30.0, 3 * _MINUTE, 10 * _MINUTE, 20 * _MINUTE, 30 * _MINUTE, 30 * _MINUTE, 30 * _MINUTE),
        *(_HOUR, 3 * _HOUR, 3 * _HOUR, 3 * _HOUR, 6 * _HOUR, 6 * _HOUR),
    )
    """15s/15s/30s/3m/10m/20m/30m/30m/30m/60m/3h/3h/3h/6h/6h, 24 h 4 m in all."""

    def __init__(self, *, world: World) -> None:
        self._world = world
        self._api = Api(world=world, channel=self)

    def routes(self) -> list[Route]:
        transactions, refunds = "/v3/pay/transactions", "/v3/refund/domestic/refunds"
        return [
            Route(f"{transactions}/native", methods=["POST"], endpoint="wechat.native"),
            Route(f"{transactions}/<any(jsapi, h5, app):scene>", methods=["POST"], endpoint="wechat.scene"),
            Route(f"{transactions}/out-trade-no/<attempt_no>", methods=["GET"], endpoint="wechat.query"),
            Route(f"{transactions}/id/<transaction_id>", methods=["GET"], endpoint="wechat.query_by_id"),
            Route(f"{transactions}/out-trade-no/<attempt_no>/close", methods=["POST"], endpoint="wechat.close"),
            Route(refunds, methods=["POST"], endpoint="wechat.refund"),
            Route(f"{refunds}/<refund_no>", methods=["GET"], endpoint="wechat.refund_query"),
            Route("/v3/<path:rest>", endpoint="wechat.unknown"),
        ]

    def handle(self, *, endpoint: str, request: Request, arguments: Mapping[str, Any]) -> Response:
        return self._api.handle(action=endpoint.partition(".")[2], request=request, arguments=arguments)

    def read_code(self, payment: Mapping[str, Any]) -> str | None:
        return code_of(payment)

    def new_transaction_id(self) -> str:
        return codes.new_transaction_id(now=self._world.clock.seconds())

    def new_refund_id(self) -> str:
        return codes.new_refund_id(now=self._world.clock.seconds())

    def draft_payment_notice(self, order: Order) -> NoticeDraft:
        content = words.transaction(credentials=self._world.credentials, order=order, refunds=[])
        return NoticeDraft(event="TRANSACTION.SUCCESS", content=content)

    def draft_refund_notice(self, *, refund: Refund, order: Order) -> NoticeDraft:
        content = words.refund_notice(credentials=self._world.credentials, order=order, refund=refund)
        return NoticeDraft(event=f"REFUND.{refund.state}", content=content)

    def compose(self, *, notice: Notice, mode: str) -> OutgoingMessage:
        return notices.compose(world=self._world, notice=notice, mode=mode)

    def is_accepted(self, *, status: int, body: str) -> bool:
        """The merchant's body is not read: 200 and 204 are the acknowledgement."""
        return status in (200, 204)

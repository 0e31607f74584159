"""world.Channel for WeChat Pay v3."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from werkzeug.routing import Rule as Route
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from simulator.books import Notice, Order, Payout, Refund
from simulator.desk import OPERATION_PAYMENT_NOTICE, OPERATION_PAYOUT_NOTICE, OPERATION_REFUND_NOTICE
from simulator.wechat import bill_files, codes, notices, words
from simulator.wechat.api import H5_PATH, Api, code_of
from simulator.wechat.oauth import Oauth
from simulator.world import NoticeDraft, OutgoingMessage, World

_MINUTE = 60.0
_HOUR = 3600.0


class WechatChannel:
    """See the package."""

    name = "wechat"
    operations = frozenset(
        {
            "native",
            "jsapi",
            "h5",
            "query",
            "close",
            "refund",
            "refund_query",
            "transfer",
            "transfer_query",
            "transfer_cancel",
            "trade_bill",
            "fund_flow_bill",
            "bill_download",
            OPERATION_PAYMENT_NOTICE,
            OPERATION_REFUND_NOTICE,
            OPERATION_PAYOUT_NOTICE,
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
        self._oauth = Oauth(clock=world.clock)

    def routes(self) -> list[Route]:
        transactions, refunds = "/v3/pay/transactions", "/v3/refund/domestic/refunds"
        partner = "/v3/pay/partner/transactions"
        transfers = "/v3/fund-app/mch-transfer/transfer-bills"
        return [
            Route(f"{transactions}/native", methods=["POST"], endpoint="wechat.native"),
            Route(f"{transactions}/jsapi", methods=["POST"], endpoint="wechat.jsapi"),
            Route(f"{transactions}/h5", methods=["POST"], endpoint="wechat.h5"),
            Route(f"{partner}/native", methods=["POST"], endpoint="wechat.partner_native"),
            Route(f"{partner}/jsapi", methods=["POST"], endpoint="wechat.partner_jsapi"),
            Route(f"{partner}/h5", methods=["POST"], endpoint="wechat.partner_h5"),
            Route(f"{partner}/out-trade-no/<attempt_no>", methods=["GET"], endpoint="wechat.partner_query"),
            Route(f"{partner}/out-trade-no/<attempt_no>/close", methods=["POST"], endpoint="wechat.partner_close"),
            Route(f"{transactions}/app", methods=["POST"], endpoint="wechat.scene"),
            Route(f"{transactions}/out-trade-no/<attempt_no>", methods=["GET"], endpoint="wechat.query"),
            Route(f"{transactions}/id/<transaction_id>", methods=["GET"], endpoint="wechat.query_by_id"),
            Route(f"{transactions}/out-trade-no/<attempt_no>/close", methods=["POST"], endpoint="wechat.close"),
            Route(refunds, methods=["POST"], endpoint="wechat.refund"),
            Route(f"{refunds}/<refund_no>", methods=["GET"], endpoint="wechat.refund_query"),
            Route(transfers, methods=["POST"], endpoint="wechat.transfer"),
            Route(f"{transfers}/out-bill-no/<payout_no>", methods=["GET"], endpoint="wechat.transfer_query"),
            Route(f"{transfers}/transfer-bill-no/<payout_id>", methods=["GET"], endpoint="wechat.transfer_query_by_id"),
            Route(f"{transfers}/out-bill-no/<payout_no>/cancel", methods=["POST"], endpoint="wechat.transfer_cancel"),
            Route("/v3/bill/tradebill", methods=["GET"], endpoint="wechat.trade_bill"),
            Route("/v3/bill/fundflowbill", methods=["GET"], endpoint="wechat.fund_flow_bill"),
            Route("/v3/billdownload/file", methods=["GET"], endpoint="wechat.bill_download"),
            Route(f"/{H5_PATH}", methods=["GET"], endpoint="wechat.page"),
            *self._oauth.routes(),
            Route("/v3/<path:rest>", endpoint="wechat.unknown"),
        ]

    def handle(self, *, endpoint: str, request: Request, arguments: Mapping[str, Any]) -> Response:
        action = endpoint.partition(".")[2]
        if action == "page":
            return redirect(f"/pay?{urlencode({'code_url': request.args.get('prepay_id', '')})}", code=303)
        if action.startswith("oauth_"):
            return self._oauth.handle(action=action, request=request)
        return self._api.handle(action=action, request=request, arguments=arguments)

    def read_code(self, payment: Mapping[str, Any]) -> str | None:
        return code_of(payment, credentials=self._world.credentials)

    def read_confirmation(self, payment: Mapping[str, Any]) -> str | None:
        """What opens the confirmation of a transfer, when the merchant's client would be let in."""
        credentials, package = self._world.credentials, payment.get("package")
        is_right = payment.get("kind") == "confirm" and payment.get("mchId") == credentials.mchid
        is_right = is_right and payment.get("appId") == credentials.appid
        return package if is_right and isinstance(package, str) else None

    def write_bill(self, *, kind: str, day: dt.date) -> bytes:
        """The file of a day as it stands, with no faults: ALL, SUCCESS, REFUND or FUND_FLOW. ValueError for others."""
        return bill_files.write(world=self._world, channel_name=self.name, kind=kind, day=day)

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

    def draft_payout_notice(self, payout: Payout) -> NoticeDraft:
        content = words.transfer_notice(credentials=self._world.credentials, payout=payout)
        return NoticeDraft(event="MCHTRANSFER.BILL.FINISHED", content=content)

    def return_address(self, order: Order) -> str:
        """A scanned code leads nowhere."""
        return ""

    def compose(self, *, notice: Notice, mode: str) -> OutgoingMessage:
        return notices.compose(world=self._world, notice=notice, mode=mode)

    def is_accepted(self, *, status: int, body: str) -> bool:
        """The merchant's body is not read: 200 and 204 are the acknowledgement."""
        return status in (200, 204)

"""商家转账: the endpoints of transfers to a person, who confirms them. See `simulator.payouts` for what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Request

from simulator import payouts
from simulator.credentials import TRANSFER_SCENE_ID, TRANSFER_SCENE_REPORT
from simulator.wechat import codes, fields, wire, words
from simulator.wechat.answers import Answer, Failure
from simulator.world import World

CONFIRM_SECONDS = 24 * 3600.0
"""Not confirmed for so long, a transfer fails and the money is free again."""
REPORT_TYPES = sorted(info["info_type"] for info in TRANSFER_SCENE_REPORT)
QUERY_SECONDS = 30 * 86_400.0
"""Older ones are not found."""


class Transfers:
    """Actions `transfer`, `transfer_query`, `transfer_query_by_id`, `transfer_cancel`."""

    def __init__(self, *, world: World, channel_name: str) -> None:
        self._world = world
        self._channel_name = channel_name

    def place(self, *, request: Request, body: bytes, arguments: Mapping[str, Any]) -> Answer:
        content = fields.read_body(body)
        asked = fields.read_transfer(content, decrypt=lambda sealed: self._decrypt(request, sealed))
        self._check_contract(asked)
        now = self._world.clock.seconds()
        payout = payouts.accept(
            world=self._world,
            wanted=payouts.PayoutRequest(
                channel=self._channel_name,
                payout_no=asked.out_bill_no,
                payout_id=codes.new_transfer_bill_id(now=now),
                code=codes.new_package_info(),
                amount_fen=asked.amount_fen,
                account=asked.openid,
                name=asked.name,
                remark=asked.remark,
                notify_url=asked.notify_url,
                parameters={**content, "user_name": asked.name},  # encrypted anew, it differs each time
                expires_at=now + CONFIRM_SECONDS,
            ),
            operation="transfer",
        )
        return Answer(status=200, content=words.transfer_answer(payout))

    def query(self, *, request: Request, body: bytes, arguments: Mapping[str, Any]) -> Answer:
        payout = payouts.get(world=self._world, channel=self._channel_name, **arguments)
        if payout.created_at + QUERY_SECONDS < self._world.clock.seconds():
            raise payouts.UnknownPayout
        return Answer(status=200, content=words.transfer(credentials=self._world.credentials, payout=payout))

    def cancel(self, *, request: Request, body: bytes, arguments: Mapping[str, Any]) -> Answer:
        if body and fields.read_body(body):
            raise fields.ParameterInvalid(field="/body", issue="只能为空")
        payout = payouts.cancel(world=self._world, channel=self._channel_name, payout_no=arguments["payout_no"])
        return Answer(status=200, content=words.transfer_cancel_answer(payout))

    def _decrypt(self, request: Request, sealed: str) -> str:
        """ValueError when it was not encrypted for us, or with another key than the header names."""
        credentials = self._world.credentials
        if request.headers.get("Wechatpay-Serial") != credentials.platform_public_key_id:
            raise ValueError("Wechatpay-Serial")
        return wire.decrypt_field(key=credentials.platform_private_key, sealed=sealed)

    def _check_contract(self, asked: fields.Transfer) -> None:
        credentials = self._world.credentials
        if asked.appid != credentials.appid:
            raise Failure(status=400, code="APPID_MCHID_NOT_MATCH", message="商户号和AppID没有绑定关系")
        if asked.scene_id != TRANSFER_SCENE_ID:
            raise Failure(status=400, code="INVALID_REQUEST", message="你尚未获取该转账场景")
        if sorted(kind for kind, _ in asked.report) != REPORT_TYPES:
            raise Failure(status=400, code="PARAM_ERROR", message="需传入转账场景报备信息，请检查")

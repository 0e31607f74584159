"""Transfers to an Alipay account: made at once, like Alipay does between accounts. See `simulator.payouts`."""

from __future__ import annotations

from typing import Any

from simulator import payouts
from simulator.alipay import codes, fields, words
from simulator.world import Channel, World

OPERATION = "transfer"


class Transfers:
    """The nodes of alipay.fund.trans.uni.transfer and alipay.fund.trans.common.query."""

    def __init__(self, *, world: World, channel: Channel) -> None:
        self._world = world
        self._channel = channel

    def place(self, content: dict[str, Any]) -> dict[str, Any]:
        """Raises ParameterInvalid, desk.Refused. One that a fault fails or returns is DEALING at first."""
        asked = fields.read_transfer(content)
        now = self._world.clock.seconds()
        payout = payouts.accept(
            world=self._world,
            wanted=payouts.PayoutRequest(
                channel=self._channel.name,
                payout_no=asked.out_biz_no,
                payout_id=codes.new_number(now=now),
                code=codes.new_transfer_code(),
                amount_fen=asked.amount_fen,
                account=asked.identity,
                name=asked.name,
                remark=asked.remark,
                notify_url="",
                parameters=content,
                expires_at=None,
            ),
            operation=OPERATION,
        )
        if payout.state == "PROCESSING" and payout.outcome == "SUCCESS":
            channels = {self._channel.name: self._channel}
            payout = payouts.decide(world=self._world, channels=channels, payout=payout, result="success")
        return words.payout(payout=payout, is_query=False)

    def query(self, content: dict[str, Any]) -> dict[str, Any]:
        """Raises ParameterInvalid, payouts.UnknownPayout."""
        payout_no = fields.read_transfer_query(content)
        payout = payouts.get(world=self._world, channel=self._channel.name, payout_no=payout_no)
        return words.payout(payout=payout, is_query=True)

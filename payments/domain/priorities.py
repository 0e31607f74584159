"""Who goes first when work for a provider waits: a rule of class, source of the money, and time waited."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from gateway.domain.routing import ClientClass

HIGHEST = 9
"""Priorities are 0 to 9, as in AMQP; brokers keep few of them well."""
OF_CLASS: Mapping[ClientClass, int] = {ClientClass.VIP: 6, ClientClass.LARGE: 4, ClientClass.ORDINARY: 1}
WALLET_FUNDED = 2
"""More for money that lies with us already. VIP and wallet together are 8: only waiting leads to HIGHEST."""
AGE_STEP = dt.timedelta(seconds=15)
"""Each of these that somebody waits is one more, so that the least is at HIGHEST after two minutes."""


def priority_of(*, client_class: ClientClass, is_wallet_funded: bool, waited: dt.timedelta) -> int:
    """0 to HIGHEST, higher goes first.

    Whoever waits long enough is before everybody who comes now, whatever their class: nobody starves. Source:
    requirements, "vip、大客户或者提前把资金存入电子钱包的用户加强权重".
    """
    steps = max(0, waited // AGE_STEP)
    return min(HIGHEST, OF_CLASS[client_class] + WALLET_FUNDED * is_wallet_funded + steps)

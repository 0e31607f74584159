"""The catalogue of facts: what an expression may ask about, with label, type and unit.

A fact has a value of exactly its type in every decision that uses it; there is no null. `source` says who brings it:
the caller of `deciding.decide` in `known`, or risk itself from the request, its counters, lists and clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

FactValue = int | str | bool


class Action(StrEnum):
    """What is guarded; each has a rule set of its own."""

    WITHDRAWAL = "withdrawal"
    TRANSFER = "transfer"
    RECHARGE = "recharge"
    REDPACKET_SEND = "redpacket_send"


ACTION_NAMES: Mapping[Action, tuple[str, str]] = {
    Action.WITHDRAWAL: ("Withdrawal", "提现"),
    Action.TRANSFER: ("Transfer", "转账"),
    Action.RECHARGE: ("Recharge", "充值"),
    Action.REDPACKET_SEND: ("Sending red packets", "发红包"),
}
"""English, Chinese."""


class FactType(StrEnum):
    """`NUMBER` is a whole number from 0 up."""

    NUMBER = "number"
    TEXT = "text"
    FLAG = "yes/no"


class Unit(StrEnum):
    """Numbers of different units are never compared or added."""

    FEN = "fen"
    TIMES = "times"
    DAYS = "days"
    HOUR = "hour of the day"
    NONE = ""


class Source(StrEnum):
    CALLER = "caller"
    RISK = "risk"


ALL_ACTIONS = frozenset(Action)
ONLY_WITHDRAWAL = frozenset({Action.WITHDRAWAL})
ONLY_TRANSFER = frozenset({Action.TRANSFER})
CHANNELS = ("wechat", "alipay", "kuaiqian", "wallet", "auto")
"""`auto`: the client leaves the choice to routing, which comes after the decision."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One entry. `values` lists all texts a TEXT fact can have; empty means any."""

    name: str
    label_en: str
    label_zh: str
    type: FactType
    unit: Unit = Unit.NONE
    source: Source = Source.RISK
    actions: frozenset[Action] = ALL_ACTIONS
    values: tuple[str, ...] = ()

    def accepts(self, value: object) -> bool:
        """Whether `value` is of exactly this type; true is no number, and nothing is null."""
        if self.type is FactType.FLAG:
            return type(value) is bool
        if self.type is FactType.NUMBER:
            return type(value) is int and value >= 0
        return type(value) is str and (not self.values or value in self.values)


def _number(name: str, unit: Unit, label_en: str, label_zh: str, actions: frozenset[Action] = ALL_ACTIONS) -> Fact:
    return Fact(name=name, label_en=label_en, label_zh=label_zh, type=FactType.NUMBER, unit=unit, actions=actions)


def _flag(name: str, label_en: str, label_zh: str, actions: frozenset[Action] = ALL_ACTIONS) -> Fact:
    return Fact(name=name, label_en=label_en, label_zh=label_zh, type=FactType.FLAG, actions=actions)


CATALOGUE: tuple[Fact, ...] = (
    _number("amount_fen", Unit.FEN, "amount of this one", "本笔金额"),
    Fact(name="channel", label_en="channel", label_zh="渠道", type=FactType.TEXT, values=CHANNELS),
    Fact(name="enterprise", label_en="enterprise (its id)", label_zh="企业（编号）", type=FactType.TEXT),
    _number("hour_of_day", Unit.HOUR, "hour of the day in Shanghai, 0 to 23", "北京时间小时（0 至 23）"),
    _number("count_today", Unit.TIMES, "how many today, without this one", "今日次数（不含本笔）"),
    _number("amount_today_fen", Unit.FEN, "amount today, without this one", "今日累计金额（不含本笔）"),
    _number(
        "channel_count_today",
        Unit.TIMES,
        "how many today on this channel, without this one",
        "本渠道今日次数（不含本笔）",
    ),
    _number(
        "channel_amount_today_fen",
        Unit.FEN,
        "amount today on this channel, without this one",
        "本渠道今日累计金额（不含本笔）",
    ),
    _number("count_this_year", Unit.TIMES, "how many this year, without this one", "本年次数（不含本笔）"),
    _number("amount_this_year_fen", Unit.FEN, "amount this year, without this one", "本年累计金额（不含本笔）"),
    _number("count_7_days", Unit.TIMES, "how many in the last 7 days, to the second", "近 7 天次数"),
    _number("amount_7_days_fen", Unit.FEN, "amount in the last 7 days, to the second", "近 7 天累计金额"),
    _number("tries_10_minutes", Unit.TIMES, "tries in the last 10 minutes, refused ones too", "近 10 分钟尝试次数"),
    _number("tries_1_hour", Unit.TIMES, "tries in the last hour, refused ones too", "近 1 小时尝试次数"),
    _number("rejections_24_hours", Unit.TIMES, "refused tries in the last 24 hours", "近 24 小时被拒次数"),
    _flag("on_allow_list", "employee, enterprise or card is on the allow list", "命中白名单"),
    _flag("on_block_list", "employee, enterprise, card, phone, address or payee is on the block list", "命中黑名单"),
    Fact(
        name="account_age_days",
        label_en="age of the employee's account",
        label_zh="账户开立天数",
        type=FactType.NUMBER,
        unit=Unit.DAYS,
        source=Source.CALLER,
    ),
    Fact(
        name="card_is_new",
        label_en="the card was bound less than a day ago",
        label_zh="新绑卡（不足一天）",
        type=FactType.FLAG,
        source=Source.CALLER,
        actions=ONLY_WITHDRAWAL,
    ),
    Fact(
        name="card_is_second_class",
        label_en="the card belongs to a second-class bank account",
        label_zh="Ⅱ类银行账户",
        type=FactType.FLAG,
        source=Source.CALLER,
        actions=ONLY_WITHDRAWAL,
    ),
    _number(
        "card_amount_today_fen",
        Unit.FEN,
        "amount to this card today, without this one",
        "该卡今日累计金额（不含本笔）",
        ONLY_WITHDRAWAL,
    ),
    _number(
        "card_amount_this_year_fen",
        Unit.FEN,
        "amount to this card this year, without this one",
        "该卡本年累计金额（不含本笔）",
        ONLY_WITHDRAWAL,
    ),
    Fact(
        name="payee_is_new",
        label_en="first transfer to this payee",
        label_zh="首次向该收款人转账",
        type=FactType.FLAG,
        source=Source.CALLER,
        actions=ONLY_TRANSFER,
    ),
)
"""To add one: an entry here, and its value in `risk.services.gathering` (or in `known` of every caller).

A name is never reused with another meaning: the log of decisions keeps values under it.
"""

_NAMES = {fact.name: fact for fact in CATALOGUE}


def of_action(action: Action) -> dict[str, Fact]:
    """The facts of one guarded action by name, in the catalogue's order."""
    return {fact.name: fact for fact in CATALOGUE if action in fact.actions}


def get(name: str) -> Fact | None:
    """The fact of that name."""
    return _NAMES.get(name)

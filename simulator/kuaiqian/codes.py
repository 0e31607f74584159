"""Numbers that 99bill gives out, banks that one can pay with, and cards whose verification fails."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

CODE_PREFIX = "kuaiqian:"
BANKS: Mapping[str, str] = {
    "ICBC": "工商银行 · ICBC",
    "CCB": "建设银行 · CCB",
    "ABC": "农业银行 · ABC",
    "BOC": "中国银行 · BOC",
    "CMB": "招商银行 · CMB",
}
CARDS: Mapping[str, tuple[str, str]] = {
    "6222020000000000117": ("HX", "姓名不符"),
    "6222020000000000125": ("HZ", "证件号不符"),
    "6222020000000000133": ("HW", "手机号码不符"),
    "6222020000000000141": ("14", "无效卡号"),
    "6222020000000000158": ("54", "过期的卡"),
    "6222020000000000166": ("C0", "正在处理中"),
    "6222020000000000174": ("96", "系统异常、失效"),
}
"""Test cards (their check digits are right): the answer each gets. Every other card is confirmed."""


def new_code() -> str:
    """What the payer's browser carries from the gateway to the cashier's page."""
    return CODE_PREFIX + secrets.token_hex(16)


def new_deal_id() -> str:
    """12 digits."""
    return f"{secrets.randbelow(9 * 10**11) + 10**11}"

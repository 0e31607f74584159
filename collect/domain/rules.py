"""What may be bound, asked for and typed in. Pure."""

from __future__ import annotations

import re
from enum import StrEnum

from foundation.money import fen_from_yuan_text

WECHAT, ALIPAY = "wechat", "alipay"
CHANNELS = (WECHAT, ALIPAY)
"""Whose service-provider mode we have; 99bill has none."""

MAX_AMOUNT_FEN = 50_000_00
"""Of one collection, 50 000 yuan: our own limit, a slip of the finger on the key pad should not pass it."""
SUBJECT_MAX_CHARACTERS = 60
"""As an order's subject elsewhere; what a provider takes less of, its adapter cuts."""
CRM_ORDER_NO = re.compile(r"[0-9A-Za-z_.\-/]{1,64}", re.ASCII)
ID_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
"""No 0/o, 1/i/l: people read codes from posters."""
ID_LENGTH = 14
"""31^14: 69 bits. At a million codes and a thousand guesses a second a hit takes some 20 000 years."""

_SUB_MERCHANT_NO = {
    WECHAT: re.compile(r"[0-9]{8,10}", re.ASCII),
    ALIPAY: re.compile(r"2088[0-9]{12}", re.ASCII),
}
_SUB_APPID = re.compile(r"wx[0-9a-f]{16}", re.ASCII)
_TYPED_YUAN = re.compile(r"(0|[1-9][0-9]{0,6})(\.[0-9]{1,2})?", re.ASCII)


class CodeKind(StrEnum):
    """PLAIN: any amount, or a fixed one, many times. ORDER: one sales order of the CRM, paid once."""

    PLAIN = "plain"
    ORDER = "order"


class NotAnAmount(ValueError):
    """What the payer typed is no amount, or not within the limits; `reason` is lower-case machine text."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def is_sub_merchant_no(*, channel: str, number: str) -> bool:
    """WeChat's sub_mchid (8 to 10 digits) or the merchant's Alipay user id (2088 and 12 digits)."""
    pattern = _SUB_MERCHANT_NO.get(channel)
    return pattern is not None and pattern.fullmatch(number) is not None


def is_sub_appid(*, channel: str, appid: str) -> bool:
    """Nothing at all or, for WeChat only, an appid."""
    return appid == "" or (channel == WECHAT and _SUB_APPID.fullmatch(appid) is not None)


def is_id(text: str) -> bool:
    """The form of a code's or payment's id; says nothing about whether there is one."""
    return len(text) == ID_LENGTH and all(character in ID_ALPHABET for character in text)


def read_typed_amount(text: str) -> int:
    """Fen of what a payer typed in yuan: 1 … MAX_AMOUNT_FEN. Raises NotAnAmount for all else, never rounds.

    ASCII digits only, at most two decimals; no sign, exponent, grouping, blanks or leading zeros.
    """
    if not _TYPED_YUAN.fullmatch(text):
        raise NotAnAmount("malformed")
    return check_amount(fen_from_yuan_text(text))


def check_amount(amount_fen: int) -> int:
    """The amount, when it is within the limits. Raises NotAnAmount `zero` or `over_limit`."""
    if amount_fen < 1:
        raise NotAnAmount("zero")
    if amount_fen > MAX_AMOUNT_FEN:
        raise NotAnAmount("over_limit")
    return amount_fen

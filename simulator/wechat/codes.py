"""Numbers and codes that WeChat gives out."""

from __future__ import annotations

import secrets
import string

from simulator.clock import moment

CODE_PREFIX = "weixin://wxpay/bizpayurl?pr="
_LETTERS = string.ascii_letters + string.digits


def new_code() -> str:
    """What a native QR code says."""
    return CODE_PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(12))


def new_transaction_id(*, now: float) -> str:
    """28 digits, the Beijing day inside."""
    return f"4200{secrets.randbelow(10**6):06d}{moment(now):%Y%m%d}{secrets.randbelow(10**10):010d}"


def new_refund_id(*, now: float) -> str:
    """29 digits, the Beijing day inside."""
    return f"5030{secrets.randbelow(10**7):07d}{moment(now):%Y%m%d}{secrets.randbelow(10**10):010d}"

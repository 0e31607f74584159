"""Numbers and codes that WeChat gives out."""

from __future__ import annotations

import base64
import secrets
import string

from simulator.clock import moment

CODE_PREFIX = "weixin://wxpay/bizpayurl?pr="
_LETTERS = string.ascii_letters + string.digits


def new_code() -> str:
    """What a native QR code says."""
    return CODE_PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(12))


def new_prepay_id(*, now: float) -> str:
    """`wx`, the Beijing time, 18 hexadecimal digits."""
    return f"wx{moment(now):%d%H%M%S}{secrets.token_hex(13)}0000"


def new_package_info() -> str:
    """What a client opens the confirmation of a transfer with."""
    return base64.b64encode(secrets.token_bytes(33)).decode("ascii")


def new_transfer_bill_id(*, now: float) -> str:
    """40 digits, the Beijing day inside."""
    return f"1330000{secrets.randbelow(10**12):012d}{moment(now):%Y%m%d}{secrets.randbelow(10**13):013d}"


def new_transaction_id(*, now: float) -> str:
    """28 digits, the Beijing day inside."""
    return f"4200{secrets.randbelow(10**6):06d}{moment(now):%Y%m%d}{secrets.randbelow(10**10):010d}"


def new_refund_id(*, now: float) -> str:
    """29 digits, the Beijing day inside."""
    return f"5030{secrets.randbelow(10**7):07d}{moment(now):%Y%m%d}{secrets.randbelow(10**10):010d}"

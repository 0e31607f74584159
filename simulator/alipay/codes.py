"""Numbers and codes that Alipay gives out."""

from __future__ import annotations

import secrets
import string

from simulator.clock import moment

QR_PREFIX = "https://qr.alipay.com/bax"
CASHIER_PREFIX = "alipays://cashier/"
"""What stands for the page of a page or wap payment."""
_LETTERS = string.ascii_lowercase + string.digits


def new_qr_code() -> str:
    """What a precreated QR code says."""
    return QR_PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(21))


def new_cashier_code() -> str:
    return CASHIER_PREFIX + secrets.token_hex(16)


def new_number(*, now: float) -> str:
    """28 digits, the Beijing day first: trades, refunds, transfers."""
    return f"{moment(now):%Y%m%d}22001{secrets.randbelow(10**15):015d}"


def new_transfer_code() -> str:
    """Nobody opens it: an account is paid without its owner's doing."""
    return f"alipays://transfer/{secrets.token_hex(16)}"

"""What an approval is about, and how many of them a withdrawal needs. Pure.

Source: the requirements (提现, 资金安全), design `money.md` (Withdrawal) and `admin.md` (four eyes).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything that decides who gets how much: what an approver sees and signs.

    Amount and fee in fen; `payee_index` is the blind index of the payee's account, so that no card number stands here.
    """

    order_no: str
    employee_id: int
    amount_fen: int
    fee_fen: int
    channel: str
    payee_index: str
    payee_name_index: str
    bank_code: str

    def digest(self, key: bytes) -> str:
        """64 hex digits over all fields, keyed: the database alone cannot make one."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def approvals_needed(*, amount_fen: int, two_above_fen: int) -> int:
    """One approver, two different ones above the limit (the limit itself still needs one)."""
    return 2 if amount_fen > two_above_fen else 1

"""What every channel offers, in the platform's own words. Pure: no Django, no clock, no provider.

Amounts are integer fen, times are aware, numbers are ours (`attempt_no`, `refund_no`) and fixed before the call, so
that every call is safe to repeat. A call never raises for what a provider or the network does: it answers UNKNOWN, and
the query decides later. FAILED is only said when the provider positively says that nothing happened or will happen.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from foundation.money import is_amount_fen

CODE_NOT_FOUND = "not_found"
"""UNKNOWN: the provider does not know the number (never stored, or not visible yet)."""
CODE_ALREADY_PAID = "already_paid"
"""FAILED answer of a close: the payment was made."""
CODE_ABNORMAL = "abnormal"
"""PENDING refund that stands still until staff act at the provider."""


class Outcome(StrEnum):
    """The only four things a provider can tell us. Their meaning for each call stands at the protocols below."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"


class NoticeKind(StrEnum):
    """What a notice speaks of: `number` is an attempt number or a refund number."""

    PAYMENT = "PAYMENT"
    REFUND = "REFUND"


@dataclass(frozen=True, kw_only=True)
class PrepayRequest:
    """A payment to be prepared. `scene`: native, page, h5 or jsapi. `expires_at`: the provider closes it then.

    `payer_id` (the provider's id of the payer) is needed by jsapi, `payer_ip` by h5. `subject` of any length: the
    adapter cuts it to what its provider takes.
    """

    attempt_no: str
    amount_fen: int
    subject: str
    scene: str
    expires_at: dt.datetime
    notify_url: str
    payer_id: str = ""
    payer_ip: str = ""

    def __post_init__(self) -> None:
        if not is_amount_fen(self.amount_fen) or not self.subject.strip() or self.expires_at.tzinfo is None:
            raise ValueError(f"not a payment: {self.attempt_no} {self.amount_fen} {self.expires_at}")


@dataclass(frozen=True, kw_only=True)
class RefundRequest:
    """`amount_fen` of the `paid_fen` that `attempt_no` was paid with go back to the payer under `refund_no`."""

    refund_no: str
    attempt_no: str
    amount_fen: int
    paid_fen: int
    reason: str
    notify_url: str

    def __post_init__(self) -> None:
        if not is_amount_fen(self.amount_fen) or not is_amount_fen(self.paid_fen) or self.amount_fen > self.paid_fen:
            raise ValueError(f"not a refund: {self.refund_no} {self.amount_fen} of {self.paid_fen}")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A provider's answer. `code` is lower-case machine text, `message` the provider's words for staff.

    `amount_fen`: what was paid or refunded, when the provider says so. `payment`: what the client needs to let the
    person pay (api.md `payment`), only after a successful prepay.
    """

    outcome: Outcome
    code: str = ""
    message: str = ""
    provider_no: str = ""
    amount_fen: int | None = None
    happened_at: dt.datetime | None = None
    payment: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class NoticeFact:
    """What a verified notice says: signature, age, merchant, application and currency have been checked.

    Whether the number and the amount are those of an order of ours is for the caller to check.
    """

    event_id: str
    kind: NoticeKind
    number: str
    result: Result


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The literal HTTP answer to a provider's notice."""

    status: int
    content_type: str
    body: bytes


class NoticeInvalid(Exception):
    """A notice that must change nothing. `reason` is lower-case machine text, kept with the raw notice.

    `is_signed`: the provider's signature was right and the content is still not acceptable; staff should look.
    """

    def __init__(self, reason: str, *, is_signed: bool = False) -> None:
        self.reason = reason
        self.is_signed = is_signed
        super().__init__(reason)


class Prepay(Protocol):
    def prepay(self, request: PrepayRequest) -> Result:
        """SUCCESS: prepared, `payment` is set. FAILED: refused, no payment can follow. Else UNKNOWN."""
        ...


class Query(Protocol):
    def query(self, *, attempt_no: str) -> Result:
        """SUCCESS: paid. PENDING: not paid yet. FAILED: closed or revoked for ever. Else UNKNOWN (`not_found`)."""
        ...


class Close(Protocol):
    def close(self, *, attempt_no: str) -> Result:
        """SUCCESS: closed, cannot be paid any more. FAILED `already_paid`. Else UNKNOWN (`not_found`)."""
        ...


class Refund(Protocol):
    def refund(self, request: RefundRequest) -> Result:
        """SUCCESS: the payer has it. PENDING: accepted. FAILED: closed, the money stays with us. Else UNKNOWN."""
        ...


class RefundQuery(Protocol):
    def query_refund(self, *, refund_no: str) -> Result:
        """As `refund`; PENDING `abnormal` waits for staff; UNKNOWN `not_found`: ask for the same refund again."""
        ...


class NoticeReader(Protocol):
    def read_notice(self, *, headers: Mapping[str, str], body: bytes, now: dt.datetime) -> NoticeFact:
        """The checked content of a notice; raises NoticeInvalid for anything else and nothing but that."""
        ...

    @staticmethod
    def success_answer() -> Answer:
        """What tells the provider that the notice arrived and need not be sent again."""
        ...

    @staticmethod
    def failure_answer(message: str) -> Answer:
        """What makes the provider send the notice again."""
        ...


class PaymentChannel(Prepay, Query, Close, Refund, RefundQuery, NoticeReader, Protocol):
    """A channel that can do all of it."""

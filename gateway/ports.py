"""What every channel offers, in the platform's own words. Pure: no Django, no clock, no provider.

Amounts are integer fen, times are aware, numbers are ours (`attempt_no`, `refund_no`) and fixed before the call, so
that every call is safe to repeat. A call never raises for what a provider or the network does: it answers UNKNOWN, and
the query decides later. FAILED is only said when the provider positively says that nothing happened or will happen.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from foundation.money import is_amount_fen

CODE_NOT_FOUND = "not_found"
"""UNKNOWN: the provider does not know the number (never stored, or not visible yet)."""
CODE_ALREADY_PAID = "already_paid"
"""FAILED answer of a close: the payment was made."""
CODE_NO_CLOSE = "no_close"
"""UNKNOWN answer of a close: the provider has no close, and has just called the payment unpaid. It ends there by the
`expires_at` of its prepay; the same answer after this moment is the proof that it was never paid."""
CODE_ABNORMAL = "abnormal"
"""PENDING refund that stands still until staff act at the provider."""
CODE_WAIT_USER_CONFIRM = "wait_user_confirm"
"""PENDING payout: nothing moves until the payee confirms; `payment` says how ({"kind": "confirm", ...})."""
CODE_RETURNED = "returned"
"""FAILED payout that had succeeded before: the payee's bank sent the money back to us."""
CODE_CANCELLED = "cancelled"
"""FAILED payout that was cancelled before anything was paid."""
CODE_EXPIRED = "expired"
"""FAILED payout whose payee did not confirm in time; only the provider says so, never our clock."""


class Outcome(StrEnum):
    """The only four things a provider can tell us. Their meaning for each call stands at the protocols below."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"


class NoticeKind(StrEnum):
    """What a notice speaks of: `number` is an attempt number, a refund number or a payout number."""

    PAYMENT = "PAYMENT"
    REFUND = "REFUND"
    PAYOUT = "PAYOUT"


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """A merchant's own account, when we ask as his service provider: the payer's money goes there, never through ours.

    `account_no`: WeChat's sub_mchid, or the merchant's Alipay user id. `appid`: his sub_appid at WeChat, "" without.
    """

    account_no: str
    appid: str = ""


FindReceiver = Callable[[str], Receiver | None]
"""Whose account an attempt is for; None: our own. Adapters ask it for every call and notice about an attempt."""


def our_own(attempt_no: str) -> None:
    """FindReceiver of an adapter that takes no payments for others."""


@dataclass(frozen=True, kw_only=True)
class PrepayRequest:
    """A payment to be prepared. `scene`: native, page, h5 or jsapi. `expires_at`: the provider closes it then.

    `payer_id` (the provider's id of the payer) is needed by jsapi, `payer_ip` by h5. `subject` of any length: the
    adapter cuts it to what its provider takes. `return_url`: where page and h5 send the payer afterwards, "" nowhere;
    his coming back proves no payment.
    """

    attempt_no: str
    amount_fen: int
    subject: str
    scene: str
    expires_at: dt.datetime
    notify_url: str
    payer_id: str = ""
    payer_ip: str = ""
    return_url: str = ""

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
class PayoutRequest:
    """`amount_fen` leave our account for the payee's, once for ever under `payout_no`.

    `payee_account`: openid, login id or card number, whatever the channel pays to. `payee_name`: the real name, checked
    by the provider when given ("" where the channel allows none). `remark` of any length: the adapter cuts it.
    `is_first`: nothing was ever sent under this number, say so only when that is certain; then, and only then, a
    refusal of the request itself is FAILED, for a repeated one it is UNKNOWN. The bank's particulars are for channels
    that pay to cards. Account, name and mobile stay out of `repr`, so out of logs.
    """

    payout_no: str
    amount_fen: int
    payee_account: str = field(repr=False)
    payee_name: str = field(repr=False)
    remark: str
    notify_url: str
    is_first: bool = False
    bank_code: str = ""
    bank_name: str = ""
    branch_name: str = ""
    province: str = ""
    city: str = ""
    mobile: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not is_amount_fen(self.amount_fen) or not self.payee_account.strip() or not self.remark.strip():
            raise ValueError(f"not a payout: {self.payout_no} {self.amount_fen}")


@dataclass(frozen=True, kw_only=True)
class CardVerification:
    """Do card, name, identity number and mobile belong to one person? All of it stays out of `repr`."""

    verification_no: str
    card_no: str = field(repr=False)
    holder_name: str = field(repr=False)
    identity_no: str = field(default="", repr=False)
    mobile: str = field(default="", repr=False)
    bank_code: str = ""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A provider's answer. `code` is lower-case machine text, `message` the provider's words for staff.

    `amount_fen`: what was paid, refunded or paid out, when the provider says so. `payment`: what the client needs to
    let the person act: after a successful prepay (api.md `payment`), and while a payout is `wait_user_confirm`.
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

    Whether the number and the amount are those of an order of ours is for the caller to check. `answer`: what this very
    notice is to be answered with once it is processed, where the channel's ordinary `success_answer` will not do.
    """

    event_id: str
    kind: NoticeKind
    number: str
    result: Result
    answer: Answer | None = None


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


class BillKind(StrEnum):
    """Which file of a day. A channel names those it has in `bill_kinds`."""

    TRADE = "TRADE"
    """Payments and refunds."""
    TRADE_PAID = "TRADE_PAID"
    """Payments only."""
    TRADE_REFUND = "TRADE_REFUND"
    """Refunds only."""
    FUND_FLOW = "FUND_FLOW"
    """Every movement of our account at the provider: payouts are here and nowhere else."""


class BillState(StrEnum):
    """NOT_READY: ask again later. NO_BILL: the provider says there is none (trust it only late in the day, and only
    when we know of no movement either). UNKNOWN: no usable answer; `code` says why, ask again."""

    READY = "READY"
    NOT_READY = "NOT_READY"
    NO_BILL = "NO_BILL"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, kw_only=True)
class Bill:
    """A day's file. `content`: its bytes, unpacked from the transport's gzip only.

    `provider_hash`: "sha1:<hex>" as the provider gave it, "" where it gives none. `is_checked`: the content has this
    hash. A READY bill is never one whose hash was given and wrong: that is UNKNOWN `hash_mismatch`, with its content
    as evidence.
    """

    state: BillState
    code: str = ""
    message: str = ""
    content: bytes = field(default=b"", repr=False)
    provider_hash: str = ""
    is_checked: bool = False


class BillRowKind(StrEnum):
    """What a row is to us. OTHER: a movement that no order of ours stands behind (fees, top-ups of our account, …)."""

    PAYMENT = "PAYMENT"
    REFUND = "REFUND"
    PAYOUT = "PAYOUT"
    OTHER = "OTHER"


@dataclass(frozen=True, kw_only=True)
class BillRow:
    """One row in the platform's words. Amounts are positive fen; `is_incoming`: towards our account at the provider.

    `number`: ours (attempt, refund or payout number), "" where the file has none. `payment_no`: of the refunded
    payment. `fee_milli_fen`: thousandths of a fen, as providers round no earlier; negative when given back. `outcome`
    as in Result. `line_no` counts from 1 in the file.
    """

    line_no: int
    kind: BillRowKind
    number: str
    provider_no: str
    amount_fen: int
    is_incoming: bool
    outcome: Outcome
    happened_at: dt.datetime
    payment_no: str = ""
    provider_payment_no: str = ""
    fee_milli_fen: int = 0
    balance_fen: int | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class BillContent:
    """A parsed bill. `problems`: where rows and summary of the file itself disagree, as lower-case machine text."""

    rows: tuple[BillRow, ...]
    summary: Mapping[str, str]
    problems: tuple[str, ...]


class BillInvalid(Exception):
    """A file that cannot be read as the bill it should be; nothing of it must be used. `line_no` 0: the whole."""

    def __init__(self, reason: str, *, line_no: int = 0) -> None:
        self.reason = reason
        self.line_no = line_no
        super().__init__(f"{reason} (line {line_no})" if line_no else reason)


@runtime_checkable
class Prepay(Protocol):
    def prepay(self, request: PrepayRequest) -> Result:
        """SUCCESS: prepared, `payment` is set. FAILED: refused, no payment can follow. Else UNKNOWN."""
        ...


@runtime_checkable
class Query(Protocol):
    def query(self, *, attempt_no: str) -> Result:
        """SUCCESS: paid. PENDING: not paid yet. FAILED: closed or revoked for ever. Else UNKNOWN (`not_found`)."""
        ...


@runtime_checkable
class Close(Protocol):
    def close(self, *, attempt_no: str) -> Result:
        """SUCCESS: closed, cannot be paid any more. FAILED `already_paid`. Else UNKNOWN (`not_found`, `no_close`)."""
        ...


@runtime_checkable
class Refund(Protocol):
    def refund(self, request: RefundRequest) -> Result:
        """SUCCESS: the payer has it. PENDING: accepted. FAILED: closed, the money stays with us. Else UNKNOWN."""
        ...


@runtime_checkable
class RefundQuery(Protocol):
    def query_refund(self, *, refund_no: str, attempt_no: str = "") -> Result:
        """As `refund`; PENDING `abnormal` waits for staff; UNKNOWN `not_found`: ask for the same refund again.

        `attempt_no`: the payment that goes back. Always give it: Alipay finds a refund by both numbers only.
        """
        ...


@runtime_checkable
class NoticeReader(Protocol):
    def read_notice(self, *, headers: Mapping[str, str], body: bytes, now: dt.datetime) -> NoticeFact:
        """The checked content of a notice; raises NoticeInvalid for anything else and nothing but that.

        `body`: the raw bytes of a POST; for channels that notify by GET the raw query string, undecoded.
        """
        ...

    @staticmethod
    def success_answer() -> Answer:
        """What tells the provider that the notice arrived and need not be sent again."""
        ...

    @staticmethod
    def failure_answer(message: str) -> Answer:
        """What makes the provider send the notice again."""
        ...


@runtime_checkable
class PaymentChannel(Prepay, Query, Close, Refund, RefundQuery, NoticeReader, Protocol):
    """A channel that can take payments and give them back."""


@runtime_checkable
class Payout(Protocol):
    def pay_out(self, request: PayoutRequest) -> Result:
        """Sends money to the payee. SUCCESS: paid. PENDING: accepted (`wait_user_confirm`: `payment` is set).

        FAILED: surely not paid and never will be under this number. Else UNKNOWN: query, and at most send the same
        number with the same content again, never another number.
        """
        ...


@runtime_checkable
class PayoutQuery(Protocol):
    def query_payout(self, *, payout_no: str) -> Result:
        """As `pay_out`. FAILED `returned`: it had been paid and came back. UNKNOWN `not_found`: not known (yet)."""
        ...


@runtime_checkable
class PayoutCancel(Protocol):
    def cancel_payout(self, *, payout_no: str) -> Result:
        """Withdraws a payout that waits for its payee. FAILED `cancelled`: done, nothing was or will be paid.

        PENDING: being cancelled. SUCCESS: it was paid before. Else UNKNOWN: the query decides.
        """
        ...


@runtime_checkable
class BillSource(Protocol):
    @property
    def bill_kinds(self) -> frozenset[BillKind]:
        """The kinds the other two take; ValueError for the rest."""
        ...

    def download_bill(self, *, day: dt.date, kind: BillKind) -> Bill:
        """The file of one day of Asia/Shanghai, fetched anew each time. Never raises for provider or network."""
        ...

    def read_bill(self, *, kind: BillKind, content: bytes) -> BillContent:
        """Parses what `download_bill` gave. Raises BillInvalid and nothing else, whatever the bytes are."""
        ...


@runtime_checkable
class CardVerifier(Protocol):
    def verify_card(self, request: CardVerification) -> Result:
        """SUCCESS: all given particulars belong together. FAILED: they do not (`code`). Else UNKNOWN: ask again."""
        ...

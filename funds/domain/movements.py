"""Every movement of money there is, one function for each row of design `money.md` ("Movements").

Each returns an Entry; nothing else in the system builds lines. Amounts are positive fen, else InvalidEntry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from foundation.money import is_amount_fen
from funds.domain.entries import (
    AccountRef,
    Bucket,
    Category,
    Entry,
    InvalidEntry,
    Line,
    OpenHold,
    ReleaseHold,
    SpendHold,
    platform_account,
)

BANK = "1010"
CHANNEL_CLEARING = "1110"
PAYOUT_FLOAT = "1120"
PAYOUT_IN_TRANSIT = "2310"
REFUND_IN_TRANSIT = "2320"
PAYMENTS_TO_RETURN = "2410"
MEMO_RECEIVABLE = "9010"
MEMO_CONTRA = "9020"


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """Who gets how much of a settlement."""

    account: AccountRef
    amount_fen: int


class Place(NamedTuple):
    """Where money leaves or arrives: one bucket of one account, and what that means for the enterprise rule."""

    account: AccountRef
    bucket: Bucket
    category: Category


def _available(account: AccountRef, category: Category) -> Place:
    return Place(account, Bucket.AVAILABLE, category)


def _frozen(account: AccountRef, category: Category) -> Place:
    return Place(account, Bucket.FROZEN, category)


def _platform(code: str, channel: str) -> Place:
    return Place(platform_account(code, channel), Bucket.AVAILABLE, Category.PLATFORM)


def _line(place: Place, amount_fen: int) -> Line:
    return Line(account=place.account, bucket=place.bucket, amount_fen=amount_fen, category=place.category)


def _check_amount(amount_fen: int) -> None:
    """A movement has one direction: a negative amount would be its opposite under the wrong name."""
    if not is_amount_fen(amount_fen):
        raise InvalidEntry(f"not a positive amount: {amount_fen!r}")


def _lines(amount_fen: int, debited: Place, credited: Place) -> tuple[Line, Line]:
    """Dr → Cr of a positive amount; raises InvalidEntry for any other."""
    _check_amount(amount_fen)
    return _line(debited, -amount_fen), _line(credited, amount_fen)


def recharge(*, order_no: str, attempt_no: str, channel: str, owner: AccountRef, amount_fen: int) -> Entry:
    """1110 channel → 2010 of the owner. Keyed by the order, so an order has one effective success."""
    return Entry(
        kind="recharge",
        reference=order_no,
        order_no=order_no,
        source_no=attempt_no,
        lines=_lines(amount_fen, _platform(CHANNEL_CLEARING, channel), _available(owner, Category.RECHARGE)),
    )


def recharge_into_hold(
    *, order_no: str, attempt_no: str, channel: str, owner: AccountRef, amount_fen: int, hold_key: str
) -> Entry:
    """1110 channel → 2020 of the owner and the hold, in one journal: no other debit can come in between.

    The kind is "recharge" as well, on purpose: one effective success per order, whatever it pays for.
    """
    return Entry(
        kind="recharge",
        reference=order_no,
        order_no=order_no,
        source_no=attempt_no,
        lines=_lines(amount_fen, _platform(CHANNEL_CLEARING, channel), _frozen(owner, Category.RECHARGE)),
        holds=(OpenHold(key=hold_key, account=owner, amount_fen=amount_fen),),
    )


def freeze(*, order_no: str, owner: AccountRef, amount_fen: int, hold_key: str) -> Entry:
    """2010 → 2020 of the owner and the hold."""
    return Entry(
        kind="freeze",
        reference=order_no,
        order_no=order_no,
        source_no=order_no,
        lines=_lines(amount_fen, _available(owner, Category.INTERNAL), _frozen(owner, Category.INTERNAL)),
        holds=(OpenHold(key=hold_key, account=owner, amount_fen=amount_fen),),
    )


def settle_shares(
    *, reference: str, order_no: str, sender: AccountRef, hold_key: str, receivers: Sequence[Receiver]
) -> Entry:
    """Sender's 2020 (spends the hold) → 2010 of each receiver. One line per receiver; the sender may be one."""
    sums: dict[AccountRef, int] = defaultdict(int)
    for receiver in receivers:
        _check_amount(receiver.amount_fen)
        sums[receiver.account] += receiver.amount_fen
    total_fen = sum(sums.values())
    return Entry(
        kind="share_settlement",
        reference=reference,
        order_no=order_no,
        source_no=hold_key,
        lines=(
            _line(_frozen(sender, Category.CONSUMPTION), -total_fen),
            *(_line(_available(account, Category.INCOME), amount) for account, amount in sorted(sums.items())),
        ),
        holds=(SpendHold(key=hold_key, account=sender, amount_fen=total_fen),),
    )


def release_rest(*, reference: str, order_no: str, owner: AccountRef, hold_key: str, amount_fen: int) -> Entry:
    """2020 → 2010 of the owner: what is left of a hold goes back."""
    return Entry(
        kind="hold_release",
        reference=reference,
        order_no=order_no,
        source_no=hold_key,
        lines=_lines(amount_fen, _frozen(owner, Category.INTERNAL), _available(owner, Category.INTERNAL)),
        holds=(ReleaseHold(key=hold_key, account=owner, amount_fen=amount_fen),),
    )


def refund_from_hold(
    *, refund_no: str, order_no: str, owner: AccountRef, hold_key: str, amount_fen: int, channel: str
) -> Entry:
    """What is left of a hold → 2320 refund in transit, while the provider is asked."""
    return Entry(
        kind="refund_start",
        reference=refund_no,
        order_no=order_no,
        source_no=hold_key,
        lines=_lines(amount_fen, _frozen(owner, Category.RECHARGE), _platform(REFUND_IN_TRANSIT, channel)),
        holds=(ReleaseHold(key=hold_key, account=owner, amount_fen=amount_fen),),
    )


def return_start(*, refund_no: str, order_no: str, amount_fen: int, channel: str) -> Entry:
    """2410 payments to return → 2320 refund in transit."""
    return Entry(
        kind="refund_start",
        reference=refund_no,
        order_no=order_no,
        source_no=refund_no,
        lines=_lines(amount_fen, _platform(PAYMENTS_TO_RETURN, channel), _platform(REFUND_IN_TRANSIT, channel)),
    )


def refund_done(*, refund_no: str, order_no: str, channel: str, amount_fen: int) -> Entry:
    """2320 → 1110: the provider gave the money back."""
    return Entry(
        kind="refund_done",
        reference=refund_no,
        order_no=order_no,
        source_no=refund_no,
        lines=_lines(amount_fen, _platform(REFUND_IN_TRANSIT, channel), _platform(CHANNEL_CLEARING, channel)),
    )


def refund_failed(*, refund_no: str, order_no: str, channel: str, owner: AccountRef, amount_fen: int) -> Entry:
    """2320 → 2010 of the owner: the provider closed the refund, the money stays with us and is his."""
    return Entry(
        kind="refund_failed",
        reference=refund_no,
        order_no=order_no,
        source_no=refund_no,
        lines=_lines(amount_fen, _platform(REFUND_IN_TRANSIT, channel), _available(owner, Category.RECHARGE)),
    )


def receipt_to_return(*, order_no: str, attempt_no: str, channel: str, amount_fen: int) -> Entry:
    """1110 → 2410: paid a second time, or after the order ended."""
    return Entry(
        kind="receipt_to_return",
        reference=attempt_no,
        order_no=order_no,
        source_no=attempt_no,
        lines=_lines(amount_fen, _platform(CHANNEL_CLEARING, channel), _platform(PAYMENTS_TO_RETURN, channel)),
    )


def transfer(*, order_no: str, payer: AccountRef, payee: AccountRef, amount_fen: int) -> Entry:
    """2010 of the payer → 2010 of the payee."""
    return Entry(
        kind="transfer",
        reference=order_no,
        order_no=order_no,
        source_no=order_no,
        lines=_lines(
            amount_fen,
            debited=_available(payer, Category.CONSUMPTION),
            credited=_available(payee, Category.INCOME),
        ),
    )


def payment_from_wallet(
    *, order_no: str, attempt_no: str, payer: AccountRef, business: AccountRef, amount_fen: int
) -> Entry:
    """2010 of the payer → 2110 of the enterprise whose business asked for the payment.

    The kind is "recharge" as well, on purpose: a wallet and a channel never both pay one order.
    """
    return Entry(
        kind="recharge",
        reference=order_no,
        order_no=order_no,
        source_no=attempt_no,
        lines=_lines(
            amount_fen,
            debited=_available(payer, Category.CONSUMPTION),
            credited=_available(business, Category.INCOME),
        ),
    )


def withdrawal_freeze(*, order_no: str, owner: AccountRef, amount_fen: int) -> Entry:
    """2010 → 2020 of the owner and the hold, whose key is the withdrawal's order.

    A kind of its own: the order of a "freeze" is paid by it, this one's only waits for approval.
    """
    return Entry(
        kind="withdrawal_freeze",
        reference=order_no,
        order_no=order_no,
        source_no=order_no,
        lines=_lines(amount_fen, _available(owner, Category.INTERNAL), _frozen(owner, Category.INTERNAL)),
        holds=(OpenHold(key=order_no, account=owner, amount_fen=amount_fen),),
    )


def withdrawal_sent(*, order_no: str, payout_no: str, channel: str, owner: AccountRef, amount_fen: int) -> Entry:
    """The hold → 2310 payout in transit, before the provider is asked for the first time."""
    return Entry(
        kind="withdrawal_sent",
        reference=order_no,
        order_no=order_no,
        source_no=payout_no,
        lines=_lines(amount_fen, _frozen(owner, Category.WITHDRAWAL), _platform(PAYOUT_IN_TRANSIT, channel)),
        holds=(SpendHold(key=order_no, account=owner, amount_fen=amount_fen),),
    )


def withdrawal_paid(*, order_no: str, payout_no: str, channel: str, amount_fen: int) -> Entry:
    """2310 → 1120: the provider paid it out of the prefunded balance."""
    return Entry(
        kind="withdrawal_paid",
        reference=order_no,
        order_no=order_no,
        source_no=payout_no,
        lines=_lines(amount_fen, _platform(PAYOUT_IN_TRANSIT, channel), _platform(PAYOUT_FLOAT, channel)),
    )


def withdrawal_failed(*, order_no: str, payout_no: str, channel: str, owner: AccountRef, amount_fen: int) -> Entry:
    """2310 → 2010 of the owner: the provider surely did not pay. Of category WITHDRAWAL, so that the sum is nothing."""
    return Entry(
        kind="withdrawal_failed",
        reference=order_no,
        order_no=order_no,
        source_no=payout_no,
        lines=_lines(amount_fen, _platform(PAYOUT_IN_TRANSIT, channel), _available(owner, Category.WITHDRAWAL)),
    )


def withdrawal_returned(*, order_no: str, payout_no: str, channel: str, owner: AccountRef, amount_fen: int) -> Entry:
    """1120 → 2010 of the owner: the bank sent a payout back that had succeeded."""
    return Entry(
        kind="withdrawal_returned",
        reference=order_no,
        order_no=order_no,
        source_no=payout_no,
        lines=_lines(amount_fen, _platform(PAYOUT_FLOAT, channel), _available(owner, Category.WITHDRAWAL)),
    )


def prefund_payouts(*, reference: str, channel: str, bank: str, amount_fen: int) -> Entry:
    """1010 → 1120: money of ours moved from the bank account to the channel's payout balance."""
    return Entry(
        kind="payout_prefund",
        reference=reference,
        source_no=reference,
        lines=_lines(amount_fen, _platform(PAYOUT_FLOAT, channel), _platform(BANK, bank)),
    )


def collected(*, order_no: str, attempt_no: str, enterprise_id: int, amount_fen: int) -> Entry:
    """9010 → 9020 of the enterprise, memo only: a payer paid straight into its own account at the provider.

    Keyed by the order, so that an order has one effective success.
    """
    return Entry(
        kind="collected",
        reference=order_no,
        order_no=order_no,
        source_no=attempt_no,
        lines=_lines(amount_fen, _memo(MEMO_RECEIVABLE, enterprise_id), _memo(MEMO_CONTRA, enterprise_id)),
    )


def collected_to_return(*, order_no: str, attempt_no: str, enterprise_id: int, amount_fen: int) -> Entry:
    """As `collected`, for what was paid a second time or after the order ended: the merchant has it until returned."""
    return Entry(
        kind="collected_to_return",
        reference=attempt_no,
        order_no=order_no,
        source_no=attempt_no,
        lines=_lines(amount_fen, _memo(MEMO_RECEIVABLE, enterprise_id), _memo(MEMO_CONTRA, enterprise_id)),
    )


def collection_refunded(*, refund_no: str, order_no: str, enterprise_id: int, amount_fen: int) -> Entry:
    """9020 → 9010 of the enterprise, memo only: its account at the provider gave the money back to the payer."""
    return Entry(
        kind="collection_refunded",
        reference=refund_no,
        order_no=order_no,
        source_no=refund_no,
        lines=_lines(amount_fen, _memo(MEMO_CONTRA, enterprise_id), _memo(MEMO_RECEIVABLE, enterprise_id)),
    )


def _memo(code: str, enterprise_id: int) -> Place:
    return _platform(code, str(enterprise_id))

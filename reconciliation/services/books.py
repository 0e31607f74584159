"""Our side: what orders and withdrawals say of an account's day, in the words of the comparison.

Trade bills are compared with payments and refunds, fund-flow bills with payouts; what else a fund flow has (payments,
refunds, fees) is proved by the trade bill and by its own balances. The account "" is our own: collections for
merchants, whose money never comes to us, are left out there and are all that counts elsewhere.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping

from django.conf import settings

from foundation import clock
from gateway import selectors as gateway
from gateway.ports import BillKind, BillRowKind, Outcome
from orders.domain.states import AttemptState
from orders.selectors import days
from reconciliation.domain.matching import Key
from reconciliation.domain.records import OurRow
from reconciliation.models import Run
from withdrawals import selectors as withdrawals
from withdrawals.domain.states import WithdrawalState
from withdrawals.models import Withdrawal

WANTED: dict[BillKind, frozenset[BillRowKind]] = {
    BillKind.TRADE: frozenset({BillRowKind.PAYMENT, BillRowKind.REFUND}),
    BillKind.TRADE_PAID: frozenset({BillRowKind.PAYMENT}),
    BillKind.TRADE_REFUND: frozenset({BillRowKind.REFUND}),
    BillKind.FUND_FLOW: frozenset({BillRowKind.PAYOUT}),
}
"""Which rows of a bill are compared."""
SAME_ACCOUNT = {"wechat": ("wechat", "wechat_legacy")}
"""Channels whose payouts leave the account of another one's fund flow: the old payout product has none of its own."""
_OUTCOMES = {
    AttemptState.SUCCESS: Outcome.SUCCESS,
    AttemptState.FAILED: Outcome.FAILED,
    AttemptState.CLOSED: Outcome.FAILED,
}
_PAYOUT_OUTCOMES = {
    WithdrawalState.SUCCESS: Outcome.SUCCESS,
    WithdrawalState.RETURNED: Outcome.SUCCESS,
    WithdrawalState.FAILED: Outcome.FAILED,
}


def day_bounds(day: dt.date) -> tuple[dt.datetime, dt.datetime]:
    """[first moment, first moment of the next day) of a business day."""
    return clock.day_start(day), clock.day_start(day + dt.timedelta(days=1))


def iterate(*, run: Run) -> Iterator[OurRow]:
    """Our rows of the run's account and day, in no order."""
    start, end = day_bounds(run.day)
    wanted = WANTED[BillKind(run.kind)]
    if BillRowKind.PAYOUT in wanted:
        for channel in () if run.account else _payout_channels(run):
            for row in withdrawals.iterate_payouts(channel=channel, start=start, end=end):
                yield _payout(row)
            for row, at in withdrawals.iterate_returned(channel=channel, start=start, end=end):
                yield _payout(row)._replace(is_incoming=True, happened_at=at)
        return
    rates = settings.RECONCILIATION_FEE_MILLIONTHS
    for found in days.iterate_day(channel=run.channel, start=start, end=end):
        kind = BillRowKind.REFUND if found.is_refund else BillRowKind.PAYMENT
        if kind in wanted and _is_of_account(found, run.account):
            yield _trade(found, rates.get(run.channel))


def has_any(*, run: Run) -> bool:
    """Whether our books have a movement that the run's bill should show."""
    return next(iterate(run=run), None) is not None


def find(*, run: Run, wanted: Mapping[Key, bool]) -> dict[Key, OurRow]:
    """Our rows of these keys, whatever their day and state; those of other channels and accounts are left out.

    `wanted`: whether the row that we look a partner for is incoming: of a payout that came back, its return then.
    """
    numbers = [number for _, number in wanted]
    found: dict[Key, OurRow] = {}
    if BillRowKind.PAYOUT in WANTED[BillKind(run.kind)]:
        for number, row in withdrawals.find_payouts(numbers=numbers).items():
            if row.payout_channel in _payout_channels(run):
                key = (BillRowKind.PAYOUT.value, number)
                is_back = wanted.get(key, False) and row.state == WithdrawalState.RETURNED
                found[key] = _payout(row)._replace(is_incoming=is_back)
        return found
    rate = settings.RECONCILIATION_FEE_MILLIONTHS.get(run.channel)
    for number, trade in days.find_numbers(numbers).items():
        if trade.channel == run.channel and _is_of_account(trade, run.account):
            row_found = _trade(trade, rate)
            found[(row_found.kind.value, number)] = row_found
    return found


def _payout_channels(run: Run) -> tuple[str, ...]:
    return SAME_ACCOUNT.get(run.channel, (run.channel,))


def _is_of_account(row: days.DayRow, account: str) -> bool:
    if not account:
        return not row.is_direct
    if not row.is_direct:
        return False
    receiver = gateway.find_receiver(row.number)
    return receiver is not None and receiver.account_no == account


def _trade(row: days.DayRow, rate: int | None) -> OurRow:
    sign = -1 if row.is_refund else 1
    return OurRow(
        kind=BillRowKind.REFUND if row.is_refund else BillRowKind.PAYMENT,
        number=row.number,
        amount_fen=row.amount_fen,
        outcome=_OUTCOMES.get(row.state, Outcome.PENDING),
        happened_at=row.at,
        is_incoming=not row.is_refund,
        fee_milli_fen=None if rate is None else sign * (row.amount_fen * rate // 1000),
    )


def _payout(row: Withdrawal) -> OurRow:
    return OurRow(
        kind=BillRowKind.PAYOUT,
        number=row.payout_no or "",
        amount_fen=row.amount_fen,
        outcome=_PAYOUT_OUTCOMES.get(WithdrawalState(row.state), Outcome.PENDING),
        happened_at=row.finished_at or row.created_at,
        is_incoming=False,
    )

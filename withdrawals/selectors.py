"""Reads of withdrawals, cards and policies."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

from django.db.models import Min, Q, Sum

from foundation import clock
from foundation.errors import NotFound
from funds import selectors as funds
from funds.domain.entries import employee_account
from gateway.ports import CODE_WAIT_USER_CONFIRM
from withdrawals.domain.states import AT_PROVIDER, WithdrawalState
from withdrawals.models import BankCard, PayoutPolicy, Withdrawal

COMMON = "*"
"""The policy of what is common to all channels."""


def get_policy(*, channel: str) -> PayoutPolicy:
    """The channel's policy, the common one when it has none, the defaults when nobody set one."""
    found = {row.channel: row for row in PayoutPolicy.objects.filter(channel__in=[channel, COMMON])}
    return found.get(channel) or found.get(COMMON) or PayoutPolicy(channel=channel)


def is_paused(*, channel: str) -> bool:
    """Whether staff stopped payouts, of this channel or of all."""
    return PayoutPolicy.objects.filter(channel__in=[channel, COMMON], is_paused=True).exists()


def get_own(*, order_no: str, employee_id: int) -> Withdrawal:
    """The employee's own withdrawal; NotFound for anybody else's."""
    row = Withdrawal.objects.filter(pk=order_no[:32], employee_id=employee_id).first() if order_no.isascii() else None
    if row is None:
        raise NotFound({"withdrawal": order_no[:32]})
    return row


def list_own(
    *, employee_id: int, after: Sequence[str] | None, limit: int
) -> tuple[list[Withdrawal], tuple[str, str] | None]:
    """The employee's withdrawals, newest first, and the position behind the last one when more follow."""
    rows = Withdrawal.objects.filter(employee_id=employee_id)
    if after:
        moment = dt.datetime.fromisoformat(after[0])
        rows = rows.filter(Q(created_at__lt=moment) | Q(created_at=moment, order_no__lt=after[1]))
    found = list(rows.order_by("-created_at", "-order_no")[: limit + 1])
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], (last.created_at.isoformat(), last.order_no)


def list_cards(*, employee_id: int) -> list[BankCard]:
    """The employee's present cards, oldest first."""
    return list(BankCard.objects.filter(employee_id=employee_id, removed_at=None).order_by("created_at", "id"))


IN_FLIGHT = dt.timedelta(minutes=5)
"""A payout that is undecided for longer keeps nobody else waiting: it may take the provider days."""


def count_in_flight(*, channel: str, now: dt.datetime) -> int:
    """Payouts of the channel that were sent a moment ago and are undecided, but those that wait for their payee."""
    rows = Withdrawal.objects.filter(payout_channel=channel, state__in=AT_PROVIDER, sent_at__gte=now - IN_FLIGHT)
    return rows.exclude(result_code=CODE_WAIT_USER_CONFIRM).count()


def sent_today_fen(*, channel: str, now: dt.datetime) -> int:
    """What left on this channel on the present business day and has not surely failed."""
    start = clock.day_start(clock.business_date(now))
    sent = Withdrawal.objects.filter(payout_channel=channel, sent_at__gte=start).exclude(state=WithdrawalState.FAILED)
    return sent.aggregate(total=Sum("amount_fen"))["total"] or 0


def account_age_days(*, employee_id: int, enterprise_id: int, now: dt.datetime) -> int:
    """Whole days since the employee's wallet was opened; 0 without one."""
    opened_at = funds.opened_at(account=employee_account(employee_id, enterprise_id))
    return 0 if opened_at is None else max(0, (now - opened_at).days)


PAYOUT_LOOK_BACK = dt.timedelta(days=60)
"""A payout that its provider decides later than this after the application is met by its number only."""


def iterate_payouts(*, channel: str, start: dt.datetime, end: dt.datetime) -> Iterator[Withdrawal]:
    """Payouts of the channel that left our account with `start` ≤ finished_at < `end`, those that came back too."""
    rows = Withdrawal.objects.filter(
        state__in=[WithdrawalState.SUCCESS, WithdrawalState.RETURNED],
        created_at__gte=start - PAYOUT_LOOK_BACK,
        created_at__lt=end,
        payout_channel=channel,
        finished_at__gte=start,
        finished_at__lt=end,
    )
    yield from rows.iterator(chunk_size=2000)


def iterate_returned(*, channel: str, start: dt.datetime, end: dt.datetime) -> Iterator[tuple[Withdrawal, dt.datetime]]:
    """Payouts that the payee's bank sent back, with the moment at which we heard of it, `start` ≤ moment < `end`."""
    back_at = Min("events__happened_at", filter=Q(events__state=WithdrawalState.RETURNED))
    rows = Withdrawal.objects.filter(state=WithdrawalState.RETURNED, payout_channel=channel).annotate(back_at=back_at)
    for row in rows.filter(back_at__gte=start, back_at__lt=end).iterator(chunk_size=2000):
        yield row, row.back_at


def find_payouts(*, numbers: Sequence[str]) -> dict[str, Withdrawal]:
    """Withdrawals by their present payout number."""
    found: dict[str, Withdrawal] = {}
    for place in range(0, len(numbers), 500):
        for row in Withdrawal.objects.filter(payout_no__in=numbers[place : place + 500]):
            found[str(row.payout_no)] = row
    return found

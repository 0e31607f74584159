"""Approved withdrawals go to the provider: in order of priority and age, within the policy, once for ever.

The payout number is committed before the first call, the money is in 2310 before it too, and the attempt says whether
anything was ever sent under the number. After a crash the same number is asked about, and sent again only when the
provider does not know it (design `faults.md` 3.7).
"""

from __future__ import annotations

import datetime as dt

import structlog
from django.conf import settings
from django.db.models import F

from foundation import alerts, clock
from foundation.errors import Busy, Rejected
from foundation.money import yuan_display
from funds import selectors as funds
from funds.domain.entries import platform_account
from gateway.ports import CODE_NOT_FOUND, CODE_WAIT_USER_CONFIRM, Outcome, PayoutRequest, Result
from gateway.services import calls
from orders.services import numbers
from withdrawals import selectors
from withdrawals.domain import schedule
from withdrawals.domain.states import AT_PROVIDER, WithdrawalState
from withdrawals.models import Withdrawal
from withdrawals.services import approving, money, payees, results, trail

logger = structlog.get_logger("withdrawals")

STUCK_AFTER = dt.timedelta(seconds=60)
"""A SENDING withdrawal older than this was left by a process that died."""
RESEND_AFTER = dt.timedelta(minutes=5)
"""A provider that does not know the number this long after the call will not learn of it by itself."""


def list_sendable(*, now: dt.datetime, limit: int = 100) -> list[str]:
    """Approved withdrawals that the policies let go at this moment, highest priority first, then oldest.

    An hour of waiting is worth one priority, so that nobody waits for ever.
    """
    chosen: list[str] = []
    room: dict[str, tuple[int, int | None]] = {}
    waiting = Withdrawal.objects.filter(state=WithdrawalState.APPROVED).order_by("decided_at")[: 20 * limit]
    for row in sorted(waiting, key=lambda row: _rank(row, now), reverse=True):
        if row.channel not in room:
            room[row.channel] = _room(row.channel, now)
        places, left_fen = room[row.channel]
        if places <= 0 or (left_fen is not None and left_fen < row.amount_fen):
            continue
        room[row.channel] = (places - 1, None if left_fen is None else left_fen - row.amount_fen)
        chosen.append(row.order_no)
        if len(chosen) == limit:
            break
    return chosen


def _rank(row: Withdrawal, now: dt.datetime) -> float:
    waited = now - (row.decided_at or row.created_at)
    return row.priority + waited.total_seconds() / 3600


def _room(channel: str, now: dt.datetime) -> tuple[int, int | None]:
    """(payouts that may be sent, fen that may leave today or None): (0, …) while paused or outside of the window."""
    policy = selectors.get_policy(channel=channel)
    local = now.astimezone(clock.BUSINESS_ZONE)
    is_open = schedule.is_in_window(local=local, from_hour=policy.window_from_hour, to_hour=policy.window_to_hour)
    if selectors.is_paused(channel=channel) or not is_open:
        return 0, None
    left_fen = None
    if policy.daily_cap_fen:
        left_fen = policy.daily_cap_fen - selectors.sent_today_fen(channel=channel, now=now)
    return policy.max_in_flight - selectors.count_in_flight(channel=channel, now=now), left_fen


def send_due(*, now: dt.datetime, limit: int = 100) -> dict[str, int]:
    """Sends what may go; one that fails does not stop the others."""
    report = {"sent": 0, "failed": 0}
    for order_no in list_sendable(now=now, limit=limit):
        try:
            report["sent"] += send(order_no=order_no, now=now)
        except (Busy, Rejected) as error:
            report["failed"] += 1
            logger.warning("payout not sent", order_no=order_no, error=repr(error))
    return report


def send(*, order_no: str, now: dt.datetime) -> bool:
    """Sends one approved withdrawal; False when it is not (or no longer) approved. Safe to race: one caller sends.

    Raises Busy when the channel is overloaded; the check job goes on from there.
    """
    row = Withdrawal.objects.filter(pk=order_no).first()
    if row is None or row.state != WithdrawalState.APPROVED:
        return False
    payout_no = numbers.issue_attempt(order_no=order_no)

    def claim() -> Withdrawal | None:
        locked = trail.lock(order_no=order_no)
        if locked.state != WithdrawalState.APPROVED or not approving.check_approvals(locked, now=now):
            return None
        trail.move(
            row=locked,
            target=WithdrawalState.SENDING,
            kind="sending",
            actor="system",
            note=payout_no,
            payout_no=payout_no,
            payout_channel=locked.channel,
            sent_at=now,
            next_check_at=now + STUCK_AFTER,
            now=now,
        )
        return locked

    claimed = trail.in_transaction(claim)
    if claimed is None:
        return False
    _start_and_call(claimed, now=now)
    return True


def _start_and_call(row: Withdrawal, *, now: dt.datetime) -> None:
    assert row.payout_no is not None
    money.start(row, now=now)
    is_first = money.claim_first_call(row)
    result = calls.pay_out(channel=row.payout_channel, request=_request(row, is_first=is_first))
    results.apply(order_no=row.order_no, payout_no=row.payout_no, result=result, source="answer", now=clock.now())


def _request(row: Withdrawal, *, is_first: bool) -> PayoutRequest:
    assert row.payout_no is not None
    account, name = payees.opened(row)
    return PayoutRequest(
        payout_no=row.payout_no,
        amount_fen=row.amount_fen,
        payee_account=account,
        payee_name=name,
        remark="Withdrawal",
        notify_url=f"{settings.PUBLIC_BASE_URL.rstrip('/')}/notify/{row.payout_channel}/payout",
        is_first=is_first,
        bank_code=row.bank_code,
        bank_name=row.bank_name,
        branch_name=row.branch,
        mobile=payees.phone_of(row),
    )


def check_due(*, now: dt.datetime, limit: int = 200) -> dict[str, int]:
    """Asks about every payout whose check has come, and goes on with those that a dead process left."""
    report = {"asked": 0, "decided": 0, "failed": 0}
    due = Withdrawal.objects.filter(next_check_at__lte=now).order_by("next_check_at")[:limit]
    for row in due:
        report["asked"] += 1
        try:
            state = check(order_no=row.order_no, now=now)
        except (Busy, Rejected) as error:
            report["failed"] += 1
            _put_off(row, now=now)
            logger.warning("check of payout failed", order_no=row.order_no, error=repr(error))
            continue
        report["decided"] += state not in AT_PROVIDER
    return report


def check(*, order_no: str, now: dt.datetime) -> WithdrawalState:
    """Asks the provider about one payout and acts on the answer; returns the state afterwards.

    Never sends under another number; when it sends the same one again, `_is_to_be_sent_again` says.
    """
    row = Withdrawal.objects.get(pk=order_no)
    if row.payout_no is None or row.state not in (*AT_PROVIDER, WithdrawalState.SUCCESS):
        _put_off(row, now=now)
        return WithdrawalState(row.state)
    if row.state == WithdrawalState.SENDING and funds.get_journal(kind="withdrawal_sent", reference=order_no) is None:
        _start_and_call(row, now=now)
        return WithdrawalState(Withdrawal.objects.get(pk=order_no).state)
    result = calls.query_payout(channel=row.payout_channel, payout_no=row.payout_no)
    if row.state == WithdrawalState.SUCCESS:
        return _watch_return(row, result, now)
    if _is_to_be_sent_again(row, result, now):
        is_first = money.claim_first_call(row)
        result = calls.pay_out(channel=row.payout_channel, request=_request(row, is_first=is_first))
        return results.apply(
            order_no=order_no, payout_no=row.payout_no, result=result, source="answer", now=clock.now()
        )
    return results.apply(order_no=order_no, payout_no=row.payout_no, result=result, source="query", now=now)


def _is_to_be_sent_again(row: Withdrawal, result: Result, now: dt.datetime) -> bool:
    """The same number and content once more: unknown there for minutes, or waiting for a payee who cannot confirm.

    What the payee's client needs to confirm comes with the answer to the request alone. When that answer was lost, the
    request is repeated, which pays nothing twice (WeChat 原单重试).
    """
    if (result.outcome, result.code) == (Outcome.UNKNOWN, CODE_NOT_FOUND):
        return row.sent_at is not None and now - row.sent_at >= RESEND_AFTER
    is_waiting = (result.outcome, result.code) == (Outcome.PENDING, CODE_WAIT_USER_CONFIRM)
    return is_waiting and row.confirmation is None and result.payment is None


def _watch_return(row: Withdrawal, result: Result, now: dt.datetime) -> WithdrawalState:
    """A paid one is asked about once a day for some days: the bank may have sent it back."""
    assert row.payout_no is not None
    assert row.finished_at is not None
    is_over = now - row.finished_at >= schedule.RETURN_WATCH
    Withdrawal.objects.filter(pk=row.pk).update(next_check_at=None if is_over else now + schedule.RETURN_CHECK_EVERY)
    return results.apply(order_no=row.order_no, payout_no=row.payout_no, result=result, source="query", now=now)


def _put_off(row: Withdrawal, *, now: dt.datetime) -> None:
    is_open = row.state in (*AT_PROVIDER, WithdrawalState.SUCCESS)
    at = schedule.next_check(now=now, tries=row.tries + 1) if is_open else None
    Withdrawal.objects.filter(pk=row.pk).update(next_check_at=at, tries=F("tries") + 1)


def read_floats() -> dict[str, int]:
    """Balance of 1120 (prefunded for payouts) in fen by channel."""
    # An asset grows by debits, which are below zero.
    return {
        channel: -funds.platform_balance_fen(account=platform_account("1120", channel)) for channel in payees.CHANNELS
    }


def watch_float(*, now: dt.datetime) -> dict[str, int]:
    """`read_floats`, each against its policy's warning; an alert below it."""
    report = read_floats()
    for channel, balance in report.items():
        policy = selectors.get_policy(channel=channel)
        if policy.float_warning_fen and balance < policy.float_warning_fen:
            alerts.raise_alert(
                code="payout_float_low",
                subject=channel,
                severity="WARNING",
                message=f"The payout balance of {channel} is {yuan_display(balance)}, "
                f"below {yuan_display(policy.float_warning_fen)}.",
                now=now,
            )
    return report

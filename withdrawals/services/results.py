"""What a provider says about a payout becomes money: by answer, by notice or by query, in any order and repeated.

Only a positive word ends it: SUCCESS pays, FAILED gives back, everything else waits and is asked about again.
"""

from __future__ import annotations

import datetime as dt

import structlog

from foundation import alerts
from gateway.ports import CODE_RETURNED, Outcome, Result
from risk.domain.facts import Action
from risk.services import reserving
from withdrawals.domain import schedule
from withdrawals.domain.states import AT_PROVIDER, WithdrawalState
from withdrawals.models import Withdrawal
from withdrawals.services import money, trail

logger = structlog.get_logger("withdrawals")

RETURNING_CHANNELS = frozenset({"kuaiqian"})
"""Channels whose bank may send money back after "paid": watched for some days."""


def apply(*, order_no: str, payout_no: str, result: Result, source: str, now: dt.datetime) -> WithdrawalState:
    """Acts on one result of the payout `payout_no`; returns the state afterwards.

    `source` is "answer", "notice" or "query".
    A result of an older payout number, or one that contradicts what is booked, moves nothing and raises an alert. Locks
    the withdrawal's row, then order and accounts.
    """

    def work() -> WithdrawalState:
        row = trail.lock(order_no=order_no)
        if row.payout_no != payout_no:
            _contradiction(row, result, "about a number that is not the present one", now)
        elif row.state in AT_PROVIDER:
            _decide(row, result, source, now)
        elif row.state == WithdrawalState.SUCCESS and _is_return(result):
            _end(row, WithdrawalState.RETURNED, result, source, now)
            alerts.raise_alert(
                code="payout_returned",
                subject=row.order_no,
                severity="WARNING",
                message="The bank sent a payout back that had succeeded; the money is in the wallet again.",
                now=now,
            )
        elif not _agrees(row, result):
            _contradiction(row, result, f"but it is {row.state}", now)
        return WithdrawalState(row.state)

    return trail.in_transaction(work)


def complete(*, order_no: str, target: WithdrawalState, actor: str, code: str, message: str, now: dt.datetime) -> None:
    """Moves a withdrawal that stayed behind its money to `target`: the event's repair. Repeats change nothing."""

    def work() -> None:
        row = trail.lock(order_no=order_no)
        if row.state in (target, WithdrawalState.RETURNED):
            return
        note = message or code
        if target in (WithdrawalState.REJECTED, WithdrawalState.CANCELLED):
            _settle_limits(row, target, now)
            trail.move(
                row=row, target=target, kind=target.value.lower(), actor=actor, note=note, reason=note[:500], now=now
            )
        else:
            _note_end(row, target, code=code, message=message, provider_no="", actor=actor, now=now)

    trail.in_transaction(work)


def _decide(row: Withdrawal, result: Result, source: str, now: dt.datetime) -> None:
    if result.outcome is Outcome.SUCCESS:
        if result.amount_fen is not None and result.amount_fen != row.amount_fen:
            _contradiction(row, result, f"with {result.amount_fen} fen instead of {row.amount_fen}", now)
            _wait(row, WithdrawalState.UNKNOWN, result, source, now)
            return
        _end(row, WithdrawalState.SUCCESS, result, source, now)
    elif result.outcome is Outcome.FAILED:
        _end(row, WithdrawalState.FAILED, result, source, now)
    else:
        is_accepted = result.outcome is Outcome.PENDING
        _wait(row, WithdrawalState.SENT if is_accepted else WithdrawalState.UNKNOWN, result, source, now)


def _wait(row: Withdrawal, target: WithdrawalState, result: Result, source: str, now: dt.datetime) -> None:
    fields = {
        "result_code": result.code[:64],
        "result_message": result.message[:255],
        "next_check_at": schedule.next_check(now=now, tries=row.tries),
        "tries": row.tries + 1,
    }
    if result.provider_no:
        fields["provider_no"] = result.provider_no[:64]
    if result.payment is not None:
        fields["confirmation"] = dict(result.payment)
    if row.state == target and row.result_code == fields["result_code"] and result.payment is None:
        Withdrawal.objects.filter(pk=row.pk, version=row.version).update(**fields)  # nothing new: no event of it
        return
    kind = "sent" if target is WithdrawalState.SENT else "unknown"
    text = f"{source}: {result.code}"
    if row.state == target:
        trail.note(row=row, kind=kind, actor=f"provider:{row.payout_channel}", note=text, now=now, **fields)
    else:
        trail.move(
            row=row, target=target, kind=kind, actor=f"provider:{row.payout_channel}", note=text, now=now, **fields
        )


def _end(row: Withdrawal, target: WithdrawalState, result: Result, source: str, now: dt.datetime) -> None:
    actor = f"provider:{row.payout_channel}"
    money.end(
        row,
        target=target,
        actor=actor,
        code=result.code,
        message=result.message[:255],
        provider_no=result.provider_no,
        now=now,
    )
    message = f"{source}: {result.message or result.code}".rstrip(": ")
    _note_end(row, target, code=result.code, message=message, provider_no=result.provider_no, actor=actor, now=now)


def _note_end(
    row: Withdrawal,
    target: WithdrawalState,
    *,
    code: str,
    message: str,
    provider_no: str,
    actor: str,
    now: dt.datetime,
) -> None:
    _settle_limits(row, target, now)
    is_watched = target is WithdrawalState.SUCCESS and row.payout_channel in RETURNING_CHANNELS
    fields = {
        "result_code": code[:64],
        "result_message": message[:255],
        "next_check_at": now + schedule.RETURN_CHECK_EVERY if is_watched else None,
        "confirmation": None,
    }
    if provider_no:
        fields["provider_no"] = provider_no[:64]
    trail.move(row=row, target=target, kind=target.value.lower(), actor=actor, note=message, now=now, **fields)


def _settle_limits(row: Withdrawal, target: WithdrawalState, now: dt.datetime) -> None:
    if target is WithdrawalState.SUCCESS:
        reserving.settle(action=Action.WITHDRAWAL, reference=row.order_no, now=now)
    else:
        reserving.give_back(action=Action.WITHDRAWAL, reference=row.order_no, now=now)


def _is_return(result: Result) -> bool:
    return result.outcome is Outcome.FAILED and result.code == CODE_RETURNED


def _agrees(row: Withdrawal, result: Result) -> bool:
    """A repeat of what is booked, or a word that decides nothing."""
    if result.outcome is Outcome.SUCCESS:
        return row.state == WithdrawalState.SUCCESS
    if result.outcome is Outcome.FAILED:
        return row.state in (WithdrawalState.FAILED, WithdrawalState.RETURNED)
    return True


def _contradiction(row: Withdrawal, result: Result, what: str, now: dt.datetime) -> None:
    alerts.raise_alert(
        code="payout_contradiction",
        subject=row.order_no,
        message=f"{row.payout_channel} says {result.outcome.value} {result.code} {what}. Nothing was moved.",
        now=now,
    )

"""A withdrawal is applied for (提现申请): risk and limits, then the freeze; or taken back by its owner before approval.

The row and its risk reservation are committed first, the money is frozen next, so that a crash always finds a row to
complete or to give up (`repair_applying`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import ClassVar

import structlog

from foundation.errors import NotFound, Rejected
from funds.services.ledger import InsufficientFunds
from risk.domain.facts import Action
from risk.domain.tables import Outcome
from risk.services import deciding, reserving
from risk.services.deciding import Subject, Verdict
from withdrawals import selectors
from withdrawals.domain.approval import approvals_needed
from withdrawals.domain.states import WithdrawalState
from withdrawals.models import Withdrawal
from withdrawals.services import money, payees, trail
from withdrawals.services.payees import Payee

logger = structlog.get_logger("withdrawals")

APPLYING_TOO_LONG = dt.timedelta(minutes=2)
VIP_PRIORITY = 5


class AmountNotAllowed(Rejected):
    """422: below the smallest or above the largest withdrawal of the channel."""

    code: ClassVar[str] = "amount_not_allowed"
    http_status: ClassVar[int] = 422
    message_en: ClassVar[str] = "The amount is not within the limits of a withdrawal."
    message_zh: ClassVar[str] = "提现金额不在允许范围内。"


class NotCancellable(Rejected):
    """409: only a withdrawal that nobody has decided about can be taken back."""

    code: ClassVar[str] = "withdrawal_not_cancellable"
    http_status: ClassVar[int] = 409
    message_en: ClassVar[str] = "This withdrawal can no longer be cancelled."
    message_zh: ClassVar[str] = "该提现已不能取消。"


@dataclass(frozen=True, kw_only=True)
class Applicant:
    """Who asks; `address` is the caller's IP address, for risk rules."""

    employee_id: int
    enterprise_id: int
    address: str = ""
    account_age_days: int = 0


def apply(
    *,
    order_no: str,
    applicant: Applicant,
    amount_fen: int,
    channel: str,
    bank_card_id: str | None,
    now: dt.datetime,
    priority: int = 0,
) -> Withdrawal:
    """Reserves the limits, freezes the amount and puts the withdrawal before staff; returns it APPLIED.

    Repeating with the same number goes on where the first one stopped and returns its withdrawal. Raises
    AmountNotAllowed, NoPayee, NotFound (card), RiskRejected (logged; nothing reserved or frozen), InsufficientFunds
    (limits given back; the withdrawal is FAILED), Busy. Locks risk's counters, then the order, then the account.
    """
    known = Withdrawal.objects.filter(pk=order_no, employee_id=applicant.employee_id).first()
    if known is None:
        policy = selectors.get_policy(channel=channel)
        if not policy.min_amount_fen <= amount_fen <= policy.max_amount_fen:
            raise AmountNotAllowed({"min_fen": policy.min_amount_fen, "max_fen": policy.max_amount_fen})
        payee = payees.resolve(employee_id=applicant.employee_id, channel=channel, bank_card_id=bank_card_id, now=now)
        needed = approvals_needed(amount_fen=amount_fen, two_above_fen=policy.two_approvals_above_fen)
        verdict = trail.in_transaction(
            lambda: _register(order_no, applicant, amount_fen, channel, payee, needed, priority, now)
        )
        if verdict.outcome is Outcome.REJECT:
            raise verdict.refusal()
    return _freeze(order_no, now=now)


def _register(
    order_no: str,
    applicant: Applicant,
    amount_fen: int,
    channel: str,
    payee: Payee,
    needed: int,
    priority: int,
    now: dt.datetime,
) -> Verdict:
    verdict = deciding.decide(
        action=Action.WITHDRAWAL,
        subject=Subject(
            employee_id=applicant.employee_id,
            enterprise_id=applicant.enterprise_id,
            card_no=payee.account if payee.card is not None else "",
            phone=payee.phone,
            address=applicant.address,
        ),
        amount_fen=amount_fen,
        channel=channel,
        reference=order_no,
        known={
            "account_age_days": applicant.account_age_days,
            "card_is_new": payee.is_new,
            "card_is_second_class": payee.is_second_class,
        },
        now=now,
    )
    if verdict.outcome is Outcome.REJECT:
        return verdict
    reserving.reserve(verdict=verdict, now=now)
    is_review = verdict.outcome is Outcome.REVIEW
    row = Withdrawal.objects.create(
        order_no=order_no,
        employee_id=applicant.employee_id,
        enterprise_id=applicant.enterprise_id,
        amount_fen=amount_fen,
        channel=channel,
        risk_decision_id=verdict.decision_id,
        needs_review=is_review,
        approvals_needed=needed,
        priority=priority,
        created_at=now,
        **payees.closed_fields(payee),
    )
    what = f"risk: review, {verdict.rule_code}" if is_review else "risk: pass"
    trail.note(row=row, kind="applying", actor=f"employee:{row.employee_id}", note=what, now=now)
    return verdict


def _freeze(order_no: str, *, now: dt.datetime) -> Withdrawal:
    row = Withdrawal.objects.get(pk=order_no)
    if row.state != WithdrawalState.APPLYING:
        return row
    money.open_order(row, now=now)
    try:
        is_frozen = money.freeze(row, now=now)
    except InsufficientFunds:
        abandon(order_no=order_no, reason=InsufficientFunds.code, now=now)
        raise
    if is_frozen:
        note_applied(order_no=order_no, now=now)
    return Withdrawal.objects.get(pk=order_no)


def note_applied(*, order_no: str, now: dt.datetime) -> None:
    """The money is frozen: the withdrawal waits for staff. Repeated by the event."""

    def work() -> None:
        row = trail.lock(order_no=order_no)
        if row.state == WithdrawalState.APPLYING:
            trail.move(
                row=row,
                target=WithdrawalState.APPLIED,
                kind="applied",
                actor=f"employee:{row.employee_id}",
                now=now,
            )

    trail.in_transaction(work)


def abandon(*, order_no: str, reason: str, now: dt.datetime) -> bool:
    """Ends an application whose money was never frozen: order closed, limits given back. False when it was frozen."""

    def work() -> bool:
        row = trail.lock(order_no=order_no)
        if row.state != WithdrawalState.APPLYING:
            return False
        if not money.give_up(row, now=now):
            return False
        reserving.give_back(action=Action.WITHDRAWAL, reference=order_no, now=now)
        trail.move(
            row=row,
            target=WithdrawalState.FAILED,
            kind="abandoned",
            actor="system",
            note=reason,
            result_code=reason[:64],
            now=now,
        )
        return True

    return trail.in_transaction(work)


def cancel(*, order_no: str, employee_id: int, now: dt.datetime) -> Withdrawal:
    """The owner takes it back before anybody decided; the money returns at once. Again: no change.

    Raises NotFound (also somebody else's), NotCancellable.
    """
    actor = f"employee:{employee_id}"

    def work() -> Withdrawal:
        row = trail.lock(order_no=order_no)
        if row.employee_id != employee_id:
            raise NotFound({"withdrawal": order_no[:32]})
        if row.state == WithdrawalState.CANCELLED:
            return row
        if row.state != WithdrawalState.APPLIED or row.decisions.filter(round=row.approval_round).exists():
            raise NotCancellable({"state": row.state})
        give_back(row, target=WithdrawalState.CANCELLED, actor=actor, reason="cancelled by its owner", now=now)
        return row

    return trail.in_transaction(work)


def give_back(row: Withdrawal, *, target: WithdrawalState, actor: str, reason: str, now: dt.datetime) -> None:
    """A locked withdrawal that was not sent ends as `target` (REJECTED, CANCELLED): hold and limits are released.

    Safe to repeat after a crash between the ledger's commit and ours.
    """
    money.end(row, target=target, actor=actor, message=reason, now=now)
    reserving.give_back(action=Action.WITHDRAWAL, reference=row.order_no, now=now)
    trail.move(row=row, target=target, kind=target.value.lower(), actor=actor, note=reason, reason=reason, now=now)


def repair_applying(*, now: dt.datetime, limit: int = 200) -> dict[str, int]:
    """The sweep over applications that stopped half-way: put before staff when frozen, else given up."""
    report = {"applied": 0, "abandoned": 0}
    waiting = Withdrawal.objects.filter(
        state=WithdrawalState.APPLYING, created_at__lt=now - APPLYING_TOO_LONG
    ).order_by("created_at")[:limit]
    for row in waiting:
        if money.is_frozen(row):
            note_applied(order_no=row.order_no, now=now)
            report["applied"] += 1
        elif abandon(order_no=row.order_no, reason="application_interrupted", now=now):
            report["abandoned"] += 1
    return report

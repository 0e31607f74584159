"""A new payout number for a payout that the provider does not know: evidence, a proposal, and another person's yes.

The one way in which a withdrawal ever changes its number (design `faults.md` 3.7). The database asks for the approved
proposal, too.
"""

from __future__ import annotations

import datetime as dt
from typing import ClassVar

from django.db import IntegrityError, transaction

from foundation.errors import InvalidRequest, Rejected
from gateway.ports import CODE_NOT_FOUND, Outcome
from gateway.services import calls
from orders.domain.states import AttemptState
from orders.services import advancing, numbers, opening
from withdrawals.domain.states import AT_PROVIDER, WithdrawalState
from withdrawals.models import REASON_MIN_LENGTH, Reissue, Withdrawal
from withdrawals.services import money, trail

UNKNOWN_FOR = dt.timedelta(hours=24)
"""Younger payouts may still arrive in the provider's books (design `faults.md` 3.7)."""


class NotReissuable(Rejected):
    """409: the provider may know the number; `details` say what is in the way."""

    code: ClassVar[str] = "payout_not_reissuable"
    http_status: ClassVar[int] = 409
    message_en: ClassVar[str] = "A new payout number is allowed only when the provider does not know the old one."
    message_zh: ClassVar[str] = "仅当渠道确认查无此单时，才可更换付款单号。"


class NeedsAnother(Rejected):
    """409: who proposed does not approve."""

    code: ClassVar[str] = "same_person"
    http_status: ClassVar[int] = 409
    message_en: ClassVar[str] = "Another person must approve what you proposed."
    message_zh: ClassVar[str] = "须由提议人以外的人员批准。"


def propose(*, order_no: str, user_id: int, reason: str, now: dt.datetime) -> Reissue:
    """Asks the provider now, and stores its "no such order" with the proposal.

    Raises InvalidRequest (reason), NotReissuable, AlreadyDecided, NotFound. One proposal for each old number.
    """
    if len(reason.strip()) < REASON_MIN_LENGTH:
        raise InvalidRequest({"reason": [f"at least {REASON_MIN_LENGTH} characters"]})
    row = Withdrawal.objects.get(pk=order_no)
    if row.state != WithdrawalState.UNKNOWN or row.payout_no is None or row.sent_at is None:
        raise NotReissuable({"state": row.state})
    if now - row.sent_at < UNKNOWN_FOR:
        raise NotReissuable({"reason": "sent less than 24 hours ago"})
    result = calls.query_payout(channel=row.payout_channel, payout_no=row.payout_no)
    if (result.outcome, result.code) != (Outcome.UNKNOWN, CODE_NOT_FOUND):
        raise NotReissuable({"provider": f"{result.outcome.value} {result.code}"})
    old_no, new_no = row.payout_no, numbers.issue_attempt(order_no=order_no)

    def work() -> Reissue:
        locked = trail.lock(order_no=order_no)
        if locked.state != WithdrawalState.UNKNOWN or locked.payout_no != old_no:
            raise trail.already_decided(locked)
        try:
            with transaction.atomic(using=trail.alias()):
                made = Reissue.objects.create(
                    withdrawal=locked,
                    old_payout_no=old_no,
                    new_payout_no=new_no,
                    evidence={
                        "code": result.code,
                        "message": result.message[:255],
                        "channel": locked.payout_channel,
                        "asked_at": now.isoformat(),
                    },
                    reason=reason.strip()[:500],
                    proposed_by_id=user_id,
                    proposed_at=now,
                )
        except IntegrityError:
            return Reissue.objects.get(old_payout_no=old_no)
        trail.note(row=locked, kind="reissue_proposed", actor=f"staff:{user_id}", note=reason.strip(), now=now)
        return made

    return trail.in_transaction(work)


def approve(*, reissue_id: int, user_id: int, now: dt.datetime) -> Withdrawal:
    """Another person's yes: the old attempt is closed for ever, the next check sends under the new number.

    Raises NeedsAnother, AlreadyDecided. Locks the withdrawal's row, then its order.
    """
    proposal = Reissue.objects.get(pk=reissue_id)

    def work() -> Withdrawal:
        row = trail.lock(order_no=proposal.withdrawal_id)
        if row.state not in AT_PROVIDER or row.payout_no != proposal.old_payout_no:
            raise trail.already_decided(row)
        if proposal.proposed_by_id == user_id:
            raise NeedsAnother({"reissue": reissue_id})
        Reissue.objects.filter(pk=reissue_id, approved_by=None).update(approved_by_id=user_id, approved_at=now)
        trail.note(
            row=row,
            kind="reissued",
            actor=f"staff:{user_id}",
            note=proposal.new_payout_no,
            payout_no=proposal.new_payout_no,
            next_check_at=now,
            tries=0,
            now=now,
        )
        opening.in_transaction(row.order_no, lambda: _exchange_attempts(row, proposal.old_payout_no, now))
        return row

    return trail.in_transaction(work)


def _exchange_attempts(row: Withdrawal, old_no: str, now: dt.datetime) -> None:
    advancing.lock_order(order_no=row.order_no)
    advancing.advance_attempt(
        attempt_no=old_no,
        target=AttemptState.CLOSED,
        fields={"finished_at": now, "next_check_at": None, "result_code": "reissued"},
    )
    money.open_attempt(row, now=now)

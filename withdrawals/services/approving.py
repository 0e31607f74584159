"""Staff decide about a withdrawal (提现审批): four eyes, a one-time code, a signed snapshot of what was seen.

The database refuses what these functions refuse, too (withdrawals.models and its migration 0002).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import ClassVar

from django.conf import settings
from django.db import IntegrityError, transaction

from foundation import alerts, outbox
from foundation.errors import InvalidRequest, PermissionDenied, Rejected
from withdrawals.domain import events
from withdrawals.domain.approval import Snapshot
from withdrawals.domain.states import WithdrawalState
from withdrawals.models import REASON_MIN_LENGTH, Decision, Withdrawal
from withdrawals.services import application, trail


class SamePerson(Rejected):
    """409: two approvals are two people."""

    code: ClassVar[str] = "same_approver"
    http_status: ClassVar[int] = 409
    message_en: ClassVar[str] = "You have decided about this withdrawal already; another person must."
    message_zh: ClassVar[str] = "您已处理过该提现，须由另一人处理。"


class SnapshotChanged(Rejected):
    """409: amount, account or payee are not what was on the screen."""

    code: ClassVar[str] = "withdrawal_changed"
    http_status: ClassVar[int] = 409
    message_en: ClassVar[str] = "The withdrawal has changed since you opened it. Look again."
    message_zh: ClassVar[str] = "该提现内容已变更，请刷新后重新核对。"


@dataclass(frozen=True, kw_only=True)
class Approver:
    """A member of staff whose one-time code was accepted just now.

    `employee_id`: which employee he is himself, None when he is none. `code_device`: the name of the device that made
    the code.
    """

    user_id: int
    name: str
    employee_id: int | None
    code_device: str

    @property
    def actor(self) -> str:
        return f"staff:{self.user_id}"


def digest_of(row: Withdrawal) -> str:
    """The signed snapshot of the row as it is: shown with the page, given back with the decision."""
    snapshot = Snapshot(
        order_no=row.order_no,
        employee_id=row.employee_id,
        amount_fen=row.amount_fen,
        fee_fen=row.fee_fen,
        channel=row.channel,
        payee_index=row.payee_index,
        payee_name_index=row.payee_name_index,
        bank_code=row.bank_code,
    )
    key = next(reversed(settings.LEDGER_SEAL_KEYS.values()))
    return snapshot.digest(b"withdrawal approval " + key)


def approve(*, order_no: str, approver: Approver, seen_digest: str, comment: str, now: dt.datetime) -> Withdrawal:
    """One approval; with the last one that is needed the withdrawal is APPROVED and waits for its turn to be sent.

    Raises NotFound, AlreadyDecided (with who and when), SnapshotChanged, SamePerson, PermissionDenied (his own money).
    Locks the withdrawal's row.
    """

    def work() -> Withdrawal:
        row = _open(order_no, approver, seen_digest)
        _say(row, approver, Decision.Word.APPROVE, comment, now)
        said = row.decisions.filter(round=row.approval_round, word=Decision.Word.APPROVE).count()
        if said < row.approvals_needed:
            text = f"{said} of {row.approvals_needed} {comment}".strip()
            trail.note(row=row, kind="approval", actor=approver.actor, note=text, now=now)
            return row
        trail.move(
            row=row,
            target=WithdrawalState.APPROVED,
            kind="approved",
            actor=approver.actor,
            note=comment,
            decided_at=now,
            now=now,
        )
        outbox.publish(
            using=trail.alias(),
            topic=events.APPROVED,
            key=f"{row.order_no}:{row.approval_round}",
            payload={"order_no": row.order_no},
            now=now,
        )
        return row

    return trail.in_transaction(work)


def reject(*, order_no: str, approver: Approver, seen_digest: str, reason: str, now: dt.datetime) -> Withdrawal:
    """One rejection ends it: order INVALID, the money back, the limits given back. Raises as `approve`, InvalidRequest.

    Locks the withdrawal's row, then order, hold and account.
    """
    if len(reason.strip()) < REASON_MIN_LENGTH:
        raise InvalidRequest({"reason": [f"at least {REASON_MIN_LENGTH} characters"]})

    def work() -> Withdrawal:
        row = _open(order_no, approver, seen_digest)
        _say(row, approver, Decision.Word.REJECT, reason.strip(), now)
        application.give_back(
            row,
            target=WithdrawalState.REJECTED,
            actor=approver.actor,
            reason=reason.strip(),
            now=now,
        )
        return row

    return trail.in_transaction(work)


def ask_back(*, order_no: str, actor: str, comment: str, now: dt.datetime) -> Withdrawal:
    """A question beside a withdrawal that waits; nothing is decided.

    Raises NotFound, InvalidRequest, AlreadyDecided.
    """
    if len(comment.strip()) < REASON_MIN_LENGTH:
        raise InvalidRequest({"comment": [f"at least {REASON_MIN_LENGTH} characters"]})

    def work() -> Withdrawal:
        row = trail.lock(order_no=order_no)
        if row.state != WithdrawalState.APPLIED:
            raise trail.already_decided(row)
        trail.note(row=row, kind="comment", actor=actor, note=comment.strip(), now=now)
        return row

    return trail.in_transaction(work)


def assign(*, order_no: str, to_user_id: int | None, actor: str, now: dt.datetime) -> Withdrawal:
    """Puts a waiting withdrawal on somebody's desk, or on nobody's. Raises NotFound, AlreadyDecided."""

    def work() -> Withdrawal:
        row = trail.lock(order_no=order_no)
        if row.state != WithdrawalState.APPLIED:
            raise trail.already_decided(row)
        text = f"to staff:{to_user_id}" if to_user_id else "to nobody"
        trail.note(row=row, kind="assigned", actor=actor, note=text, assigned_to_id=to_user_id, now=now)
        return row

    return trail.in_transaction(work)


def check_approvals(row: Withdrawal, *, now: dt.datetime) -> bool:
    """Whether what was approved is what stands there; if not, a locked APPROVED row goes back for a new round."""
    present = digest_of(row)
    words = row.decisions.filter(round=row.approval_round, word=Decision.Word.APPROVE)
    if all(word.digest == present for word in words):
        return True
    trail.move(
        row=row,
        target=WithdrawalState.APPLIED,
        kind="approval_void",
        actor="system",
        note="changed since it was approved",
        approval_round=row.approval_round + 1,
        decided_at=None,
        now=now,
    )
    alerts.raise_alert(
        code="withdrawal_changed_after_approval",
        subject=row.order_no,
        message="Amount, account or payee differ from what was approved; it must be approved anew.",
        now=now,
    )
    return False


def _open(order_no: str, approver: Approver, seen_digest: str) -> Withdrawal:
    row = trail.lock(order_no=order_no)
    if row.state != WithdrawalState.APPLIED:
        raise trail.already_decided(row)
    if approver.employee_id == row.employee_id:
        raise PermissionDenied({"reason": "this is your own withdrawal"})
    if digest_of(row) != seen_digest:
        raise SnapshotChanged({"order_no": order_no})
    return row


def _say(row: Withdrawal, approver: Approver, word: Decision.Word, reason: str, now: dt.datetime) -> None:
    try:
        with transaction.atomic(using=trail.alias()):
            Decision.objects.create(
                withdrawal=row,
                round=row.approval_round,
                word=word,
                applicant_id=row.employee_id,
                decided_by_id=approver.user_id,
                decided_by_employee_id=approver.employee_id,
                reason=reason[:500],
                digest=digest_of(row),
                code_device=approver.code_device,
                decided_at=now,
            )
    except IntegrityError as error:
        mine = row.decisions.filter(round=row.approval_round, decided_by_id=approver.user_id)
        if not mine.exists():
            raise
        raise SamePerson({"order_no": row.order_no}) from error

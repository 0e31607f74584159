"""How a difference ends: proposed by one member of staff, carried out and written down when another one approves.

What moves money is a fund adjustment (funds.services.adjustments) or a refund (payments.services.refunds) with the same
two people; replay and repair ask the provider and book what it says, and end the difference only when both sides agree
then. Everything is safe to repeat: the adjustment's and the refund's number stand at the proposal.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from foundation.errors import InvalidRequest, Rejected
from funds.domain.adjustments import Evidence
from funds.domain.entries import Bucket, Category, Line, platform_account
from funds.services import adjustments
from gateway.ports import BillRowKind, Outcome
from orders import selectors as orders
from payments.services import checking, refunds
from reconciliation.domain.carrying import compare_pair
from reconciliation.domain.effects import Sided, excess_fen, suspense_lines
from reconciliation.domain.matching import Kind
from reconciliation.domain.states import BY_JOURNAL, DifferenceState, Resolution, RunState
from reconciliation.models import Difference
from reconciliation.services import books, comparing, reviewing, sides, trail
from withdrawals import selectors as withdrawals
from withdrawals.services import sending

APPROVED, POSTABLE = "APPROVED", "PROPOSED"
"""States of an adjustment."""
MAY_HANDLE = "reconciliation.handle_difference"
MAY_PROPOSE = "reconciliation.propose_resolution"
MAY_APPROVE = "reconciliation.approve_resolution"


class StillDifferent(Rejected):
    """409: the provider was asked and its answer booked, and both sides still do not agree. Nothing is resolved."""

    code = "difference_remains"
    http_status = 409
    message_en = "The provider was asked, and both sides still differ."
    message_zh = "已向渠道查询，双方仍不一致。"


class NotApplicable(Rejected):
    """422: this resolution does not fit the difference; `details["problem"]` says why."""

    code = "resolution_not_applicable"
    http_status = 422
    message_en = "The difference cannot be resolved like this."
    message_zh = "该差异不适用此处理方式。"


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What somebody asks for. `lines`: of ADJUST only. `amount_fen`: of REFUND only, 0 for the value at risk.
    `evidence`: at least one file for what ends in a journal."""

    resolution: Resolution
    reason: str
    evidence: tuple[Evidence, ...] = ()
    lines: tuple[Line, ...] = ()
    amount_fen: int = 0


def take_over(*, difference_id: int, owner_id: int | None, user_id: int, now: dt.datetime) -> Difference:
    """Says who looks after a difference, None for nobody. Raises PermissionDenied, trail.AlreadyDecided."""
    actor = trail.check_staff(user_id=user_id, permission=MAY_HANDLE)

    def work() -> Difference:
        row = _undecided(difference_id)
        trail.note_difference(row, code="owner", actor=actor, now=now, note=f"staff:{owner_id}", owner_id=owner_id)
        return row

    return trail.in_transaction(work)


def remark(
    *, difference_id: int, text: str, user_id: int, now: dt.datetime, evidence: Sequence[Evidence] = ()
) -> Difference:
    """A remark, perhaps with attachments; the one before stays in the events. Raises PermissionDenied."""
    actor = trail.check_staff(user_id=user_id, permission=MAY_HANDLE)

    def work() -> Difference:
        row = trail.lock_difference(difference_id=difference_id)
        kept = text.strip()[:500]
        trail.note_difference(
            row, code="remark", actor=actor, now=now, note=kept, evidence=_shown(evidence), remark=kept
        )
        return row

    return trail.in_transaction(work)


def propose(*, difference_id: int, proposal: Proposal, user_id: int, now: dt.datetime) -> Difference:
    """Stores a proposal; no money moves. The same proposal of the same person again is the first one.

    ADJUST and SUSPENSE propose a fund adjustment under the same name. Raises PermissionDenied, trail.ReasonMissing,
    NotApplicable, trail.AlreadyDecided, funds.services.adjustments.AdjustmentInvalid.
    """
    actor = trail.check_staff(user_id=user_id, permission=MAY_PROPOSE)
    reason = trail.reason(proposal.reason)
    row = Difference.objects.using(trail.alias()).get(pk=difference_id)
    if row.state == DifferenceState.PROPOSED and row.proposed_by_id == user_id and row.reason == reason:
        return row
    if row.state != DifferenceState.OPEN:
        raise trail.AlreadyDecided({"state": row.state})
    _check_open_day(row)
    reference = _prepare(row, proposal, reason, user_id, now)

    def work() -> Difference:
        locked = _undecided(difference_id)
        if locked.state != DifferenceState.OPEN:
            raise trail.AlreadyDecided({"state": locked.state})
        fields: dict[str, Any] = {
            "state": DifferenceState.PROPOSED.value,
            "resolution": proposal.resolution.value,
            "reason": reason,
            "reference": reference,
            "proposed_by_id": user_id,
            "proposed_at": now,
        }
        shown = _shown(proposal.evidence)
        trail.note_difference(locked, code="proposed", actor=actor, now=now, note=reason, evidence=shown, **fields)
        return locked

    return trail.in_transaction(work)


def approve(*, difference_id: int, user_id: int, now: dt.datetime) -> Difference:
    """Carries a proposal out and resolves the difference. The same checker again gets the resolved row.

    Money moves first, in its own commit under the number of the proposal; repeated after a crash it moves nothing more.
    Raises PermissionDenied, trail.SamePerson, trail.AlreadyDecided, StillDifferent, and what the money's own services
    raise: then the difference stays as it was.
    """
    actor = trail.check_staff(user_id=user_id, permission=MAY_APPROVE)
    row = Difference.objects.using(trail.alias()).get(pk=difference_id)
    if row.state == DifferenceState.RESOLVED and row.approved_by_id == user_id:
        return row
    _check_decidable(row, user_id)
    journal_no = _carry_out(row, user_id, now)

    def work() -> Difference:
        locked = trail.lock_difference(difference_id=difference_id)
        if locked.state == DifferenceState.RESOLVED and locked.approved_by_id == user_id:
            return locked
        _check_decidable(locked, user_id)
        fields: dict[str, Any] = {
            "state": DifferenceState.RESOLVED.value,
            "approved_by_id": user_id,
            "resolved_at": now,
            "journal_no": journal_no,
        }
        trail.note_difference(locked, code="approved", actor=actor, now=now, note=journal_no, **fields)
        return locked

    done = trail.in_transaction(work)
    reviewing.review_if_done(run_id=done.run_id, now=now)
    return done


def reject(*, difference_id: int, reason: str, user_id: int, now: dt.datetime) -> Difference:
    """Back to OPEN; an adjustment that was proposed with it is rejected too. Who proposed it may withdraw it so.

    Raises PermissionDenied, trail.AlreadyDecided, trail.ReasonMissing.
    """
    row = Difference.objects.using(trail.alias()).get(pk=difference_id)
    is_own = row.proposed_by_id == user_id
    actor = trail.check_staff(user_id=user_id, permission=MAY_PROPOSE if is_own else MAY_APPROVE)
    kept = trail.reason(reason)
    if row.state != DifferenceState.PROPOSED:
        raise trail.AlreadyDecided({"state": row.state})
    if row.resolution in BY_JOURNAL:
        _take_back(row, kept, user_id, is_own=is_own, now=now)

    def work() -> Difference:
        locked = _undecided(difference_id)
        if locked.state != DifferenceState.PROPOSED or locked.reference != row.reference:
            raise trail.AlreadyDecided({"state": locked.state})
        fields: dict[str, Any] = {
            "state": DifferenceState.OPEN.value,
            "resolution": "",
            "reason": "",
            "reference": "",
            "proposed_by_id": None,
            "proposed_at": None,
        }
        trail.note_difference(
            locked, code="withdrawn" if is_own else "rejected", actor=actor, now=now, note=kept, **fields
        )
        return locked

    return trail.in_transaction(work)


def excess_of(row: Difference) -> int:
    """Fen that the account at the provider has beyond our books because of this difference; negative: short."""
    sided = Sided(
        row_kind=BillRowKind(row.row_kind),
        is_incoming=row.is_incoming,
        our_amount_fen=row.our_amount_fen,
        their_amount_fen=row.their_amount_fen,
        our_state=row.our_state,
        their_state=row.their_state,
        our_fee_milli_fen=row.our_fee_milli_fen,
        their_fee_milli_fen=row.their_fee_milli_fen,
    )
    return excess_fen(sided, is_fee=row.kind == Kind.FEE)


def agrees_now(row: Difference) -> bool:
    """Whether our books say today what the bill says."""
    theirs = sides.their_row(row)
    if theirs is None or not row.number or row.kind == Kind.DUPLICATE:
        return False
    key = (row.row_kind, row.number)
    ours = books.find(run=row.run, wanted={key: row.is_incoming}).get(key)
    return ours is not None and compare_pair(ours, theirs, tolerance=comparing.TOLERANCE).kind is Kind.MATCH


def _prepare(row: Difference, proposal: Proposal, reason: str, user_id: int, now: dt.datetime) -> str:
    """Checks that the resolution fits, and gives what it moves money under: the number of an adjustment or a refund."""
    resolution = proposal.resolution
    if resolution is Resolution.SETTLED:
        raise NotApplicable({"problem": "only the machine settles"})
    if resolution in (Resolution.REPLAY, Resolution.REPAIR):
        if not row.number or row.kind not in (Kind.STATE, Kind.THEIRS_ONLY):
            raise NotApplicable({"problem": "nothing to ask the provider about"})
        return row.number
    if resolution is Resolution.REFUND:
        return _refund_number(row, proposal)
    if resolution in BY_JOURNAL:
        lines = proposal.lines if resolution is Resolution.ADJUST else _suspense(row)
        draft = adjustments.Draft(
            request_key=f"difference:{row.pk}:{row.events.count()}",
            reason=reason,
            lines=lines,
            evidence=proposal.evidence,
        )
        return adjustments.propose(draft=draft, staff_id=user_id, now=now).number
    return ""


def _refund_number(row: Difference, proposal: Proposal) -> str:
    if row.row_kind != BillRowKind.PAYMENT or row.their_state != Outcome.SUCCESS:
        raise NotApplicable({"problem": "only a payment that the provider has can be refunded"})
    try:
        attempt = orders.get_attempt(attempt_no=row.number)
    except Rejected as error:
        raise NotApplicable({"problem": "no order of ours has this number"}) from error
    amount_fen = proposal.amount_fen or row.value_fen
    if not 0 < amount_fen <= attempt.amount_fen:
        raise NotApplicable({"problem": "the amount is not one of this payment"})
    return f"{refunds.issue_refund_number(order_no=attempt.order_no)}:{amount_fen}"


def _suspense(row: Difference) -> tuple[Line, ...]:
    excess = excess_of(row)
    if not excess:
        raise NotApplicable({"problem": "nothing to write off"})
    return tuple(
        Line(
            account=platform_account(line.code, row.run.channel),
            bucket=Bucket.AVAILABLE,
            amount_fen=line.amount_fen,
            category=Category.PLATFORM,
        )
        for line in suspense_lines(BillRowKind(row.row_kind), excess)
    )


def _carry_out(row: Difference, user_id: int, now: dt.datetime) -> str:
    """Does what was proposed; returns the journal it ended in, "" for none."""
    resolution = Resolution(row.resolution)
    if resolution in BY_JOURNAL:
        adjustment = adjustments.find(number=row.reference)
        if adjustment.state == APPROVED:  # on the page of adjustments, by somebody else than the proposer too
            return str(adjustment.journal_id)
        done = adjustments.approve(
            number=row.reference, seen_digest=adjustment.digest, staff_id=user_id, now=now, note=f"difference {row.pk}"
        )
        return str(done.journal_id)
    if resolution is Resolution.REFUND:
        refund_no, _, amount_fen = row.reference.partition(":")
        attempt = orders.get_attempt(attempt_no=row.number)
        refunds.refund_order(
            refund_no=refund_no,
            order_no=attempt.order_no,
            amount_fen=int(amount_fen),
            reason="Reconciliation",
            requested_by=f"staff:{user_id}",
            now=now,
        )
        return f"refund_start:{refund_no}"
    if resolution in (Resolution.REPLAY, Resolution.REPAIR):
        _ask(row, now)
        if not agrees_now(row):
            raise StillDifferent({"number": row.number})
    return ""


def _take_back(row: Difference, reason: str, user_id: int, *, is_own: bool, now: dt.datetime) -> None:
    """Ends the adjustment of a proposal. One that was posted cannot be taken back: the proposal has to be approved."""
    state = adjustments.find(number=row.reference).state
    if state == APPROVED:
        raise trail.AlreadyDecided({"state": state, "adjustment": row.reference})
    if state != POSTABLE:
        return
    if is_own:
        adjustments.withdraw(number=row.reference, staff_id=user_id, now=now)
    else:
        adjustments.reject(number=row.reference, staff_id=user_id, reason=reason, now=now)


def _ask(row: Difference, now: dt.datetime) -> None:
    """What a notice of the provider's would have done: its answer decides, not ours."""
    if row.row_kind == BillRowKind.PAYOUT:
        found = withdrawals.find_payouts(numbers=[row.number]).get(row.number)
        if found is None:
            raise NotApplicable({"problem": "no withdrawal of ours has this number"})
        sending.check(order_no=found.order_no, now=now)
        return
    try:
        attempt = orders.get_attempt(attempt_no=row.number)
    except Rejected as error:
        raise NotApplicable({"problem": "no order of ours has this number"}) from error
    checking.check_attempt(attempt=attempt, now=now)


def _undecided(difference_id: int) -> Difference:
    row = trail.lock_difference(difference_id=difference_id)
    if row.state == DifferenceState.RESOLVED:
        raise trail.AlreadyDecided({"state": row.state})
    return row


def _check_decidable(row: Difference, user_id: int) -> None:
    if row.state != DifferenceState.PROPOSED:
        raise trail.AlreadyDecided({"state": row.state})
    if row.proposed_by_id == user_id:
        raise trail.SamePerson
    _check_open_day(row)


def _check_open_day(row: Difference) -> None:
    if row.run.state == RunState.SIGNED_OFF:
        raise InvalidRequest({"day": ["is signed off"]})


def _shown(evidence: Sequence[Evidence]) -> list[dict[str, str]]:
    return [{"digest": item.digest, "name": item.name} for item in evidence]

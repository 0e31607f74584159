"""A run is reviewed when nothing of it is open: by the machine when the file was clean, else by a person."""

from __future__ import annotations

import datetime as dt

from foundation.errors import Rejected
from reconciliation.domain.states import CarriedState, DifferenceState, RunState
from reconciliation.models import CarriedOver, Difference, RowProblem, Run
from reconciliation.services import trail

MAY_REVIEW = "reconciliation.handle_difference"


class NotReviewable(Rejected):
    """409: `details` say what is open."""

    code = "run_not_reviewable"
    http_status = 409
    message_en = "Something of this run is still open."
    message_zh = "该对账批次仍有未处理项。"


def open_items(*, run: Run) -> dict[str, int]:
    """How many differences and carried items of the run are open."""
    differences = Difference.objects.using(trail.alias()).filter(run=run).exclude(state=DifferenceState.RESOLVED)
    carried = CarriedOver.objects.using(trail.alias()).filter(run=run, state=CarriedState.WAITING)
    return {"differences": differences.count(), "carried": carried.count()}


def review_if_done(*, run_id: int, now: dt.datetime) -> Run:
    """MATCHED → REVIEWED when nothing is open and the file had no problems; else the run as it is. Safe to repeat."""

    def work() -> Run:
        run = trail.lock_run(run_id=run_id)
        has_problems = RowProblem.objects.using(trail.alias()).filter(run=run, file=run.file).exists()
        if run.state == RunState.MATCHED and not has_problems and not any(open_items(run=run).values()):
            trail.move_run(run, state=RunState.REVIEWED, code="nothing_to_review", actor=trail.SYSTEM, now=now)
        return run

    return trail.in_transaction(work)


def review(*, run_id: int, user_id: int, remark: str, now: dt.datetime) -> Run:
    """A person has looked at the rows and totals that were not right. Raises PermissionDenied, NotReviewable,
    trail.AlreadyDecided, trail.ReasonMissing."""
    actor = trail.check_staff(user_id=user_id, permission=MAY_REVIEW)
    reason = trail.reason(remark)

    def work() -> Run:
        run = trail.lock_run(run_id=run_id)
        if run.state != RunState.MATCHED:
            raise trail.AlreadyDecided({"state": run.state})
        left = open_items(run=run)
        if any(left.values()):
            raise NotReviewable(left)
        trail.move_run(run, state=RunState.REVIEWED, code="reviewed", actor=actor, now=now, note=reason)
        return run

    return trail.in_transaction(work)

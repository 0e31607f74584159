"""Who of the staff hears of adjustments: checkers of a proposal, its maker of the decision."""

from __future__ import annotations

from django.urls import reverse

from foundation import clock, notifications, outbox
from foundation.money import yuan_display
from foundation.outbox import Event
from funds.domain import adjustments

STATES_ZH = {"APPROVED": "已批准", "REJECTED": "已驳回", "WITHDRAWN": "已撤回"}
APPROVERS = "funds.approve_adjustment"


def on_adjustment_proposed(event: Event) -> None:
    """Tells everybody who may approve, except the maker."""
    number, maker = event.payload["number"], event.payload["proposed_by_name"]
    amount = yuan_display(event.payload["total_fen"])
    notifications.notify_holders(
        permission=APPROVERS,
        except_id=event.payload["proposed_by_id"],
        key=f"{event.topic}:{number}",
        title_en=f"Adjustment {number} of {amount} by {maker} waits for approval"[:200],
        title_zh=f"{maker} 提出的资金调整 {number}（{amount}）待审批"[:200],
        link=_link(event),
        now=clock.now(),
    )


def on_adjustment_decided(event: Event) -> None:
    """Tells the maker; a withdrawal is told to those who were to approve."""
    number, state, who = event.payload["number"], event.payload["state"], event.payload["decided_by_name"]
    key, amount = f"{event.topic}:{number}", yuan_display(event.payload["total_fen"])
    if state == "WITHDRAWN":
        maker = event.payload["proposed_by_name"]
        notifications.notify_holders(
            permission=APPROVERS,
            except_id=event.payload["proposed_by_id"],
            key=key,
            title_en=f"Adjustment {number} of {amount} was withdrawn by {maker}"[:200],
            title_zh=f"{maker} 撤回了资金调整 {number}（{amount}）"[:200],
            link=_link(event),
            now=clock.now(),
        )
        return
    notifications.notify(
        recipient_ids=[event.payload["proposed_by_id"]],
        key=key,
        title_en=f"Your adjustment {number} of {amount} was {state.lower()} by {who}"[:200],
        title_zh=f"您提出的资金调整 {number}（{amount}）{STATES_ZH[state]}，审批人 {who}"[:200],
        link=_link(event),
        now=clock.now(),
    )


def _link(event: Event) -> str:
    return reverse("admin:funds_adjustment_change", args=[event.payload["adjustment_id"]])


outbox.subscribe(adjustments.PROPOSED, on_adjustment_proposed)
outbox.subscribe(adjustments.DECIDED, on_adjustment_decided)

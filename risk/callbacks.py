"""What follows a change of rules or lists: notices for staff, and the door's set of blocked callers."""

from __future__ import annotations

from django.urls import reverse

from foundation import clock, notifications, outbox
from foundation.outbox import Event
from risk.domain.facts import ACTION_NAMES, Action
from risk.domain.versions import CHANGED, LISTS_CHANGED
from risk.services import publishing
from risk.services.staff import APPROVE_RULES

STATES_ZH = {"ACTIVE": "已生效", "REFUSED": "已驳回"}


def on_rules_changed(event: Event) -> None:
    """Tells checkers of a submitted version, and its maker of the decision."""
    state, number, maker_id = event.payload["state"], event.payload["number"], event.payload["made_by_id"]
    name_en, name_zh = ACTION_NAMES[Action(event.payload["action"])]
    link = reverse("admin:risk_ruleversion_change", args=[event.payload["version_id"]])
    key = f"{event.topic}:{event.key}"
    if state == "SUBMITTED":
        maker = event.payload["made_by_name"]
        notifications.notify_holders(
            permission=APPROVE_RULES,
            except_id=maker_id,
            key=key,
            title_en=f"Risk rules “{name_en}” version {number} by {maker} wait for approval"[:200],
            title_zh=f"{maker} 提交的风控规则“{name_zh}”第 {number} 版待审批"[:200],
            link=link,
            now=clock.now(),
        )
        return
    who = event.payload["decided_by_name"]
    notifications.notify(
        recipient_ids=[maker_id],
        key=key,
        title_en=f"Your risk rules “{name_en}” version {number} are {state.lower()}, by {who}"[:200],
        title_zh=f"您提交的风控规则“{name_zh}”第 {number} 版{STATES_ZH[state]}，审批人 {who}"[:200],
        link=link,
        now=clock.now(),
    )


def on_lists_changed(event: Event) -> None:
    publishing.publish_blocked(now=clock.now())


outbox.subscribe(CHANGED, on_rules_changed)
outbox.subscribe(LISTS_CHANGED, on_lists_changed)

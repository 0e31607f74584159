"""Risk control on the finance desk: rules and list entries that wait for a second person."""

from __future__ import annotations

from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from foundation import desk
from foundation.desk import Asking, Line, Panel, Section, Tile, Tone
from risk import selectors

RULES, LISTS = "risk.approve_rules", "risk.confirm_lists"


def read_waiting(asking: Asking) -> Panel:
    versions, entries = selectors.count_waiting()
    lines = []
    if versions and asking.may(RULES):
        link = f"{reverse('admin:risk_ruleversion_changelist')}?state__exact=SUBMITTED"
        lines.append(Line(label=_("Rule versions"), value=str(versions), link=link, tone=Tone.WARNING))
    if entries and asking.may(LISTS):
        link = reverse("admin:risk_listentry_changelist")
        lines.append(Line(label=_("Allow list entries"), value=str(entries), link=link, tone=Tone.WARNING))
    return Panel(lines=tuple(lines)) if lines else Panel(figure="0", note=_("Nothing waits."), tone=Tone.GOOD)


desk.register(
    Tile(
        name="risk.waiting",
        title=_("Risk rules and lists"),
        section=Section.WAITING,
        order=40,
        permissions=(RULES, LISTS),
        read=read_waiting,
    )
)

"""Risk control in the admin: rules by two people, lists, and the log of decisions."""

from risk.admin.decisions import DecisionAdmin, ReservationAdmin
from risk.admin.entries import ListEntryAdmin
from risk.admin.rules import RuleSetAdmin, RuleVersionAdmin

__all__ = ["DecisionAdmin", "ListEntryAdmin", "ReservationAdmin", "RuleSetAdmin", "RuleVersionAdmin"]

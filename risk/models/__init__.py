"""Tables of risk control, all of the role default."""

from risk.models.decisions import Counter, Decision, Reservation
from risk.models.lists import ListEntry
from risk.models.rules import RuleRow, RuleSet, RuleVersion

__all__ = ["Counter", "Decision", "ListEntry", "Reservation", "RuleRow", "RuleSet", "RuleVersion"]

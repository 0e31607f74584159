"""Risk control (风控系统): versioned decision tables that finance edits, limits, lists, and a log of every decision.

Called by withdrawals, payments and redpacket (services); calls identity and foundation. Tables (role default): RuleSet,
RuleVersion, RuleRow, ListEntry, Decision, Counter, Reservation. Invariants: rows never change once submitted; who made
a version never approves it; decisions are insert-only; counters equal their reservations; an evaluation error is never
a pass.
"""

"""The gateway to payment providers: one adapter per channel behind one set of ports, and the store of their notices.

Called by payments (and later withdrawals, collect's channel, reconciliation); calls foundation and the providers.
Tables: Notice (default database). Modules: ports (pure), adapters (the only ones that know a provider), registry
(channel code → adapter), services (calls, notices).
Invariants: what is not positively recognised is UNKNOWN; a notice is committed raw before it is verified; one
provider event has at most one verified row; no notice of another merchant, application or currency becomes a fact.
"""

"""The gateway to payment providers: one adapter per channel behind one set of ports, and the store of their notices.

Called by payments (and later withdrawals, collect's channel, reconciliation); calls foundation and the providers.
Tables (default database): Notice, ChannelSetting, ClientGrade, Credential, RoutingDecision, CallRecord. Modules: ports
and domain (pure), adapters (the only ones that know a provider), selectors and vault (settings and secrets, cached),
registry (channel code → adapter), services (calls and the traffic around them, notices, routing, health).
Invariants: what is not positively recognised is UNKNOWN; a notice is committed raw before it is verified; one
provider event has at most one verified row; no notice of another merchant, application or currency becomes a fact; no
secret is stored open; a channel that is switched off or broken prepares nothing new, and everything else goes on.
"""

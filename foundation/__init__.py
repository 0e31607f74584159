"""What every app stands on and what knows no business word.

Owns: error families, clock, money text, ids, database roles and transactions, transactional outbox, timed jobs,
alerts, idempotency keys, node leases, the API's conventions. Called by every app; calls none of them.
Tables: OutboxEvent (in every database), JobRun, JobLock, Alert, IdempotencyRecord, NodeLease (default database).
Invariants: an outbox row commits with the fact it announces; a job runs at most once at a time; a key answers once.
"""

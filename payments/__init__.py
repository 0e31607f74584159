"""The payment platform: recharge, purchases, settlement, refunds, and the providers' notices.

Called by redpacket and clients; calls orders, funds, gateway, identity. No tables of its own: orders and the ledger
hold everything. Events: payments.order_paid, payments.order_closed, payments.refund_finished.
Invariants: the ledger's commit is the commit point of money and carries the outbox row; the order follows and is
repaired by the event or the query job; UNKNOWN is never turned into FAILED without proof.
"""

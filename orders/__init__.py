"""Orders and attempts: 16 order tables and 16 attempt tables over N databases, order numbers, states.

Owns: order numbers, routing of a number to its table, the transition tables. Called by payments and withdrawals;
calls foundation. Tables: orders_order_00 … 15, orders_attempt_00 … 15 (database `orders_{i mod N}`).
Invariants: a row stands in the table its number names; states move only along the transition tables; an order has at
most one effective attempt; refunding + refunded never exceed the amount.
"""

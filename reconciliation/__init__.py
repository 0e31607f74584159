"""Reconciliation (对账): the providers' bills against our books, row by row, until they agree and a day is signed off.

Owns runs, raw bills, differences, carried items and signed-off days (role default; docs/RECONCILIATION.md). `domain`
reads bills and compares, pure; `services` plan, fetch, parse, compare, resolve and close. Called by the admin, by jobs
and `manage.py reconcile`; calls gateway for bills, orders and withdrawals for our side, payments and funds to put right
what differs. Invariants: every row of either side ends in exactly one finding or before a person; no difference is
edited away; whoever proposes does not approve.
"""

"""The ledger: accounts, holds, journals, postings, behind one posting door.

Called by payments (services) and by reports (selectors); calls foundation, and identity for the wallet's log-in.
Tables (role funds): Account, Hold, Journal, Posting. Invariants: lines of a journal sum to zero; a (kind, reference) is
posted once; customer balances are never negative; frozen = open holds; journals and postings are insert-only.
"""

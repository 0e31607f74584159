"""Funds in the admin: the ledger to be read, adjustments to be proposed and decided."""

from funds.admin.adjustments import AdjustmentAdmin
from funds.admin.books import AccountSnapshotAdmin, ClosedDayAdmin, EnterpriseBooksAdmin, JournalSealAdmin
from funds.admin.ledger import AccountAdmin, HoldAdmin, JournalAdmin, PostingAdmin

__all__ = [
    "AccountAdmin",
    "AccountSnapshotAdmin",
    "AdjustmentAdmin",
    "ClosedDayAdmin",
    "EnterpriseBooksAdmin",
    "HoldAdmin",
    "JournalAdmin",
    "JournalSealAdmin",
    "PostingAdmin",
]

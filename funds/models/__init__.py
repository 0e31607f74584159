"""Tables of funds (role funds). Only this app imports them."""

from funds.models.adjustments import Adjustment, AdjustmentEvidence, AdjustmentLine
from funds.models.closing import AccountSnapshot, ClosedDay, JournalSeal, TrialBalanceLine
from funds.models.ledger import Account, Hold, Journal, Posting
from funds.models.views import EnterpriseBooks

__all__ = [
    "Account",
    "AccountSnapshot",
    "Adjustment",
    "AdjustmentEvidence",
    "AdjustmentLine",
    "ClosedDay",
    "EnterpriseBooks",
    "Hold",
    "Journal",
    "JournalSeal",
    "Posting",
    "TrialBalanceLine",
]

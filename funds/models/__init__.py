"""Tables of funds (role funds). Only this app imports them."""

from funds.models.ledger import Account, Hold, Journal, Posting

__all__ = ["Account", "Hold", "Journal", "Posting"]

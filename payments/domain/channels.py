"""Names of channels the platform itself gives meaning to."""

from __future__ import annotations

WALLET = "wallet"
"""Attempts paid from the customer's own balance; no provider knows them."""
AUTO = "auto"
"""The client leaves the channel open: the platform chooses among those that may take the payment."""

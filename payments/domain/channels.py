"""Names of channels the platform itself gives meaning to."""

from __future__ import annotations

WALLET = "wallet"
"""Attempts paid from the customer's own balance; no provider knows them."""

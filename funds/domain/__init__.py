"""Pure rules of the ledger."""

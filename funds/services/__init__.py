"""Use cases of the ledger; `ledger` is the one door through which money moves."""

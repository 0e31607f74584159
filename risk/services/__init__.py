"""Use cases of risk control, one module each."""

"""Use cases of the payment platform, one module each."""

"""Use cases of red packets, one module each."""

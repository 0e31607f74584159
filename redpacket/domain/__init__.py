"""Pure rules of red packets."""

"""Use cases of the gateway: calls to providers and the receipt of their notices."""

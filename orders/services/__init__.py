"""Use cases of orders: issue numbers, open, advance, reserve refunds."""

"""Pure rules of orders: numbers, states, records."""

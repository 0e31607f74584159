"""One module per provider; only gateway.registry imports them."""

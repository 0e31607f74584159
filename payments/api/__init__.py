"""REST endpoints of the payment platform and the providers' notice addresses."""

"""Rules of routing in plain values: no Django, no clock, no Redis."""

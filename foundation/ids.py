"""Opaque identifiers: 32 lower-case hex digits in the layout of UUID version 7 (RFC 9562).

Time-ordered, so that InnoDB appends instead of splitting pages; 74 random bits, so that nobody guesses one.
"""

from __future__ import annotations

import secrets

from foundation import clock


def new_id() -> str:
    """A fresh identifier, ordered by creation time to the millisecond."""
    milliseconds = clock.epoch_ms() & (2**48 - 1)
    value = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return f"{value:032x}"

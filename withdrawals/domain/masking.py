"""How card and phone numbers are shown to people. Pure."""

from __future__ import annotations


def mask_card(number: str) -> str:
    """First six and last four digits, "622202 **** 1234"; a short number keeps its last four only."""
    if len(number) < 12:
        return f"**** {number[-4:]}"
    return f"{number[:6]} **** {number[-4:]}"


def mask_phone(number: str) -> str:
    """ "138****5678"; a short number keeps its last two digits only."""
    if len(number) < 8:
        return f"****{number[-2:]}"
    return f"{number[:3]}****{number[-4:]}"

"""Opaque cursors of keyset pages."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from foundation.errors import InvalidRequest


def encode(values: Sequence[Any]) -> str:
    """The key of the last row shown, as text that a client hands back unchanged."""
    text = json.dumps(list(values), separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str) -> list[Any]:
    """The key again; InvalidRequest (400) for anything that `encode` cannot have made."""
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise InvalidRequest({"cursor": ["not a cursor of this list"]}) from error
    if not isinstance(values, list):
        raise InvalidRequest({"cursor": ["not a cursor of this list"]})
    return values

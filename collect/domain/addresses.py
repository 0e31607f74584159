"""Where the payer's pages are: short, for these addresses stand in QR codes and on posters for years. Pure."""

from __future__ import annotations

PREFIX = "c/"


def page_path(code_id: str) -> str:
    """The page of a code, "/c/<id>"."""
    return f"/{PREFIX}{code_id}"


def poster_path(code_id: str) -> str:
    """The sheet to print."""
    return f"{page_path(code_id)}/poster"

"""QR codes as SVG and PNG, by segno. No network, no database."""

from __future__ import annotations

import io

import segno

QUIET_ZONE_MODULES = 4
"""As the standard (ISO/IEC 18004) wants around the code."""
SCALE = 8
"""Pixels a module: some 300 pixels in all, sharp on phones and in print."""


def draw_svg(*, url: str) -> bytes:
    """An SVG that scales to any size; error correction M (15 % may be dirty or torn)."""
    out = io.BytesIO()
    segno.make(url, error="m", micro=False).save(
        out, kind="svg", border=QUIET_ZONE_MODULES, scale=SCALE, light="#ffffff", xmldecl=False
    )
    return out.getvalue()


def draw_png(*, url: str) -> bytes:
    """The same as a PNG of two colours."""
    out = io.BytesIO()
    segno.make(url, error="m", micro=False).save(out, kind="png", border=QUIET_ZONE_MODULES, scale=SCALE)
    return out.getvalue()

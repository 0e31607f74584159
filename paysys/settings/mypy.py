"""What the type checker loads: the embedded settings (no server is asked)."""

from __future__ import annotations

from paysys.settings.dev import *  # noqa: F403

"""Embedded default: SQLite in WAL mode and a private redis-server, as `make run` starts them. Never for production."""

from __future__ import annotations

from paysys.settings.base import *  # noqa: F403
from paysys.settings.base import BASE_DIR, LIMITER_WINDOWS

ENVIRONMENT = "dev"
ALLOWED_HOSTS = ["*"]
WHITENOISE_USE_FINDERS = True
STATIC_ROOT = BASE_DIR / ".local" / "static"
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
SCHEDULE_SECONDS = {"payments.close_expired": 15, "redpacket.expire_due": 5, "redpacket.settle_sweep": 60}
"""A demo does not wait ten minutes for an expired packet."""
CALLBACK_HTTP_ALLOWED = True
CALLBACK_ALLOWED_NETWORKS = ["127.0.0.1/32"]

LIMITER_WINDOWS = {**LIMITER_WINDOWS, "caller": (0, 60), "address": (0, 60)}
"""Load generators ask as a few employees, from one address."""

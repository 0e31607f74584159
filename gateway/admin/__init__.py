"""The gateway in the admin: channels and their secrets are edited here, everything else is read."""

from __future__ import annotations

from gateway.admin import channels, credentials, notices, records

__all__ = ["channels", "credentials", "notices", "records"]

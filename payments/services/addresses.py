"""Where providers send their notices."""

from __future__ import annotations

from django.conf import settings


def notify_url(channel: str, kind: str = "") -> str:
    """/notify/<channel>, or /notify/<channel>/<kind> for notices of refunds, under the public base URL."""
    path = f"/notify/{channel}/{kind}" if kind else f"/notify/{channel}"
    return settings.PUBLIC_BASE_URL.rstrip("/") + path

"""ASGI entry of the push process for granian; what it does is in paysys/push_server.py."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "paysys.settings.production")
django.setup()

from paysys.push_server import Application  # noqa: E402 - it reads the settings

application = Application()

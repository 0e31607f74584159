"""The test settings with django-hordak beside our own apps: it is a baseline, never a part of the product."""

from __future__ import annotations

from paysys.settings.test import *  # noqa: F403
from paysys.settings.test import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "mptt", "hordak"]
DEFAULT_CURRENCY = "CNY"
CURRENCIES = ("CNY",)
SILENCED_SYSTEM_CHECKS = ["models.W042"]

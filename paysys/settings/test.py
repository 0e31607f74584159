"""Tests on real MariaDB, Redis and RabbitMQ as tests/provision.py starts them. SQLite proves nothing about money."""

from __future__ import annotations

import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from paysys.settings.base import *  # noqa: F403
from paysys.settings.base import BASE_DIR, DATABASES, INSTALLED_APPS, LIMITER_WINDOWS, env

ENVIRONMENT = "test"
INSTALLED_APPS = [*INSTALLED_APPS, "django_linear_migrations"]
ALLOWED_HOSTS = ["*"]
STATIC_ROOT = BASE_DIR / ".local" / "static"
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
ATTACHMENT_ROOT = Path(tempfile.gettempdir()) / "paysys-test-attachments"
RECONCILIATION_ROOT = Path(tempfile.gettempdir()) / "paysys-test-reconciliation"
VALIDATOR = env.str("PAYSYS_VALIDATOR", default="when_sent")
"""Tests of other things do without tokens; those of the validator ask for "required"."""
CALLBACK_HTTP_ALLOWED = True
CALLBACK_ALLOWED_NETWORKS = ["127.0.0.1/32"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

if any("sqlite" in config["ENGINE"] for config in DATABASES.values()):
    raise ImproperlyConfigured("The tests need MariaDB: run `make test`, or set DATABASE_URL and the others.")
for _config in DATABASES.values():
    _config["TEST"] = {**_config.get("TEST", {}), "CHARSET": "utf8mb4", "COLLATION": "utf8mb4_unicode_520_ci"}

LIMITER_WINDOWS = {**LIMITER_WINDOWS, "caller": (0, 60), "address": (0, 60)}
"""Load generators ask as a few employees, from one address."""

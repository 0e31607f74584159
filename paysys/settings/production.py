"""Production. Refuses to start with anything that is only good for a developer's machine."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from paysys.settings.base import *  # noqa: F403
from paysys.settings.base import (
    DATABASES,
    DEBUG,
    DEFAULT_SECRET_KEY,
    PUBLIC_BASE_URL,
    SECRET_KEY,
    WECHAT,
    WECHAT_OFFICIAL_BASE_URL,
    env,
)

ENVIRONMENT = "production"
MINIMUM_SECRET_LENGTH = 50

_refusals = []
if SECRET_KEY == DEFAULT_SECRET_KEY or len(SECRET_KEY) < MINIMUM_SECRET_LENGTH:
    _refusals.append("DJANGO_SECRET_KEY is the default or shorter than 50 characters")
if DEBUG:
    _refusals.append("DJANGO_DEBUG is on")
_refusals += [f"database {alias} is SQLite" for alias, config in DATABASES.items() if "sqlite" in config["ENGINE"]]
if WECHAT["base_url"] != WECHAT_OFFICIAL_BASE_URL:
    _refusals.append(f"WECHAT_BASE_URL is {WECHAT['base_url']!r}, not {WECHAT_OFFICIAL_BASE_URL!r}")
if not WECHAT["credentials_file"]:
    _refusals.append("WECHAT_CREDENTIALS_FILE is not set")
if not PUBLIC_BASE_URL.startswith("https://"):
    _refusals.append("PAYSYS_PUBLIC_BASE_URL is not https")
if not env.list("PAYSYS_LEDGER_SEAL_KEYS", default=[]):
    _refusals.append("PAYSYS_LEDGER_SEAL_KEYS is not set")
if not env.list("PAYSYS_ENCRYPTION_KEYS", default=[]):
    _refusals.append("PAYSYS_ENCRYPTION_KEYS is not set")
if not env.list("DJANGO_ALLOWED_HOSTS", default=[]):
    _refusals.append("DJANGO_ALLOWED_HOSTS is not set")
if _refusals:
    raise ImproperlyConfigured("Production refuses to start: " + "; ".join(_refusals) + ".")

SECURE_SSL_REDIRECT = True
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True

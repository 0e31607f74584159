"""Production. Refuses to start with anything that is only good for a developer's machine."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from paysys.settings.base import *  # noqa: F403
from paysys.settings.base import (
    ALIPAY,
    ALIPAY_OFFICIAL_GATEWAY_URL,
    DATABASES,
    DEBUG,
    DEFAULT_SECRET_KEY,
    KUAIQIAN,
    KUAIQIAN_OFFICIAL_BASE_URL,
    KUAIQIAN_OFFICIAL_CARD_BASE_URL,
    PUBLIC_BASE_URL,
    SECRET_KEY,
    SHORT_MESSAGES,
    SHORT_MESSAGES_SECRET,
    VALIDATOR,
    WECHAT,
    WECHAT_OAUTH,
    WECHAT_OFFICIAL_AUTHORIZE_URL,
    WECHAT_OFFICIAL_BASE_URL,
    WECHAT_OFFICIAL_TOKEN_URL,
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
_OFFICIAL = (
    ("WECHAT_BASE_URL", WECHAT["base_url"], WECHAT_OFFICIAL_BASE_URL),
    ("WECHAT_OAUTH_AUTHORIZE_URL", WECHAT_OAUTH["authorize_url"], WECHAT_OFFICIAL_AUTHORIZE_URL),
    ("WECHAT_OAUTH_TOKEN_URL", WECHAT_OAUTH["token_url"], WECHAT_OFFICIAL_TOKEN_URL),
    ("ALIPAY_GATEWAY_URL", ALIPAY["gateway_url"], ALIPAY_OFFICIAL_GATEWAY_URL),
    ("KUAIQIAN_BASE_URL", KUAIQIAN["base_url"], KUAIQIAN_OFFICIAL_BASE_URL),
    ("KUAIQIAN_CARD_BASE_URL", KUAIQIAN["card_base_url"], KUAIQIAN_OFFICIAL_CARD_BASE_URL),
)
_refusals += [f"{name} is {used!r}, not {official!r}" for name, used, official in _OFFICIAL if used != official]
if not SHORT_MESSAGES.startswith("https://") or not SHORT_MESSAGES_SECRET:
    _refusals.append("PAYSYS_SHORT_MESSAGES is not an https address with PAYSYS_SHORT_MESSAGES_SECRET")
if not WECHAT["credentials_file"]:
    _refusals.append("WECHAT_CREDENTIALS_FILE is not set")
if not PUBLIC_BASE_URL.startswith("https://"):
    _refusals.append("PAYSYS_PUBLIC_BASE_URL is not https")
if not env.list("PAYSYS_LEDGER_SEAL_KEYS", default=[]):
    _refusals.append("PAYSYS_LEDGER_SEAL_KEYS is not set")
if not env.list("PAYSYS_ENCRYPTION_KEYS", default=[]) and not env.str("PAYSYS_ENCRYPTION_KEYS_FILE", default=""):
    _refusals.append("PAYSYS_ENCRYPTION_KEYS is not set")
if VALIDATOR != "required":
    _refusals.append(f"PAYSYS_VALIDATOR is {VALIDATOR!r}, not 'required'")
if env.str("PAYSYS_STAFF_CODES", default="required") != "required":
    _refusals.append("PAYSYS_STAFF_CODES is not 'required'")
STAFF_CODES = "required"
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

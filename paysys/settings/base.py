"""What all environments share. Everything that differs between machines comes from the environment (.env.example)."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import environ
import structlog
from kombu import Exchange, Queue

from paysys.admin.theme import UNFOLD as UNFOLD

BASE_DIR = Path(__file__).resolve().parent.parent.parent
env = environ.Env()

DEFAULT_SECRET_KEY = "development-only-secret-key-that-production-refuses-to-start-with"  # noqa: S105
SECRET_KEY = env.str("DJANGO_SECRET_KEY", default=DEFAULT_SECRET_KEY)
DEBUG = env.bool("DJANGO_DEBUG", default=False)
ALLOWED_HOSTS: list[str] = env.list("DJANGO_ALLOWED_HOSTS", default=["127.0.0.1", "localhost"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("DJANGO_CSRF_TRUSTED_ORIGINS", default=[])
PUBLIC_BASE_URL = env.str("PAYSYS_PUBLIC_BASE_URL", default="http://127.0.0.1:8000")
"""Where providers reach our /notify/ addresses; official providers accept https only."""

INSTALLED_APPS = [
    "paysys.apps.PaysysConfig",
    "withdrawals.apps.WithdrawalsConfig",
    "redpacket.apps.RedpacketConfig",
    "collect.apps.CollectConfig",
    "reconciliation.apps.ReconciliationConfig",
    "payments.apps.PaymentsConfig",
    "orders.apps.OrdersConfig",
    "funds.apps.FundsConfig",
    "gateway.apps.GatewayConfig",
    "risk.apps.RiskConfig",
    "identity.apps.IdentityConfig",
    "foundation.apps.FoundationConfig",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.simple_history",
    "paysys.admin.apps.DeskConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "django_prometheus",
    "django_otp",
    "django_otp.plugins.otp_static",
    "simple_history",
    "waffle",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "foundation.http_policy.PolicyMiddleware",
    "foundation.middleware.RequestIdMiddleware",
    "foundation.http_limits.BodyLimitMiddleware",
    "foundation.api.door.DoorMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "foundation.audit_requests.AuditMiddleware",
    "identity.admin.staff.StaffCodeMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "identity.admin.sessions.RoleMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "paysys.urls"
WSGI_APPLICATION = "paysys.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Databases by role (design sharding.md) -------------------------------------------------------------------------

MYSQL_OPTIONS: dict[str, Any] = {
    "charset": "utf8mb4",
    "isolation_level": "read committed",
    "init_command": "SET sql_mode='STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', "
    "innodb_lock_wait_timeout=10",
}
SQLITE_OPTIONS: dict[str, Any] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 30,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
}


def database(variable: str, default: str | None = None) -> dict[str, Any]:
    """One entry of DATABASES from a URL variable, with the options its engine needs here."""
    config: dict[str, Any] = env.db(variable, default=default) if default else env.db(variable)
    is_sqlite = "sqlite" in config["ENGINE"]
    config["OPTIONS"] = {**config.get("OPTIONS", {}), **(SQLITE_OPTIONS if is_sqlite else MYSQL_OPTIONS)}
    if not is_sqlite:
        config["ENGINE"] = "foundation.db.mysql"
    config["CONN_MAX_AGE"] = 300
    config["CONN_HEALTH_CHECKS"] = True
    config["SHARD_GROUP"] = None  # django-sharding reads it for every database
    return config


DATABASES: dict[str, Any] = {
    "default": database("DATABASE_URL", f"sqlite:///{BASE_DIR / '.local' / 'paysys.sqlite3'}"),
}
for _role in ("funds", "redpacket"):
    if env.str(f"{_role.upper()}_DATABASE_URL", default=""):
        DATABASES[_role] = database(f"{_role.upper()}_DATABASE_URL")
_order_aliases: list[str] = []
while env.str(f"ORDERS_{len(_order_aliases)}_DATABASE_URL", default=""):
    _alias = f"orders_{len(_order_aliases)}"
    DATABASES[_alias] = database(f"ORDERS_{len(_order_aliases)}_DATABASE_URL")
    _order_aliases.append(_alias)

REPLICA_OPTIONS: dict[str, Any] = {"connect_timeout": 1, "read_timeout": 10}
"""Seconds. A dead replica costs a list no more than this before the primary is asked."""
for _primary in list(DATABASES):
    _variable = "REPLICA_URL" if _primary == "default" else f"{_primary.upper()}_REPLICA_URL"
    if env.str(_variable, default=""):
        # Lists of orders may be read there while it is fresh (orders.selectors.sources); never migrated, never written.
        _replica = database(_variable) | {"PRIMARY": _primary, "TEST": {"MIRROR": _primary}}
        _replica["OPTIONS"] |= {} if "sqlite" in _replica["ENGINE"] else REPLICA_OPTIONS
        DATABASES[f"{_primary}_replica"] = _replica

DATABASE_ROLES: dict[str, str] = {
    "default": "default",
    "funds": "funds" if "funds" in DATABASES else "default",
    "redpacket": "redpacket" if "redpacket" in DATABASES else "default",
}
_order_databases: list[str] = env.list("PAYSYS_ORDER_DATABASES", default=_order_aliases or ["default"])
ORDER_SHARD_DATABASES: list[str] = [_order_databases[_i % len(_order_databases)] for _i in range(16)]
"""Table i of the 16 order tables lives on entry i.

PAYSYS_ORDER_DATABASES names the N databases (1, 2, 4, 8 or 16 aliases). Left out, it is every ORDERS_n_DATABASE_URL,
or the default database. Pin it before adding databases without order tables (OPERATIONS, Growing the order databases).
"""
DATABASE_ROUTERS = ["foundation.db.sharding.RoleRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis, Celery --------------------------------------------------------------------------------------------------

REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")
REDIS_SENTINELS: list[str] = env.list("PAYSYS_REDIS_SENTINELS", default=[])
"""host:port of each Sentinel. With them, they name the master; of REDIS_URL its password and number are used then."""
REDIS_SENTINEL_MASTER = env.str("PAYSYS_REDIS_SENTINEL_MASTER", default="paysys")
REDIS_SENTINEL_PASSWORD = env.str("PAYSYS_REDIS_SENTINEL_PASSWORD", default="")
CACHES = {
    "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS_URL, "KEY_PREFIX": "cache"},
    "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}
WAFFLE_FLAG_MODEL = "foundation.Flag"
WAFFLE_CACHE_NAME = "local"
"""Flags are asked through foundation.flags; the library must not need Redis to save one."""
WAFFLE_ENABLE_ADMIN_PAGES = False
"""foundation.admin_limits shows them; the library's samples and switches are not used."""

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default=REDIS_URL)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_TASK_TIME_LIMIT = 30
CELERY_TASK_SOFT_TIME_LIMIT = 25
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
if CELERY_BROKER_URL.startswith("amqp"):
    CELERY_TASK_DEFAULT_QUEUE_TYPE = "quorum"
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {"confirm_publish": True}
    CELERY_WORKER_DETECT_QUORUM_QUEUES = True
    CELERY_TASK_QUEUES = (
        Queue("default", queue_arguments={"x-queue-type": "quorum"}),
        Queue("provider", Exchange("provider"), "provider", queue_arguments={"x-max-priority": 9}),
    )
    """Others are made when they are first named. RabbitMQ 3.10 has priorities in classic queues only (ADR 8)."""
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 60}
    if CELERY_BROKER_URL.startswith("sentinel"):
        CELERY_BROKER_TRANSPORT_OPTIONS["master_name"] = REDIS_SENTINEL_MASTER
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"

# --- People, time, language -----------------------------------------------------------------------------------------

PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
STAFF_CODES = env.str("PAYSYS_STAFF_CODES", default="when_enrolled")
"""One-time codes of staff: "required" (who has no device sees only the enrolment page) or "when_enrolled"."""
STAFF_CODES_ISSUER = env.str("PAYSYS_STAFF_CODES_ISSUER", default="Payment platform")
ACCESS_TOKEN_HOURS = env.int("PAYSYS_ACCESS_TOKEN_HOURS", default=12)

REVEALS_PER_HOUR = env.int("PAYSYS_REVEALS_PER_HOUR", default=30)
"""Rows whose closed data one member of staff may look at within any hour."""
LOGIN_TRIES_FROM_ADDRESS = env.int("PAYSYS_LOGIN_TRIES_FROM_ADDRESS", default=10)
LOGIN_TRIES = env.int("PAYSYS_LOGIN_TRIES", default=50)
LOGIN_LOCK_SECONDS = env.int("PAYSYS_LOGIN_LOCK_SECONDS", default=900)
"""Failed log-ins of one employee within that time, from one address and from all, before the next is told 429."""

VALIDATOR = env.str("PAYSYS_VALIDATOR", default="required")
"""Calls that move an employee's money need a validator token ("required"); "when_sent" checks only what is sent."""
VALIDATOR_SESSION_SECONDS = env.int("PAYSYS_VALIDATOR_SESSION_SECONDS", default=300)
VALIDATOR_ONCE_SECONDS = env.int("PAYSYS_VALIDATOR_ONCE_SECONDS", default=60)
VALIDATOR_TOKENS_PER_MINUTE = env.int("PAYSYS_VALIDATOR_TOKENS_PER_MINUTE", default=60)
"""Of one employee; a session token serves minutes of clicking. 0: no limit."""

TIME_ZONE = "Asia/Shanghai"
USE_TZ = True
CELERY_TIMEZONE = TIME_ZONE
LANGUAGE_CODE = "zh-hans"
LANGUAGES = [("zh-hans", "简体中文"), ("en", "English")]
USE_I18N = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

# --- API ------------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["identity.api.authentication.EmployeeTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["identity.api.permissions.IsEmployee"],
    "DEFAULT_THROTTLE_CLASSES": ["foundation.api.throttles.DoorThrottle", "foundation.api.throttles.WindowThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "identity.api.openapi.Schema",
    "EXCEPTION_HANDLER": "foundation.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
    "DATETIME_FORMAT": "iso-8601",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Payment platform API",
    "DESCRIPTION": "Recharge, wallet, orders and red packets. Amounts are integer fen; times are RFC 3339 with offset.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "PaymentKindEnum": ["code_url", "redirect", "jsapi", "form", "none"],
        "RedPacketKindEnum": ["normal", "lucky"],
        "WithdrawalChannelEnum": ["wechat", "kuaiqian"],
        "RedPacketStateEnum": "redpacket.domain.states.PacketState",
        "WithdrawalStateEnum": "withdrawals.domain.states.WithdrawalState",
        "CodeKindEnum": ["plain", "order"],
        "CollectionStateEnum": "collect.domain.states.CollectionState",
        "CollectChannelEnum": ["wechat", "alipay"],
        "PayerSceneEnum": ["native", "h5", "jsapi"],
        "SceneEnum": ["native", "page", "h5", "jsapi"],
    },
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
"""No request of ours is larger; a provider's notice is a few KiB."""

# --- Short messages -------------------------------------------------------------------------------------------------

SHORT_MESSAGES = env.str("PAYSYS_SHORT_MESSAGES", default="outbox")
"""Address of the company's message service; "outbox" (not in production) shows the texts in the admin instead."""
SHORT_MESSAGES_SECRET = env.str("PAYSYS_SHORT_MESSAGES_SECRET", default="")

# --- Providers ------------------------------------------------------------------------------------------------------

WECHAT_OFFICIAL_BASE_URL = "https://api.mch.weixin.qq.com"
WECHAT: dict[str, Any] = {
    "base_url": env.str("WECHAT_BASE_URL", default=WECHAT_OFFICIAL_BASE_URL),
    "credentials_file": env.str("WECHAT_CREDENTIALS_FILE", default=""),
    "connect_timeout_seconds": env.float("WECHAT_CONNECT_TIMEOUT_SECONDS", default=3.0),
    "read_timeout_seconds": env.float("WECHAT_READ_TIMEOUT_SECONDS", default=10.0),
}
WECHAT_LEGACY: dict[str, Any] = {
    "base_url": env.str("WECHAT_LEGACY_BASE_URL", default=WECHAT_OFFICIAL_BASE_URL),
    "credentials_file": env.str("WECHAT_LEGACY_CREDENTIALS_FILE", default=""),
}
"""企业付款 of v2, the switch is its credentials file: set it only where the merchant still has the product."""

WECHAT_OFFICIAL_AUTHORIZE_URL = "https://open.weixin.qq.com/connect/oauth2/authorize"
WECHAT_OFFICIAL_TOKEN_URL = "https://api.weixin.qq.com/sns/oauth2/access_token"  # noqa: S105 - an address
WECHAT_OAUTH: dict[str, str] = {
    "authorize_url": env.str("WECHAT_OAUTH_AUTHORIZE_URL", default=WECHAT_OFFICIAL_AUTHORIZE_URL),
    "token_url": env.str("WECHAT_OAUTH_TOKEN_URL", default=WECHAT_OFFICIAL_TOKEN_URL),
    "appid": env.str("WECHAT_OAUTH_APPID", default=""),
    "secret": env.str("WECHAT_OAUTH_SECRET", default=""),
}
"""Log-in of payers' pages inside of WeChat, by the official account of the paying appid; off without it."""

ALIPAY_OFFICIAL_GATEWAY_URL = "https://openapi.alipay.com/gateway.do"
ALIPAY: dict[str, Any] = {
    "gateway_url": env.str("ALIPAY_GATEWAY_URL", default=ALIPAY_OFFICIAL_GATEWAY_URL),
    "credentials_file": env.str("ALIPAY_CREDENTIALS_FILE", default=""),
    "timeout_seconds": env.float("ALIPAY_TIMEOUT_SECONDS", default=10.0),
}

KUAIQIAN_OFFICIAL_BASE_URL = "https://www.99bill.com"
KUAIQIAN_OFFICIAL_CARD_BASE_URL = "https://mas.99bill.com"
KUAIQIAN: dict[str, Any] = {
    "base_url": env.str("KUAIQIAN_BASE_URL", default=KUAIQIAN_OFFICIAL_BASE_URL),
    "card_base_url": env.str("KUAIQIAN_CARD_BASE_URL", default=KUAIQIAN_OFFICIAL_CARD_BASE_URL),
    "credentials_file": env.str("KUAIQIAN_CREDENTIALS_FILE", default=""),
    "redirect_url": env.str("KUAIQIAN_REDIRECT_URL", default=PUBLIC_BASE_URL.rstrip("/") + "/"),
    "connect_timeout_seconds": env.float("KUAIQIAN_CONNECT_TIMEOUT_SECONDS", default=3.0),
    "read_timeout_seconds": env.float("KUAIQIAN_READ_TIMEOUT_SECONDS", default=10.0),
}

# --- Red packets ----------------------------------------------------------------------------------------------------

REDPACKET_LIFETIME_SECONDS = env.int("PAYSYS_REDPACKET_LIFETIME_SECONDS", default=24 * 3600)
REDPACKET_SHARE_MIN_FEN = 1
REDPACKET_SHARE_MAX_FEN = 20_000
REDPACKET_COUNT_MAX = 10_000
REDPACKET_EMPLOYEE_GRABS_PER_SECOND = env.int("PAYSYS_REDPACKET_EMPLOYEE_GRABS_PER_SECOND", default=10)
REDPACKET_EMPLOYEE_GRABS_AT_ONCE = env.int("PAYSYS_REDPACKET_EMPLOYEE_GRABS_AT_ONCE", default=50)
"""A person clicks a few times a second; a program that hammers is answered 429 above this, over all packets."""
REDPACKET_PACKET_GRABS_PER_SECOND = env.int("PAYSYS_REDPACKET_PACKET_GRABS_PER_SECOND", default=5_000)
REDPACKET_PACKET_GRABS_AT_ONCE = env.int("PAYSYS_REDPACKET_PACKET_GRABS_AT_ONCE", default=40_000)
"""The largest group may click twice at one moment. 0 a second switches a limit off."""
REDPACKET_SESSION_SECONDS = env.int("PAYSYS_REDPACKET_SESSION_SECONDS", default=900)
"""How long Redis remembers who holds an access token; a winner's is looked up in the database all the same."""
ORDER_NUMBER_VERSION = env.str("PAYSYS_ORDER_NUMBER_VERSION", default="1")
"""Format of new order numbers: "1" is routed by CRC-32, "2" by the account. Old numbers keep their routing for ever."""
RECHARGE_MAX_FEN = env.int("PAYSYS_RECHARGE_MAX_FEN", default=5_000_000)
ORDER_LIFETIME_SECONDS = env.int("PAYSYS_ORDER_LIFETIME_SECONDS", default=30 * 60)

# --- Scan to collect: the payers' pages -------------------------------------------------------------------------------

COLLECT_LOOKS_PER_MINUTE = env.int("PAYSYS_COLLECT_LOOKS_PER_MINUTE", default=3_000)
COLLECT_STARTS_PER_MINUTE = env.int("PAYSYS_COLLECT_STARTS_PER_MINUTE", default=120)
"""Of one address, all its payers together: pages and questions about payments; payments begun. 0: no limit."""
COLLECT_CODE_STARTS_PER_MINUTE = env.int("PAYSYS_COLLECT_CODE_STARTS_PER_MINUTE", default=600)
"""Payments begun by one code, from wherever: a poster at a gate has a crowd, a robot has more. 0: no limit."""
COLLECT_CRM_URL = env.str("PAYSYS_COLLECT_CRM_URL", default="")
"""Where paid order collections are told; "" keeps them waiting. https, and no private address but CALLBACK_…'s."""
COLLECT_CRM_PRODUCT_ID = env.str("PAYSYS_COLLECT_CRM_PRODUCT_ID", default="collect")
COLLECT_CRM_SECRET = env.str("PAYSYS_COLLECT_CRM_SECRET", default="")
"""Shared with the CRM; signs as callbacks to business backends are signed. 32 characters or more."""

# --- Callbacks to business backends ---------------------------------------------------------------------------------

CALLBACK_HTTP_ALLOWED = False
"""https only, but for development and tests."""
CALLBACK_ALLOWED_NETWORKS: list[str] = env.list("PAYSYS_CALLBACK_ALLOWED_NETWORKS", default=[])
"""Networks that are not public and may be called all the same, such as 10.20.0.0/16 of one's own data centre."""

# --- Chain over journals ---------------------------------------------------------------------------------------------

LEDGER_SEAL_KEYS: dict[str, bytes] = {
    part.partition(":")[0]: bytes.fromhex(part.partition(":")[2])
    for part in env.list("PAYSYS_LEDGER_SEAL_KEYS", default=[])
} or {"dev": hashlib.sha256(b"ledger seal " + SECRET_KEY.encode()).digest()}
"""Key id → key; the last one seals, all of them verify. PAYSYS_LEDGER_SEAL_KEYS="2026:hex,2027:hex"."""

# --- Pages without state, as files -----------------------------------------------------------------------------------

STATIC_PAGES_ROOT = env.str("PAYSYS_STATIC_PAGES_ROOT", default="")
"""Directory that the web server or a CDN takes them from (docs/OPERATIONS.md); "" writes none."""

# --- Attachments ----------------------------------------------------------------------------------------------------

ATTACHMENT_ROOT = Path(env.str("PAYSYS_ATTACHMENT_ROOT", default=str(BASE_DIR / ".local" / "attachments")))
"""Evidence files of staff. Never below STATIC_ROOT or any directory a web server reads; shared by all web nodes."""
RECONCILIATION_ROOT = Path(env.str("PAYSYS_RECONCILIATION_ROOT", default=str(BASE_DIR / ".local" / "reconciliation")))
"""Bills as they came, by their hash. Kept for years; never below a directory a web server reads."""
RECONCILIATION_FEE_MILLIONTHS: dict[str, int] = env.json("PAYSYS_RECONCILIATION_FEE_MILLIONTHS", default={})
"""Channel → the fee agreed with it, in millionths of the amount (6000: 0.6 %). Of others fees are not compared."""

# --- Safety, logs ---------------------------------------------------------------------------------------------------

X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"  # "no-referrer" turns Origin into "null" and the CSRF check refuses log-ins
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_HTTPONLY = True
APPEND_SLASH = True
TRUSTED_PROXIES: int | None = env.int("PAYSYS_TRUSTED_PROXIES", default=None)
"""How many proxies of ours add to X-Forwarded-For; 0: clients connect directly. Unset: no address is judged."""
TRUSTED_PROXY_NETWORKS: list[str] = env.list(
    "PAYSYS_TRUSTED_PROXY_NETWORKS",
    default=["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
)
"""Where those proxies are. X-Forwarded-For from anybody else is ignored."""

# --- Limits (docs/LIMITS.md); staff set them in the admin over what stands here --------------------------------------

LIMITER_SLOTS: dict[str, int] = {
    "web": env.int("PAYSYS_LIMITER_SLOTS", default=200),
    "staff": env.int("PAYSYS_LIMITER_STAFF_SLOTS", default=20),
    "notices": env.int("PAYSYS_LIMITER_NOTICE_SLOTS", default=40),
}
"""Requests that one web process works on at a time: of clients, of staff in the admin, notices of providers."""
LIMITER_WAITING: int | None = env.int("PAYSYS_LIMITER_WAITING", default=None)
"""How many requests may wait for a slot; left out, a quarter as many as there are slots."""
LIMITER_WAIT_SECONDS = env.float("PAYSYS_LIMITER_WAIT_SECONDS", default=0.5)
LIMITER_WINDOWS: dict[str, tuple[int, int]] = {
    "caller": (env.int("PAYSYS_LIMITER_CALLER_PER_MINUTE", default=3000), 60),
    "address": (env.int("PAYSYS_LIMITER_ADDRESS_PER_MINUTE", default=12_000), 60),
    "strikes": (env.int("PAYSYS_DOOR_STRIKES_PER_MINUTE", default=30), 60),
}
"""(requests, seconds) of one employee or business backend, of one address, refused ones before the door closes."""
DOOR_CLOSED_SECONDS = env.int("PAYSYS_DOOR_CLOSED_SECONDS", default=600)
LIMITER_OWN_LIMITS = frozenset({"api/v1/redpackets/<str:packet_id>/grab"})
"""Routes that count their callers themselves (in the grab's own script)."""

_shared_processors: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=False),
]
structlog.configure(
    processors=[*_shared_processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)
LOG_FORMAT = env.str("PAYSYS_LOG_FORMAT", default="json")
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": _shared_processors,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.dev.ConsoleRenderer(colors=False)
                if LOG_FORMAT == "console"
                else structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        },
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["stderr"], "level": env.str("PAYSYS_LOG_LEVEL", default="INFO")},
    # A refused request is no event of ours: 4xx answers are counted by the metrics, 5xx are logged with their cause.
    "loggers": {"django.request": {"level": "ERROR"}},
}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
logging.captureWarnings(True)

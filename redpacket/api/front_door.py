"""The grab without Django's request cycle: a WSGI function in front of Django that answers the usual grabs itself.

A Django request costs several times what a grab costs (design `performance.md`), so `POST /api/v1/redpackets/{id}/grab`
is taken here when all about it is as every client of ours sends it. Whatever is not (a body, a query, an unknown host,
plain http where https is demanded, a missing log-in or validator token, Redis away, a failure of ours) goes to Django,
whose GrabView answers it, by the same service where it can: the twins answer alike, and a grab is safe to repeat. What
Django's middleware would do to the answer is done here from the same settings; the contract test compares the two byte
for byte.
"""

from __future__ import annotations

import functools
import http
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from django.conf import settings
from django.core.signals import setting_changed
from django.db import connections
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host
from django.utils.translation import get_language_from_request
from prometheus_client import Counter, Histogram
from redis.exceptions import RedisError

from foundation import clock, door, http_policy
from foundation.api import errors
from foundation.api.addresses import address_of
from foundation.api.door import STRUCK
from foundation.errors import Broken, PaysysError
from foundation.middleware import HEADER
from identity.api.authentication import bearer_token
from identity.services import validator
from identity.services.validator import PresentedToken
from identity.validator_lua import MAX_TOKEN_LENGTH, fingerprint_of, token_key
from redpacket.domain import rules
from redpacket.services import grab

logger = structlog.get_logger("redpacket")

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

PREFIX, SUFFIX = "/api/v1/redpackets/", "/grab"
PATH_LENGTH = len(PREFIX) + 32 + len(SUFFIX)
EMPTY_BODY = b"{}"
"""What the parsed body of a request without one looks like in the validator's fingerprint."""
MAX_HEADER = 200
"""Longer Accept and Accept-Language headers are nobody's of ours, and would fill the caches of their readers."""
MAX_SEQUENCE = 12
_SANE_ID = re.compile(r"[A-Za-z0-9_.\-]{8,64}")
"""As in foundation.middleware."""
CONNECTION_CHECK_SECONDS = 5.0
"""How often a thread looks whether its database connections are old or broken; Django does it with every request."""

ANSWERS = Counter("redpacket_grabs", "Grabs answered in front of Django, by what was said.", ["answer"])
SECONDS = Histogram(
    "redpacket_grab_seconds",
    "Time of a grab answered in front of Django.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
)
PASSED_ON = Counter("redpacket_grabs_passed_on", "Grabs left to Django: unusual requests, Redis away, failures.")


class _Checked(threading.local):
    at: float = 0.0


class FrontDoor:
    """Answers usual grabs, hands everything else to `django`. One for a process, safe for threads."""

    def __init__(self, django: Application) -> None:
        self._django = django
        self._checked = _Checked()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if len(path) != PATH_LENGTH or not path.endswith(SUFFIX) or environ["REQUEST_METHOD"] != "POST":
            return self._django(environ, start_response)
        packet_id = path[len(PREFIX) : -len(SUFFIX)]
        if not path.startswith(PREFIX) or not rules.is_packet_id(packet_id) or not _is_usual(environ):
            PASSED_ON.inc()
            return self._django(environ, start_response)
        began = time.perf_counter()
        answer = self._answer(environ, path, packet_id)
        if answer is None:
            PASSED_ON.inc()
            return self._django(environ, start_response)
        SECONDS.observe(time.perf_counter() - began)
        status, headers, body = answer
        start_response(status, headers)
        return [body]

    def _answer(self, environ: Environ, path: str, packet_id: str) -> tuple[str, list[tuple[str, str]], bytes] | None:
        """Status line, headers and body; None when Django must answer."""
        given = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _SANE_ID.fullmatch(given) else secrets.token_hex(16)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        self._check_connections()
        language = _language(environ.get("HTTP_ACCEPT_LANGUAGE", ""))
        extra: dict[str, str] = {}
        address = address_of(environ)
        try:
            result = grab.grab_with_access_token(
                packet_id=packet_id,
                access_token=access_token(environ),
                presented=presented(environ, path),
                now=clock.now(),
                address=address,
            )
        except PaysysError as error:
            if isinstance(error, Broken | grab.KeptOut):  # reported, explained and answered by Django
                return None
            status, name = error.http_status, error.code
            if address and status in STRUCK:
                door.strike(f"address:{address}")
            content: dict[str, Any] = {
                "error": {
                    "code": error.code,
                    "message": error.message(language),
                    "details": error.details,
                    "request_id": request_id,
                }
            }
            extra = errors.headers(error, error)
        except Unusual:
            return None
        except RedisError:
            return None
        except Exception:  # Django does it again and tells the caller, the log and the alerts
            logger.warning("the front door passes a grab on", packet_id=packet_id, exc_info=True)
            return None
        else:
            status, name = 200, result.result
            content = {"result": result.result, "amount_fen": result.amount_fen, "share_no": result.share_no}
        body = orjson.dumps(content)
        _counter(name).inc()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Content-Language", language),
            (HEADER, request_id),
            *extra.items(),
            *_fixed_headers(_is_secure(environ)),
        ]
        return _status_line(status), headers, body

    def _check_connections(self) -> None:
        moment = time.monotonic()
        if moment - self._checked.at > CONNECTION_CHECK_SECONDS:
            self._checked.at = moment
            for connection in connections.all(initialized_only=True):
                if not connection.in_atomic_block:  # only a test's own transaction can be open here
                    connection.close_if_unusable_or_obsolete()


class Unusual(Exception):
    """Django must answer."""


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """What is read with every grab. Django's settings cost a microsecond each."""

    language_cookie: str
    is_host_forwarded: bool
    allowed_hosts: tuple[str, ...]
    is_https_demanded: bool
    secure_header: tuple[str, str] | None


@functools.cache
def _known() -> _Settings:
    return _Settings(
        language_cookie=settings.LANGUAGE_COOKIE_NAME,
        is_host_forwarded=settings.USE_X_FORWARDED_HOST,
        allowed_hosts=tuple(settings.ALLOWED_HOSTS),
        is_https_demanded=settings.SECURE_SSL_REDIRECT,
        secure_header=settings.SECURE_PROXY_SSL_HEADER,
    )


def _forget_settings(**_: Any) -> None:
    """Tests change settings; nothing else does."""
    _known.cache_clear()
    _fixed_headers.cache_clear()


setting_changed.connect(_forget_settings, dispatch_uid="redpacket.front_door")


def has_no_body(environ: Mapping[str, Any]) -> bool:
    """True for a request without a body, as a grab is."""
    return environ.get("CONTENT_LENGTH", "") in ("", "0") and "HTTP_TRANSFER_ENCODING" not in environ


def _is_usual(environ: Environ) -> bool:
    """True for a request that our middleware and DRF would let through to the view without a second look."""
    known = _known()
    return (
        not environ.get("QUERY_STRING")
        and has_no_body(environ)
        and known.language_cookie not in environ.get("HTTP_COOKIE", "")
        and not known.is_host_forwarded
        and _is_allowed_host(environ.get("HTTP_HOST", ""), known.allowed_hosts)
        and (not known.is_https_demanded or _is_secure(environ))
        and _takes_json(environ.get("HTTP_ACCEPT", ""))
        and len(environ.get("HTTP_ACCEPT_LANGUAGE", "")) <= MAX_HEADER
    )


@functools.lru_cache(maxsize=256)
def _is_allowed_host(host: str, allowed: tuple[str, ...]) -> bool:
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)


@functools.lru_cache(maxsize=256)
def _takes_json(accept: str) -> bool:
    """True when DRF would choose plain JSON without doubt; parameters ("indent=4") are left to it."""
    if len(accept) > MAX_HEADER or ";" in accept.replace(";q=", ""):
        return False
    kinds = [kind.partition(";")[0].strip() for kind in accept.split(",")]
    return kinds == [""] or "application/json" in kinds or "*/*" in kinds


def _is_secure(environ: Environ) -> bool:
    """As HttpRequest.is_secure."""
    header = _known().secure_header
    if header:
        name, secure_value = header
        value = environ.get(name)
        if value is not None:
            return bool(value.split(",", 1)[0].strip() == secure_value)
    return bool(environ.get("wsgi.url_scheme") == "https")


@functools.lru_cache(maxsize=1024)
def _language(accept_language: str) -> str:
    """What LocaleMiddleware would choose; the header decides, language cookies were left to Django."""
    request = HttpRequest()
    request.META["HTTP_ACCEPT_LANGUAGE"] = accept_language
    return str(get_language_from_request(request))


def access_token(environ: Mapping[str, Any]) -> str:
    """Raises NotAuthenticated as the authentication class does, Unusual without any header."""
    token = bearer_token(environ.get("HTTP_AUTHORIZATION", ""))
    if token is None:
        raise Unusual
    return token


def presented(environ: Mapping[str, Any], path: str) -> PresentedToken | None:
    """As identity.api.permissions.presented_token, for an empty body and before it is known who asks."""
    token, sequence = environ.get("HTTP_X_PAY_TOKEN", ""), environ.get("HTTP_X_PAY_SEQ", "")
    if not token and not sequence and not validator.is_required():
        return None
    if not token or not sequence or len(token) > MAX_TOKEN_LENGTH or len(sequence) > MAX_SEQUENCE:
        raise Unusual
    fingerprint = fingerprint_of(
        method="POST", path=path, idempotency_key=environ.get("HTTP_IDEMPOTENCY_KEY", ""), body=EMPTY_BODY
    )
    return PresentedToken(key=token_key(token), employee_id=0, sequence=sequence, fingerprint=fingerprint)


@functools.lru_cache(maxsize=2)
def _fixed_headers(is_secure: bool) -> tuple[tuple[str, str], ...]:
    """What DRF and the middleware add to every answer of the twin, from the settings they read."""
    found = [("Allow", "POST, OPTIONS"), ("Vary", "Accept-Language"), ("X-Frame-Options", settings.X_FRAME_OPTIONS)]
    found += [(http_policy.CSP, http_policy.NO_PAGE), (http_policy.PERMISSIONS, http_policy.NOTHING)]
    if settings.SECURE_CONTENT_TYPE_NOSNIFF:
        found.append(("X-Content-Type-Options", "nosniff"))
    if settings.SECURE_REFERRER_POLICY:
        found.append(("Referrer-Policy", settings.SECURE_REFERRER_POLICY))
    if settings.SECURE_CROSS_ORIGIN_OPENER_POLICY:
        found.append(("Cross-Origin-Opener-Policy", settings.SECURE_CROSS_ORIGIN_OPENER_POLICY))
    if is_secure and settings.SECURE_HSTS_SECONDS:
        text = f"max-age={settings.SECURE_HSTS_SECONDS}"
        text += "; includeSubDomains" if settings.SECURE_HSTS_INCLUDE_SUBDOMAINS else ""
        found.append(("Strict-Transport-Security", text + ("; preload" if settings.SECURE_HSTS_PRELOAD else "")))
    return tuple(found)


@functools.lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    return f"{status} {http.HTTPStatus(status).phrase}"


@functools.lru_cache(maxsize=64)
def _counter(answer: str) -> Any:
    return ANSWERS.labels(answer)

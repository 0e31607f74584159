"""Bounded admission in front of everything a web process does (`foundation.limiter`).

`BoundedApplication` is the outermost WSGI function: a request that finds no slot is answered here, before Django, in
the API's error format. Staff and providers' notices have slots of their own, so that a crowd of clients can neither
lock out whoever must raise a limit nor keep a payment from being confirmed; the probes need none.

granian hands each request to one of its blocking threads, and queues, where nobody sees it, what finds none: see
docs/LIMITS.md for how many threads it must have so that this module decides.
"""

from __future__ import annotations

import functools
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.http import HttpRequest
from django.urls import Resolver404, resolve
from django.utils.translation import get_language_from_request
from prometheus_client import Counter

from foundation import limiter, limiter_keeper, limiter_settings
from foundation.limiter import Full, Limiter
from foundation.middleware import API_PREFIXES, HEADER

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

FREE = frozenset({"/healthz", "/readyz", "/metrics"})
"""Whoever watches the process must hear of it when it is full."""
_SANE_ID = re.compile(r"[A-Za-z0-9_.\-]{8,64}")
"""As in foundation.middleware."""
MAX_HEADER = 200
"""A longer Accept-Language is nobody's of ours, and would fill the cache."""
MAX_SHAPES = 1000
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

REFUSED = Counter("paysys_limiter_refused", "Requests refused with 503 because no slot came free.", ["limiter"])


class BoundedApplication:
    """Holds a slot around `inner`, until the answer is complete. One for a process, safe for threads."""

    def __init__(self, inner: Application) -> None:
        self._inner = inner

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path in FREE:
            return self._inner(environ, start_response)
        limiter_keeper.start()
        own = limiter_settings.limiter_of(_slots_for(path))
        endpoint = endpoint_of(environ["REQUEST_METHOD"], path)
        try:
            began = own.enter(endpoint)
        except Full as error:
            REFUSED.labels(own.name).inc()
            return _refuse(error, environ, start_response)
        try:
            answer = self._inner(environ, start_response)
        except BaseException:
            own.leave(endpoint, began)
            raise
        if getattr(answer, "streaming", False):
            return _Streamed(answer, own, endpoint, began)
        own.leave(endpoint, began)
        return answer


class _Streamed:
    """An answer that is made while it is sent: its slot is held until the server closes it."""

    def __init__(self, answer: Any, own: Limiter, endpoint: str, began: float) -> None:
        self._answer = answer
        self._leave = functools.partial(own.leave, endpoint, began)
        self._is_open = True

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            try:
                self._answer.close()
            finally:
                self._leave()


def _slots_for(path: str) -> str:
    if path.startswith("/admin/"):
        return limiter_settings.STAFF
    return limiter_settings.NOTICES if path.startswith("/notify/") else limiter_settings.WEB


def _refuse(error: Full, environ: Environ, start_response: StartResponse) -> list[bytes]:
    given = environ.get("HTTP_X_REQUEST_ID", "")
    request_id = given if _SANE_ID.fullmatch(given) else secrets.token_hex(16)
    language = _language(environ.get("HTTP_ACCEPT_LANGUAGE", "")[:MAX_HEADER])
    message = error.message(language)
    if environ["PATH_INFO"].startswith(API_PREFIXES):
        kind = "application/json"
        content = {"code": error.code, "message": message, "details": error.details, "request_id": request_id}
        body = json.dumps({"error": content}, ensure_ascii=False, separators=(",", ":")).encode()
    else:
        kind, body = "text/plain; charset=utf-8", message.encode()
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Content-Language", language),
        ("Retry-After", str(error.retry_after_seconds)),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        (HEADER, request_id),
    ]
    start_response("503 Service Unavailable", headers)
    return [body]


@functools.lru_cache(maxsize=1024)
def _language(accept_language: str) -> str:
    request = HttpRequest()
    request.META["HTTP_ACCEPT_LANGUAGE"] = accept_language
    return str(get_language_from_request(request))


# --- Names of endpoints ----------------------------------------------------------------------------------------------

_shapes: dict[str, str] = {}


def endpoint_of(method: str, path: str) -> str:
    """ "POST api/v1/orders/<str:order_no>/close": the method and the route of the URL map; OTHER for what has none.

    Paths of one shape (segments with a digit left out) are looked up once; shapes beyond MAX_SHAPES are OTHER.
    """
    shape = "/".join(part if part.isalpha() or part == "v1" else "*" for part in path.split("/") if part)
    route = _shapes.get(shape)
    if route is None:
        route = _route(path)
        if len(_shapes) < MAX_SHAPES:
            _shapes[shape] = route
    return f"{method} {route}" if route and method in _METHODS else limiter.OTHER


def _route(path: str) -> str:
    try:
        match = resolve(path)
    except Resolver404:
        return ""
    return "" if "(?P<rest>" in match.route else match.route

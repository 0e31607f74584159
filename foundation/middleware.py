"""Request ids, and errors in the API's shape wherever they arise under /api/ and /notify/."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

from foundation.api import errors

Handler = Callable[[HttpRequest], HttpResponse]

API_PREFIXES = ("/api/", "/notify/")
_SANE_ID = re.compile(r"[A-Za-z0-9_.\-]{8,64}")
HEADER = "X-Request-ID"


def is_api(request: HttpRequest) -> bool:
    """True for addresses that answer errors as JSON."""
    return request.path.startswith(API_PREFIXES)


class RequestIdMiddleware:
    """Takes a sane X-Request-ID or makes one; puts it on the request, in every log line and in the answer."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get(HEADER, "")
        request_id = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        # Not unbound at the end: Django writes its own line about the answer ("Not Found: …") after all middleware.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        response = self.get_response(request)
        if isinstance(response, HttpResponseNotAllowed) and is_api(request):
            allowed = response["Allow"]
            response = errors.django_response(errors.MethodNotAllowed(), request)
            response["Allow"] = allowed
        response[HEADER] = request_id
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Exceptions of plain views (the notice addresses); DRF answers its own."""
        return errors.django_response(error, request) if is_api(request) else None

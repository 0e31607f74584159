"""Every error of the API in one shape, the framework's own included.

`{"error": {"code", "message", "details", "request_id"}}`; one code, one HTTP status; messages in Chinese or English by
Accept-Language. Source: design api.md, Conventions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import structlog
from django.core.exceptions import (
    BadRequest,
    DisallowedHost,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.db import Error as DatabaseProblem
from django.http import Http404, HttpRequest, JsonResponse
from django.utils.translation import get_language_from_request
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import TimeoutError as RedisTimeout
from rest_framework import exceptions as drf
from rest_framework.response import Response

from foundation import alerts
from foundation.db import transactions
from foundation.errors import (
    Broken,
    Busy,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    PaysysError,
    PermissionDenied,
    RateLimited,
    Rejected,
)

logger = structlog.get_logger("api")


class MethodNotAllowed(Rejected):
    code = "method_not_allowed"
    http_status = 405
    message_en = "This address does not take this method."
    message_zh = "不支持该请求方法。"


class NotAcceptable(Rejected):
    code = "not_acceptable"
    http_status = 406
    message_en = "Only JSON is answered here."
    message_zh = "仅支持 JSON。"


class BodyTooLarge(Rejected):
    code = "body_too_large"
    http_status = 413
    message_en = "The request body is too large."
    message_zh = "请求体过大。"


class UnsupportedMediaType(Rejected):
    code = "unsupported_media_type"
    http_status = 415
    message_en = "Send JSON with Content-Type application/json."
    message_zh = "请使用 application/json。"


AWAY_RETRY_SECONDS = 3
"""A restarted database or Redis answers again after a few seconds."""


class InternalError(Broken):
    """Anything unexpected; the cause is in the log and the alert, never in the answer."""

    code = "internal_error"


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER."""
    request = context["request"]._request
    known = translate(error)
    report(known, error, request)
    response = Response(body(known, request), status=known.http_status)
    for name, value in headers(known, error).items():
        response[name] = value
    return response


def django_response(error: Exception, request: HttpRequest) -> JsonResponse:
    """The same answer outside DRF: middleware, plain views, Django's own handlers."""
    known = translate(error)
    report(known, error, request)
    return JsonResponse(body(known, request), status=known.http_status, headers=headers(known, error))


def translate(error: Exception) -> PaysysError:
    """The error of ours that stands for any exception."""
    if isinstance(error, PaysysError):
        return error
    if isinstance(error, drf.ValidationError):
        return InvalidRequest(error.detail if isinstance(error.detail, dict) else {"body": error.detail})
    if isinstance(error, drf.Throttled):
        return RateLimited({"retry_after_seconds": max(1, math.ceil(getattr(error, "wait", None) or 1))})
    if _is_passing(error):
        return Busy({"reason": "a server behind us is away"}, retry_after_seconds=AWAY_RETRY_SECONDS)
    simple: list[tuple[tuple[type[Exception], ...], type[PaysysError]]] = [
        ((drf.NotAuthenticated, drf.AuthenticationFailed), NotAuthenticated),
        ((drf.PermissionDenied, DjangoPermissionDenied), PermissionDenied),
        ((drf.NotFound, Http404), NotFound),
        ((drf.MethodNotAllowed,), MethodNotAllowed),
        ((drf.NotAcceptable,), NotAcceptable),
        ((drf.UnsupportedMediaType,), UnsupportedMediaType),
        ((RequestDataTooBig,), BodyTooLarge),
    ]
    for kinds, known in simple:
        if isinstance(error, kinds):
            return known()
    if isinstance(error, drf.ParseError):
        return InvalidRequest({"body": ["not valid JSON"]})
    if isinstance(error, BadRequest | SuspiciousOperation | DisallowedHost):
        return InvalidRequest({"request": ["malformed"]})
    return InternalError()


def _is_passing(error: Exception) -> bool:
    """True for a database or Redis that is away for the moment: 503, not our bug."""
    if isinstance(error, DatabaseProblem):
        return transactions.is_passing(error)
    return isinstance(error, RedisAway | RedisTimeout)


def body(error: PaysysError, request: HttpRequest) -> dict[str, Any]:
    """The JSON of an error."""
    language = get_language_from_request(request)
    details = {} if isinstance(error, Broken) else error.details
    return {
        "error": {
            "code": error.code,
            "message": error.message(language),
            "details": details,
            "request_id": getattr(request, "request_id", ""),
        }
    }


def headers(error: PaysysError, cause: Exception) -> dict[str, str]:
    """Retry-After, WWW-Authenticate and Allow where they belong."""
    found: dict[str, str] = {}
    if isinstance(error, Busy):
        found["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, RateLimited):
        found["Retry-After"] = str(error.details.get("retry_after_seconds", 1))
    if error.http_status == 401:
        found["WWW-Authenticate"] = "Bearer"
    return found


def report(error: PaysysError, cause: Exception, request: HttpRequest) -> None:
    """Logs and alerts what is our own fault; a refusal is no event. Never raises: the answer must still go out."""
    if _is_passing(cause):
        logger.warning("a server behind us is away", path=request.path, method=request.method, exc_info=cause)
    if not isinstance(error, Broken):
        return
    logger.error("request failed", path=request.path, method=request.method, exc_info=cause)
    try:
        alerts.raise_alert(
            code="request_failed",
            subject=f"{request.method} {type(cause).__name__}",
            message=f"{request.path}: {cause!r}"[:2000],
            context={"request_id": getattr(request, "request_id", "")},
        )
    except DatabaseProblem:  # its log line is out already
        logger.exception("alert not stored", path=request.path)

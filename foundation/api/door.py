"""The door of `foundation.door` in front of the API; switched on by naming these classes in the settings.

`DoorMiddleware` (after RequestIdMiddleware in MIDDLEWARE) turns addresses away before any database query, and counts
their refused requests. `DoorThrottle` (REST_FRAMEWORK DEFAULT_THROTTLE_CLASSES) turns employees away once they are
known, before the view. The address is REMOTE_ADDR: the front proxy must set it, a header of the client proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from foundation import door
from foundation.api import errors
from foundation.errors import Rejected

STRUCK = frozenset({400, 401, 403})
"""Answers that count as strikes: what is malformed, without a log-in or not allowed. Business refusals do not."""
PREFIX = "/api/"
"""Notices of providers come from few addresses and are many: their door stays open."""


class CallerBlocked(Rejected):
    """403: the caller is on the block list."""

    code = "caller_blocked"
    http_status = 403
    message_en = "You cannot use this service. Please contact your administrator."
    message_zh = "您暂时无法使用本服务，请联系管理员。"


def check(callers: list[str]) -> None:
    """Raises CallerBlocked or RateLimited (with the seconds to wait) when the door is shut for one of them."""
    admission = door.admit(callers)
    if admission.is_blocked:
        raise CallerBlocked()
    if admission.closed_seconds:
        raise errors.RateLimited({"retry_after_seconds": admission.closed_seconds})


class DoorMiddleware:
    """By network address."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(PREFIX):
            return self.get_response(request)
        caller = f"address:{request.META.get('REMOTE_ADDR', '')}"
        try:
            check([caller])
        except Rejected as error:
            return errors.django_response(error, request)
        response = self.get_response(request)
        if response.status_code in STRUCK:
            door.strike(caller)
        return response


class DoorThrottle(BaseThrottle):
    """By employee. Requests without one are left to the permissions."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        if getattr(request.user, "pk", None) is not None:
            check([f"employee:{request.user.pk}"])
        return True

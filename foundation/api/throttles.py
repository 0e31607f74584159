"""Throttles of every view (REST_FRAMEWORK DEFAULT_THROTTLE_CLASSES): the door of `foundation.door` for employees, and
the sliding windows of `foundation.limiter_windows` by address, by caller and by endpoint.

DRF asks them behind authentication and permissions, so that whoever is not known has cost no count, and a call that
moves money has shown its validator token. Imports nothing of DRF's views, which import this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from foundation import door, limiter_settings, limiter_windows
from foundation.api.addresses import client_address, counted_address
from foundation.api.idempotency import caller_of
from foundation.errors import RateLimited, Rejected
from foundation.limiter_settings import ADDRESS, CALLER, ENDPOINT_PREFIX

if TYPE_CHECKING:
    from rest_framework.views import APIView


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
        raise RateLimited({"retry_after_seconds": admission.closed_seconds})


class DoorThrottle(BaseThrottle):
    """By employee. Requests without one are left to the permissions."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        if getattr(request.user, "pk", None) is not None:
            check([f"employee:{request.user.pk}"])
        return True


class WindowThrottle(BaseThrottle):
    """So many requests of one address, of one caller, and to one endpoint, within a sliding window; then 429.

    Routes of settings.LIMITER_OWN_LIMITS count their callers themselves.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        match = request._request.resolver_match
        route = match.route if match else ""
        if route in settings.LIMITER_OWN_LIMITS:
            return True
        address = client_address(request._request)
        if address:
            _count(ADDRESS, counted_address(address))
        if getattr(request.user, "pk", None) is not None:
            _count(CALLER, caller_of(request.user))
        if route:
            _count(f"{ENDPOINT_PREFIX}{request.method} {route}", "all")
        return True


def _count(name: str, who: str) -> None:
    """Raises RateLimited; `details` say which limit, and after how many seconds the next request fits."""
    window = limiter_settings.window_of(name)
    if window is None:
        return
    seconds = limiter_windows.hit(name=name, who=who, window=window)
    if seconds:
        raise RateLimited({"limit": name.partition(":")[0], "retry_after_seconds": seconds})

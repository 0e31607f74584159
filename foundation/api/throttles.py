"""The door of `foundation.door` for employees: a throttle of every view (REST_FRAMEWORK DEFAULT_THROTTLE_CLASSES).

Imports nothing of DRF's views, which import this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from foundation import door
from foundation.errors import RateLimited, Rejected

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

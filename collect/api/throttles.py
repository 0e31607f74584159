"""Limits of payers, who have no log-in: by address, beside what every endpoint has (foundation.api.throttles).

A payer's waiting page asks every two seconds, and a shop's guests come from one address: the limits are wide. They stop
programs that try ids or open payments; amounts and risk are judged by the service. Where addresses are not known
(settings.TRUSTED_PROXIES unset) nobody is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from foundation import limiter_windows
from foundation.api.addresses import client_address, counted_address
from foundation.errors import RateLimited
from foundation.limiter_settings import Window

if TYPE_CHECKING:
    from rest_framework.views import APIView

LOOKS, STARTS = "collect_looks", "collect_starts"


def count(request: HttpRequest, name: str) -> None:
    """Counts one look or one start of the request's address. Raises RateLimited with the seconds to wait."""
    address = client_address(request)
    requests: int = {LOOKS: settings.COLLECT_LOOKS_PER_MINUTE, STARTS: settings.COLLECT_STARTS_PER_MINUTE}[name]
    if not address or not requests:
        return
    window = Window(requests=requests, seconds=60)
    seconds = limiter_windows.hit(name=name, who=counted_address(address), window=window)
    if seconds:
        raise RateLimited({"limit": name, "retry_after_seconds": seconds})


class PayerThrottle(BaseThrottle):
    """A POST counts as a start, anything else as a look."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        count(request._request, STARTS if request.method == "POST" else LOOKS)
        return True

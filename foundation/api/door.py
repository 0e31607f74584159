"""The door of `foundation.door` in front of the API.

`DoorMiddleware` (after RequestIdMiddleware in MIDDLEWARE) turns addresses away before any database query, and counts
their refused requests; employees are turned away by `foundation.api.throttles`. Behind proxies that nobody has counted
an address is everybody's: then none is judged.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from foundation import door
from foundation.api import errors
from foundation.api.addresses import client_address
from foundation.api.throttles import check
from foundation.errors import Rejected

__all__ = ["DoorMiddleware", "client_address"]

STRUCK = frozenset({400, 401, 403})
"""Answers that count as strikes: what is malformed, without a log-in or not allowed. Business refusals do not."""
PREFIX = "/api/"
"""Notices of providers come from few addresses and are many: their door stays open."""


class DoorMiddleware:
    """By network address, where it is known."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(PREFIX):
            return self.get_response(request)
        address = client_address(request)
        if not address:
            return self.get_response(request)
        caller = f"address:{address}"
        try:
            check([caller])
        except Rejected as error:
            return errors.django_response(error, request)
        response = self.get_response(request)
        if response.status_code in STRUCK:
            door.strike(caller)
        return response

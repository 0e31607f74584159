"""How much one request may bring, said before a byte of it is read.

A body that is read as a whole (JSON, a notice, the texts of a form) may have DATA_UPLOAD_MAX_MEMORY_SIZE; Django and
the API refuse more with 413, a form with 400. Files of a form are written to disk while they come, and that has no
limit in Django: hence this one. A request without Content-Length has no body for WSGI.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from foundation.api import errors
from foundation.attachments import MAX_BYTES
from foundation.middleware import is_api

REQUEST_MAX_BYTES = MAX_BYTES + 1024 * 1024
"""Staff's evidence, the largest thing that anybody sends, with the rest of its form; deploy/nginx says the same."""


class BodyLimitMiddleware:
    """After RequestIdMiddleware, whose number the refusal names, and before everything that reads bodies."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if int(request.META.get("CONTENT_LENGTH") or 0) <= REQUEST_MAX_BYTES:  # a web server passes numbers only
            return self.get_response(request)
        if is_api(request):
            return errors.django_response(errors.BodyTooLarge(), request)
        return render(request, "413.html", status=413)

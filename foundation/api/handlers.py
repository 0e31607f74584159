"""Django's handler400 … handler500: JSON under /api/ and /notify/, Django's own pages elsewhere."""

from __future__ import annotations

import sys

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.views import defaults

from foundation.api import errors
from foundation.middleware import is_api


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api(request):
        return errors.django_response(exception, request)
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api(request):
        return errors.django_response(PermissionDenied(), request)
    return defaults.permission_denied(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api(request):
        return errors.django_response(Http404(), request)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if is_api(request):
        cause = sys.exc_info()[1]
        return errors.django_response(cause if isinstance(cause, Exception) else errors.InternalError(), request)
    return defaults.server_error(request)


def not_found_api(request: HttpRequest, rest: str = "") -> HttpResponse:
    """The answer for unknown addresses under /api/ (also with DEBUG on)."""
    return errors.django_response(Http404(), request)

"""What browsers may do with our answers: Content-Security-Policy and Permissions-Policy on every one of them.

Pages load scripts, styles, images and data from ourselves alone, run nothing inline, stand in nobody's frame. The admin
is the one exception: its theme sets colours by `<style>` elements, so styles may be inline there, and Alpine, which
moves its menus, compiles expressions that stand in attributes, which needs 'unsafe-eval'; script elements inline or
from elsewhere stay refused. The page of the API's description has inline styles too. Answers of the API are no pages:
nothing at all may be loaded for them. A view that says more by itself keeps what it says. The other security headers
are Django's SecurityMiddleware's (settings SECURE_…). Source: docs/SECURITY.md; docs/adr/0010.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.security import SecurityMiddleware

CSP = "Content-Security-Policy"
PERMISSIONS = "Permissions-Policy"
NO_PAGE = "default-src 'none'; frame-ancestors 'none'"
_CLOSED = "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
PAGE = f"default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; {_CLOSED}"
STYLED = f"default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; {_CLOSED}"
ADMIN = STYLED.replace("script-src 'self'", "script-src 'self' 'unsafe-eval'")
NOTHING = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
"""No page of ours uses any of it."""
DOCS = "/api/docs/"
"""A page, although under /api/. Its scripts come from us; Swagger UI writes style elements by script."""
NO_PAGES = ("/api/", "/notify/", "/healthz", "/readyz", "/metrics")


def policy_for(path: str) -> str:
    """The Content-Security-Policy of an answer to that address."""
    if path.startswith("/admin/"):
        return ADMIN
    if path.startswith(DOCS):
        return STYLED
    return NO_PAGE if path.startswith(NO_PAGES) else PAGE


class PolicyMiddleware:
    """Outermost but for measurements, so that refusals of other middleware bear the headers as well."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._security = SecurityMiddleware(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault(CSP, policy_for(request.path))
        response.headers.setdefault(PERMISSIONS, NOTHING)
        response.headers.setdefault("X-Frame-Options", settings.X_FRAME_OPTIONS)
        self._security.process_response(request, response)  # adds what is missing, changes nothing
        return response

"""A member of staff whose role changed logs in again: at once, whoever changed it and by whatever way.

A session keeps a digest of what its owner may do. Each request to the admin compares it with what he may do now:
another group, a permission more or less (his own or a group's), a superuser's mark, being staff no longer, all of it
ends the session. Django itself ends those whose password was changed or whose account was closed.

Source: design `admin.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext

from foundation import audit

MARK = "role_digest"


def digest_of(user: Any) -> str:
    """What the user may do, in 64 hex digits. Two queries, which the pages of the admin need anyway."""
    may = ["superuser"] if user.is_superuser else sorted(user.get_all_permissions())
    text = "\n".join([f"{user.pk} {user.is_staff} {user.is_active}", *may])
    return hashlib.sha256(text.encode()).hexdigest()


@receiver(user_logged_in, dispatch_uid="identity.admin.sessions")
def _remember(request: HttpRequest, user: Any, **_: Any) -> None:
    request.session[MARK] = digest_of(user)


class RoleMiddleware:
    """Behind AuthenticationMiddleware and MessageMiddleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(reverse("admin:index")) or self._is_as_before(request):
            return self.get_response(request)
        user: Any = request.user
        audit.record(
            action="session.ended", object_type="auth.user", object_key=str(user.pk), reason="the role changed"
        )
        logout(request)
        messages.warning(request, gettext("What you may do has changed. Please log in again."))
        query = urlencode({"next": request.get_full_path()}) if request.method == "GET" else ""
        return HttpResponseRedirect(f"{reverse('admin:login')}?{query}" if query else reverse("admin:login"))

    @staticmethod
    def _is_as_before(request: HttpRequest) -> bool:
        user: Any = request.user
        return not user.is_authenticated or request.session.get(MARK) == digest_of(user)

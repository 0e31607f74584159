"""The log-in of staff: tries are counted before the password is looked at, as employees' are.

Too many wrong ones of a name, from one address or from everywhere, close it for settings.LOGIN_LOCK_SECONDS: 429, with
the same words for names that nobody has. Whoever is in stays in. Without Redis nobody counts, and staff come in all
the same: somebody must look after it, and the one-time code, whose wrong tries the database counts, still stands.
"""

from __future__ import annotations

from typing import Any

import structlog
from django import forms
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.http import HttpRequest, HttpResponse
from django.utils.translation import get_language
from django.views.decorators.cache import never_cache

from foundation.api.addresses import client_address
from foundation.errors import Busy
from identity.services import login_tries

logger = structlog.get_logger("identity")


class StaffLoginForm(AdminAuthenticationForm):
    """Asks the counters first; `locked_seconds` says for how long the name is closed."""

    locked_seconds = 0

    def clean(self) -> dict[str, Any]:
        name: str = self.cleaned_data.get("username") or ""
        who = {
            "enterprise_code": login_tries.STAFF,
            "employee_code": name.casefold(),
            "address": client_address(self.request) if self.request else "",
        }
        try:
            login_tries.take(**who)
        except login_tries.TooManyLogins as error:
            self.locked_seconds = int(error.details["retry_after_seconds"])
            raise forms.ValidationError(error.message(get_language() or "en"), code="locked") from error
        except Busy:
            logger.warning("staff log in uncounted, Redis is away")
            return super().clean()
        found: dict[str, Any] = super().clean()
        login_tries.succeeded(**who)
        return found


@never_cache
def login_view(request: HttpRequest) -> HttpResponse:
    """Django's own page with our form; 429 while the name is closed."""
    response = admin.site.login(request)
    form = (getattr(response, "context_data", None) or {}).get("form")
    if isinstance(form, StaffLoginForm) and form.is_bound and form.locked_seconds:
        response.status_code = 429
        response["Retry-After"] = str(form.locked_seconds)
    return response


admin.site.login_form = StaffLoginForm

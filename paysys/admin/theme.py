"""How the desk looks: what the settings hand to the theme as UNFOLD. Nothing here touches a model.

Functions named by text are called per request by the theme.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

STYLE = "desk/desk.css"
SCRIPT = "desk/desk.js"
ICON = "desk/icon.svg"


def environment(request: HttpRequest) -> tuple[str, str] | None:
    """Text and colour of the badge that says where one is; production has the loud one."""
    name = getattr(settings, "ENVIRONMENT", "")
    if name == "production":
        return gettext("Production"), "danger"
    return (gettext("Test"), "warning") if name == "test" else (gettext("Development"), "info")


def title_prefix(request: HttpRequest) -> str:
    """Before the title of a browser's tab, so that two windows are told apart; nothing in production."""
    found = environment(request)
    return f"[{found[0]}]" if found is not None and found[1] != "danger" else ""


def style(request: HttpRequest) -> str:
    return static(STYLE)


def script(request: HttpRequest) -> str:
    return static(SCRIPT)


def icon(request: HttpRequest) -> str:
    return static(ICON)


def language_action(request: HttpRequest) -> str:
    return reverse("set_language")


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": _("Payment platform"),
    "SITE_HEADER": _("Payment platform"),
    "SITE_SUBHEADER": _("Finance and operations"),
    "SITE_URL": None,
    "SITE_SYMBOL": "account_balance_wallet",
    "SITE_FAVICONS": [{"rel": "icon", "href": "paysys.admin.theme.icon", "type": "image/svg+xml", "sizes": "any"}],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": False,
    "SHOW_LANGUAGES": True,
    "LANGUAGES": {"action": "paysys.admin.theme.language_action"},
    "ENVIRONMENT": "paysys.admin.theme.environment",
    "ENVIRONMENT_TITLE_PREFIX": "paysys.admin.theme.title_prefix",
    "STYLES": ["paysys.admin.theme.style"],
    "SCRIPTS": ["paysys.admin.theme.script"],
    "BORDER_RADIUS": "6px",
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(62.3% .214 259.815)",
            "600": "oklch(54.6% .245 262.881)",
            "700": "oklch(48.8% .243 264.376)",
            "800": "oklch(42.4% .199 265.638)",
            "900": "oklch(37.9% .146 265.522)",
            "950": "oklch(28.2% .091 267.935)",
        },
    },
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "show_all_applications": False,
        "navigation": "paysys.admin.navigation.navigation",
    },
}

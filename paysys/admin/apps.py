"""Django's admin with our site."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.apps import SimpleAdminConfig
from django.utils.module_loading import autodiscover_modules


class DeskConfig(SimpleAdminConfig):
    """Stands in INSTALLED_APPS where "django.contrib.admin" would; the theme stands before it."""

    default_site = "paysys.admin.site.DeskSite"

    def ready(self) -> None:
        super().ready()
        autodiscover_modules("admin", register_to=admin.site)
        autodiscover_modules("desk")  # foundation.desk: what apps put there
        from paysys.admin import others, words  # noqa: F401 - others: behind what it registers anew

        words.make_translatable()
